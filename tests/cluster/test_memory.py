"""What a client holds stays within 64 MiB above its mem_limit, however many write at once."""
import json
import os
import subprocess
import sys
import threading
import time
import unittest

from cluster import ClusterTest, OrdinaryUser
from trees import pattern

MIB = 1 << 20
WRITERS = 200
KILLED_WRITERS = 800
LIMIT_MIB = 32

# So many threads, each with a write of 1 MiB to a file of its own.
WRITE_AT_ONCE = """
import os, sys, threading
folder, count = sys.argv[1], int(sys.argv[2])
files = [os.open(f"{folder}/killed{i}", os.O_CREAT | os.O_WRONLY, 0o600) for i in range(count)]
threading.stack_size(64 << 10)
content = bytes(1 << 20)
threads = [threading.Thread(target=os.write, args=(f, content)) for f in files]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""

# At each line of input: writes files, of which the last ones are written once more; so many threads, each with a
# write to a file of its own, or of those last ones; looks at the sizes of those; ends with the threads.
WRITE_AFTER_OTHERS = """
import os, sys, threading
folder, (count, cut_count, cut_size) = sys.argv[1], map(int, sys.argv[2:])
contents = [bytes([65 + i]) * (1 << 20) for i in range(26)]
files = [os.open(f"{folder}/f{i}", os.O_CREAT | os.O_WRONLY, 0o600) for i in range(count)]
cut = range(count - cut_count, count)
for i in cut:
    os.write(files[i], b"-" * cut_size)
    os.fsync(files[i])
def say(make):
    input()
    print(make(), flush=True)
say(lambda: "written")
failed = []
def write(i):
    size = cut_size if i in cut else 1 << 20
    if os.pwrite(files[i], contents[i % 26][:size], 0) != size:
        failed.append(i)
threading.stack_size(64 << 10)
threads = [threading.Thread(target=write, args=(i,)) for i in range(count)]
for thread in threads:
    thread.start()
say(lambda: "started")
say(lambda: [os.fstat(files[i]).st_size for i in cut])
for thread in threads:
    thread.join()
say(lambda: failed)
"""


def waiting(cluster):
    """Calls that have waited for a second."""
    waits = json.loads(cluster.admin("why", "--json", check=False).stdout)
    return len(waits["waits"]) + waits["unlisted"]


def status_mib(pid, what):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return int(next(line for line in f if line.startswith(what)).split()[1]) // 1024


class MemoryTest(ClusterTest):
    def waiting(self):
        return waiting(self.mount.cluster)

    def assert_bounded(self):
        self.assertLessEqual(status_mib(self.mount.client_pid(), "VmHWM"), LIMIT_MIB + 64)

    def start_writers(self, count):
        """Threads that write to files of their own, and what their writes said."""
        taken = []

        def write(i):
            with open(self.mount.path(f"f{i}"), "wb", buffering=0) as f:
                taken.append(f.write(pattern(i, MIB)))
        threads = [threading.Thread(target=write, args=(i,)) for i in range(count)]
        for thread in threads:
            thread.start()
        return threads, taken

    def test_writes_that_wait_count_too(self):
        cluster = self.new_cluster()
        self.mount = cluster.mount(options=[f"mem_limit={LIMIT_MIB}MiB"])
        # Full of what can be given back.
        with open(self.mount.path("cached"), "wb") as f:
            f.write(pattern(0, LIMIT_MIB * MIB))
        with open(self.mount.path("cached"), "rb") as f:
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            f.read()
        for server in cluster.servers:
            server.pause()
        # Who waits can be killed, and nobody else waits for him.
        with subprocess.Popen([sys.executable, "-c", WRITE_AT_ONCE, self.mount.directory, str(KILLED_WRITERS)]) as writer:
            cluster.wait_until(lambda: self.waiting() >= KILLED_WRITERS - LIMIT_MIB // 4, "most writes wait", 30)
            began = time.monotonic()
            names = os.listdir(self.mount.directory)
            os.stat(self.mount.path("killed0"))
            os.mkdir(self.mount.path("folder"))
            self.assertLess(time.monotonic() - began, 5)
            self.assertEqual(len(names), KILLED_WRITERS + 1)
            self.assert_bounded()
            writer.kill()
            writer.wait(20)
        self.assert_bounded()
        threads, taken = self.start_writers(WRITERS)
        cluster.wait_until(lambda: self.waiting() >= WRITERS - LIMIT_MIB // 4, "most writes wait", 20)
        for server in cluster.servers:
            server.resume()
        for thread in threads:
            thread.join()
        self.assertEqual(taken, [MIB] * WRITERS)
        self.assert_bounded()
        self.mount.remount()
        for i in range(0, WRITERS, 10):
            with open(self.mount.path(f"f{i}"), "rb") as f:
                self.assertEqual(f.read(), pattern(i, MIB), i)


class UserMemoryTest(ClusterTest):
    """What an ordinary user mounts has no more pipes than he may have."""

    WRITERS = 1100
    CUT = 10
    # Of whole pages: the kernel locks others while they are written. Of no less than the others' requests, so that none of
    # these is taken ahead of those.
    WHOLE_BYTES = 1020 << 10
    CUT_BYTES = 100001

    def test_writes_of_an_ordinary_user_that_wait_count_too(self):
        cluster = self.new_cluster(servers=2)
        root = cluster.mount()
        user = OrdinaryUser(self)
        client = user.mount(root, "theirs", [f"mem_limit={LIMIT_MIB}MiB"])
        writer = user.start(WRITE_AFTER_OTHERS, user.directory,
                            *map(str, [self.WRITERS, self.CUT, self.WHOLE_BYTES]),
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(writer.kill)

        def go_on():
            writer.stdin.write("\n")
            writer.stdin.flush()
            return writer.stdout.readline().strip()
        self.assertEqual(go_on(), "written")
        for server in cluster.servers:
            server.pause()
        self.assertEqual(go_on(), "started")
        cluster.wait_until(lambda: waiting(cluster) >= self.WRITERS - LIMIT_MIB, "most writes wait", 30)
        # The kernel is told of it while its pages hold what is to be written.
        cut = [root.path("theirs", f"f{i}") for i in range(self.WRITERS - self.CUT, self.WRITERS)]
        for path in cut:
            os.truncate(path, self.CUT_BYTES)
        self.assertEqual(go_on(), str([self.CUT_BYTES] * self.CUT))
        self.assertLessEqual(status_mib(client, "VmHWM"), LIMIT_MIB + 64)
        for server in cluster.servers:
            server.resume()
        self.assertEqual(go_on(), "[]")
        writer.communicate(timeout=20)
        self.assertLessEqual(status_mib(client, "VmHWM"), LIMIT_MIB + 64)
        for i in [*range(0, self.WRITERS, 50), *range(self.WRITERS - self.CUT, self.WRITERS)]:
            with open(root.path("theirs", f"f{i}"), "rb") as f:
                content = f.read()
            size = self.WHOLE_BYTES if i >= self.WRITERS - self.CUT else MIB
            self.assertEqual((len(content), content.strip(bytes([65 + i % 26]))), (size, b""), i)


if __name__ == "__main__":
    unittest.main()
