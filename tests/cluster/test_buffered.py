"""Two mounts and one file: what a write put there, synced or not, everybody reads at once."""
import mmap
import os
import random
import signal
import subprocess
import threading
import time

from cluster import ClusterTest
from trees import write_file

SESSION_TIMEOUT_S = 15


class BufferedTest(ClusterTest):
    def setUp(self):
        self.cluster = self.new_cluster()
        self.one, self.two = self.cluster.mount("one"), self.cluster.mount("two")
        self.sides = [self.one, self.two]

    def open(self, side, name, flags):
        fd = os.open(side.path(name), flags | os.O_CREAT, 0o644)
        self.addCleanup(os.close, fd)
        return fd

    def test_what_is_not_synced_is_read_elsewhere_at_once(self):
        fds = [self.open(side, "f", os.O_RDWR) for side in self.sides]
        for i in range(60):
            here, there = fds[i % 2], fds[(i + 1) % 2]
            text = b"%07d\n" % i
            os.pwrite(here, text, 8 * i)
            os.pwrite(here, text, 0)
            self.assertEqual(os.pread(there, 8, 0), text)
            self.assertEqual(os.pread(there, 8, 8 * i), text)
            self.assertEqual(os.fstat(there).st_size, 8 * (i + 1))
            self.assertEqual(os.stat(self.sides[(i + 1) % 2].path("f")).st_size, 8 * (i + 1))

    def test_a_new_file_is_whole_elsewhere_when_it_is_closed(self):
        for i in range(100):
            here, there = self.sides[i % 2], self.sides[(i + 1) % 2]
            text = os.urandom(random.randrange(1, 20_000))
            write_file(here.path(f"f{i}"), text)
            with open(there.path(f"f{i}"), "rb") as f:
                self.assertEqual(f.read(), text)
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(self.one.path(""))}
        self.assertEqual(sizes, {e.name: e.stat().st_size for e in os.scandir(self.two.path(""))})

    def test_appends_from_two_mounts_neither_overlap_nor_get_lost(self):
        script = ("import os, sys\n"
                  "path, tag = sys.argv[1:]\n"
                  "fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)\n"
                  "for i in range(40):\n"
                  "    record = f'{tag} {i} '.ljust(1 + i * 37 % 900, '.') + '\\n'\n"
                  "    assert os.write(fd, record.encode()) == len(record)\n")
        writers = [subprocess.Popen(["python3", "-c", script, side.path("log"), f"{n}{i}"])
                   for n, side in enumerate(self.sides) for i in range(2)]
        for writer in writers:
            self.assertEqual(writer.wait(timeout=120), 0)
        for side in self.sides:
            with open(side.path("log")) as f:
                lines = f.read().splitlines()
            seen = {}
            for line in lines:
                tag, number = line.split(" ")[:2]
                self.assertEqual(line, f"{tag} {number} ".ljust(1 + int(number) * 37 % 900, "."))
                self.assertEqual(int(number), seen.get(tag, -1) + 1)
                seen[tag] = int(number)
            self.assertEqual(seen, dict.fromkeys(["00", "01", "10", "11"], 39))

    def test_an_append_after_reading_lands_behind_what_others_appended(self):
        fds = [self.open(side, "log", os.O_RDWR | os.O_APPEND) for side in self.sides]
        expected = b""
        for i in range(40):
            here, there = fds[i % 2], fds[(i + 1) % 2]
            self.assertEqual(os.pread(here, 1 << 20, 0), expected)
            text = bytes([65 + i % 26]) * (1 + i * 331 % 5000)
            os.write(there, text)
            expected += text
            self.assertEqual(os.pread(there, 1 << 20, 0), expected)

    def test_two_writers_of_parts_of_one_page_keep_each_others_bytes(self):
        """Also in tight loops: neither may wait for a page the other's writing keeps locked."""
        script = ("import os, sys\n"
                  "path, at = sys.argv[1], int(sys.argv[2])\n"
                  "fd = os.open(path, os.O_RDWR)\n"
                  "for i in range(60):\n"
                  "    text = b'%06d' % i\n"
                  "    os.pwrite(fd, text, at)\n"
                  "    seen = os.pread(fd, 6, at)\n"
                  "    assert seen == text, (seen, text)\n")
        write_file(self.one.path("f"), b"." * 10_000)
        begun = time.monotonic()
        writers = [subprocess.Popen(["python3", "-c", script, side.path("f"), str(at)])
                   for side, at in ((self.one, 100), (self.two, 200), (self.one, 5000), (self.two, 9994))]
        for writer in writers:
            self.assertEqual(writer.wait(timeout=120), 0)
        self.assertLess(time.monotonic() - begun, 60)
        for side in self.sides:
            with open(side.path("f"), "rb") as f:
                text = f.read()
            self.assertEqual({text[at:at + 6] for at in (100, 200, 5000, 9994)}, {b"%06d" % 59})
            self.assertEqual(len(text), 10_000)
            self.assertEqual(text.count(b"."), 10_000 - 24)

    def test_mapped_pages_are_stored_before_another_client_writes(self):
        fds = [self.open(side, "f", os.O_RDWR) for side in self.sides]
        os.write(fds[0], b"." * 8192)
        with mmap.mmap(fds[0], 8192) as mapped:
            for i in range(20):
                mapped[10:16] = b"%06d" % i
                mapped[5000:5006] = b"%06d" % i
                os.pwrite(fds[1], b"%06d" % i, 100)  # beside it, in the same page
                mapped.flush()
                for fd in fds:
                    self.assertEqual(os.pread(fd, 6, 10), b"%06d" % i)
                    self.assertEqual(os.pread(fd, 6, 100), b"%06d" % i)
                    self.assertEqual(os.pread(fd, 6, 5000), b"%06d" % i)

    def test_truncation_and_times_of_others_come_behind_what_was_written(self):
        fds = [self.open(side, "f", os.O_RDWR) for side in self.sides]
        for i in range(30):
            here, there = fds[i % 2], fds[(i + 1) % 2]
            os.pwrite(here, b"x" * 5000, 0)
            os.ftruncate(there, 100)
            self.assertEqual(os.fstat(here).st_size, 100)
            self.assertEqual(os.pread(here, 200, 0), b"x" * 100)
            os.pwrite(here, b"y", 0)
            os.utime(there, (i, i))
            self.assertEqual(os.fstat(here).st_mtime, i)

    def test_a_stopped_writer_holds_up_only_who_wants_that_file(self):
        write_file(self.one.path("other"), b"other", sync=True)
        os.stat(self.two.path("other"))
        fd = self.open(self.one, "f", os.O_RDWR)
        os.write(fd, b"synced")
        os.fsync(fd)
        os.write(fd, b" and more")
        os.kill(self.one.client_pid(), signal.SIGSTOP)
        try:
            begun = time.monotonic()
            with open(self.two.path("other"), "rb") as f:
                self.assertEqual(f.read(), b"other")
            self.assertLess(time.monotonic() - begun, 5)
            with open(self.two.path("f"), "rb") as f:
                text = f.read()
            took = time.monotonic() - begun
            self.assertLess(took, 2 * SESSION_TIMEOUT_S)
            self.assertTrue(text.startswith(b"synced"), text)
        finally:
            os.kill(self.one.client_pid(), signal.SIGCONT)
        # Nobody changed the file: what was buffered is stored after all.
        os.fsync(fd)
        with open(self.two.path("f"), "rb") as f:
            self.assertEqual(f.read(), b"synced and more")

    def test_what_a_client_buffered_is_refused_when_another_changed_the_file_meanwhile(self):
        fd = self.open(self.one, "f", os.O_RDWR)
        os.write(fd, b"synced")
        os.fsync(fd)
        os.pwrite(fd, b"late", 0)
        os.kill(self.one.client_pid(), signal.SIGSTOP)
        try:
            other = self.open(self.two, "f", os.O_RDWR)
            os.pwrite(other, b"newest", 0)
            os.fsync(other)
        finally:
            os.kill(self.one.client_pid(), signal.SIGCONT)
        with self.assertRaises(OSError):
            os.fsync(fd)
        for side in self.sides:
            with open(side.path("f"), "rb") as f:
                self.assertEqual(f.read(), b"newest")

    def test_a_master_that_is_started_anew_knows_who_writes(self):
        fd = self.open(self.one, "f", os.O_RDWR)
        self.open(self.two, "f", os.O_RDWR)
        os.write(fd, b"first")
        self.cluster.master.kill()
        os.pwrite(fd, b"newer", 0)
        self.cluster.master.start()
        with open(self.two.path("f"), "rb") as f:
            self.assertEqual(f.read(), b"newer")

    def test_locked_regions_are_handed_over_with_their_contents(self):
        script = ("import fcntl, os, sys\n"
                  "fd = os.open(sys.argv[1], os.O_RDWR)\n"
                  "for i in range(50):\n"
                  "    fcntl.lockf(fd, fcntl.LOCK_EX)\n"
                  "    count = int(os.pread(fd, 8, 0))\n"
                  "    os.pwrite(fd, b'%08d' % (count + 1), 0)\n"
                  "    fcntl.lockf(fd, fcntl.LOCK_UN)\n")
        write_file(self.one.path("counter"), b"%08d" % 0)
        counters = [subprocess.Popen(["python3", "-c", script, side.path("counter")])
                    for side in self.sides for _ in range(2)]
        for counter in counters:
            self.assertEqual(counter.wait(timeout=120), 0)
        with open(self.two.path("counter")) as f:
            self.assertEqual(int(f.read()), 200)


