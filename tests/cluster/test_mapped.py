"""Files that programs on two mounts change through shared mappings (mmap)."""
import mmap
import os
import struct
import subprocess
import unittest

from cluster import ClusterTest
from trees import write_file

PAGE = 4096
PROCESSES = 4
ROUNDS = 60

# Adds to a number of its own, and to one of all, in the way that `how` says.
COUNT = """
import fcntl, mmap, os, struct, sys
path, me, rounds, how = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
fd = os.open(path, os.O_RDWR)
mapped = mmap.mmap(fd, os.fstat(fd).st_size)
def add(at):
    mapped[at:at + 8] = struct.pack("<q", struct.unpack("<q", mapped[at:at + 8])[0] + 1)
for i in range(rounds):
    if how == "locked":
        fcntl.lockf(fd, fcntl.LOCK_EX)
        add(8 * me)
        add(8 * 100)
    else:
        add(4096 * me + 8 * i % 4096)
        add(4096 * me)
    mapped.flush()
    if how == "locked":
        fcntl.lockf(fd, fcntl.LOCK_UN)
"""

# Changes the file in other ways, that change none of these numbers.
DISTURB = """
import os, sys
path, at = sys.argv[1], int(sys.argv[2])
fd = os.open(path, os.O_RDWR)
size = os.fstat(fd).st_size
while True:
    os.pwrite(fd, b"disturb", at)
    os.posix_fallocate(fd, 0, size)
    os.truncate(path, size)
"""


class MappedFilesTest(ClusterTest):
    def setUp(self):
        self.cluster = self.new_cluster()
        self.sides = [self.cluster.mount(name) for name in ("one", "two")]
        write_file(self.sides[0].path("f"), b"\0" * ((PROCESSES + 2) * PAGE), sync=True)

    def count(self, how):
        disturbers = [subprocess.Popen(["python3", "-c", DISTURB, side.path("f"), str(PAGE * (PROCESSES + i))])
                      for i, side in enumerate(self.sides)]
        self.addCleanup(lambda: [disturber.wait(timeout=30) for disturber in disturbers])
        self.addCleanup(lambda: [disturber.kill() for disturber in disturbers])
        counters = [subprocess.Popen(["python3", "-c", COUNT, self.sides[me % 2].path("f"), str(me), str(ROUNDS), how])
                    for me in range(PROCESSES)]
        for counter in counters:
            self.assertEqual(counter.wait(timeout=120), 0)

    def number(self, side, at):
        with open(side.path("f"), "rb") as f:
            f.seek(at)
            return struct.unpack("<q", f.read(8))[0]

    def test_numbers_in_one_page_that_are_added_to_under_a_lock(self):
        self.count("locked")
        for side in self.sides:
            self.assertEqual([self.number(side, 8 * me) for me in range(PROCESSES)], [ROUNDS] * PROCESSES)
            self.assertEqual(self.number(side, 8 * 100), ROUNDS * PROCESSES)

    def test_numbers_in_different_pages_that_are_added_to_without_a_lock(self):
        self.count("unlocked")
        for side in self.sides:
            for me in range(PROCESSES):
                with self.subTest(process=me):
                    self.assertEqual(self.number(side, PAGE * me), ROUNDS + 1)
                    self.assertEqual(self.number(side, PAGE * me + 8), 1)


if __name__ == "__main__":
    unittest.main()
