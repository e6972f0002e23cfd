"""What a client holds stays within 64 MiB above its mem_limit, however many write at once."""
import json
import os
import subprocess
import sys
import threading
import time
import unittest

from cluster import ClusterTest
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


class MemoryTest(ClusterTest):
    def status_mib(self, what):
        with open(f"/proc/{self.mount.client_pid()}/status", encoding="utf-8") as f:
            return int(next(line for line in f if line.startswith(what)).split()[1]) // 1024

    def waiting(self):
        """Calls that have waited for a second."""
        waits = json.loads(self.mount.cluster.admin("why", "--json", check=False).stdout)
        return len(waits["waits"]) + waits["unlisted"]

    def assert_bounded(self):
        self.assertLessEqual(self.status_mib("VmHWM"), LIMIT_MIB + 64)

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


if __name__ == "__main__":
    unittest.main()