STALL_LIMIT_S = 3.0
CONTEND = """
import os, random, sys, time
path, tag = sys.argv[1:]
f = os.open(path, os.O_RDWR)
longest, end = 0.0, time.monotonic() + 6
while time.monotonic() < end:
    start = time.monotonic()
    at = random.randrange(16000)
    if random.random() < 0.5:
        os.pwrite(f, tag.encode() * 100, at)
    else:
        os.pread(f, 200, at)
    longest = max(longest, time.monotonic() - start)
print(longest)
"""


class ContendedTest(ClusterTest):
    def setUp(self):
        self.cluster = self.new_cluster()
        self.one, self.two = self.cluster.mount("one"), self.cluster.mount("two")

    def test_writers_and_readers_of_one_file_on_two_mounts_all_get_on(self):
        """Each wants what another has at any moment: none may wait for longer than a few turns."""
        write_file(self.one.path("f"), b"-" * 16384, sync=True)
        workers = [subprocess.Popen(["python3", "-c", CONTEND, side.path("f"), tag], stdout=subprocess.PIPE, text=True)
                   for side, tag in ((self.one, "a"), (self.one, "b"), (self.two, "c"), (self.two, "d"))]
        for worker in workers:
            printed = worker.communicate(timeout=60)[0]
            self.assertEqual(worker.returncode, 0)
            self.assertLess(float(printed), STALL_LIMIT_S)
        with open(self.one.path("f"), "rb") as here, open(self.two.path("f"), "rb") as there:
            self.assertEqual(here.read(), there.read())

    def test_what_was_written_to_a_file_without_a_name_is_read_by_who_has_it_open(self):
        with open(self.two.path("f"), "w+b", buffering=0) as other:
            other.write(b"first")
            with open(self.one.path("f"), "r+b", buffering=0) as writer:
                os.unlink(self.one.path("f"))
                writer.seek(5)
                writer.write(b" second")
            self.assertEqual(os.pread(other.fileno(), 100, 0), b"first second")
