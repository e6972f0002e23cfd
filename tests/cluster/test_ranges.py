"""Holes, preallocation and shared ranges, as programs see them through the kernel."""
import ctypes
import errno
import os
import time
import unittest

from cluster import ClusterTest, run
from trees import pattern, read_file, sha256, write_file

MIB = 1 << 20
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16

libc = ctypes.CDLL(None, use_errno=True)


def fallocate(fd, mode, offset, length):
    if libc.fallocate64(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class RangesTest(ClusterTest):
    def setUp(self):
        self.cluster = self.new_cluster()
        self.mount = self.cluster.mount()

    def open(self, name, flags=os.O_RDWR | os.O_CREAT):
        fd = os.open(self.mount.path(name), flags)
        self.addCleanup(os.close, fd)
        return fd

    def test_data_and_holes_are_told_even_right_after_a_write(self):
        fd = self.open("sparse")
        os.pwrite(fd, b"a" * 4096, 8192)
        os.pwrite(fd, b"b" * 4096, 40 * MIB)
        self.assertEqual(os.lseek(fd, 0, os.SEEK_DATA), 8192)
        self.assertEqual(os.lseek(fd, 8192, os.SEEK_HOLE), 12288)
        self.assertEqual(os.lseek(fd, 12288, os.SEEK_DATA), 40 * MIB)
        self.assertEqual(os.lseek(fd, 40 * MIB, os.SEEK_HOLE), 40 * MIB + 4096)
        with self.assertRaises(OSError) as refused:
            os.lseek(fd, 40 * MIB + 4096, os.SEEK_DATA)
        self.assertEqual(refused.exception.errno, errno.ENXIO)
        run("cp", "--sparse=auto", self.mount.path("sparse"), self.mount.path("copy"))
        self.assertLess(os.stat(self.mount.path("copy")).st_blocks, 100)
        self.assertEqual(sha256(self.mount.path("copy")), sha256(self.mount.path("sparse")))

    def test_there_is_room_right_after_a_restart_of_the_master(self):
        fd = self.open("f")
        available = os.statvfs(self.mount.directory).f_bavail
        self.assertGreater(available, 0)
        for i in range(5):
            self.cluster.master.kill()
            self.cluster.master.start()
            os.posix_fallocate(fd, i * MIB, MIB)
            self.assertGreater(os.statvfs(self.mount.directory).f_bavail, available // 10)

    def test_punched_and_zeroed_ranges_read_as_zeros_and_take_no_space(self):
        content = bytearray(pattern("content", 9 * MIB))
        write_file(self.mount.path("f"), bytes(content))
        fd = self.open("f")
        self.assertEqual(os.pread(fd, len(content), 0), bytes(content))  # now in the kernel's cache
        fallocate(fd, PUNCH_HOLE | KEEP_SIZE, MIB - 100, 5 * MIB)
        content[MIB - 100:6 * MIB - 100] = bytes(5 * MIB)
        self.assertEqual(os.pread(fd, len(content), 0), bytes(content))
        self.assertEqual(os.fstat(fd).st_size, 9 * MIB)
        self.assertEqual(os.fstat(fd).st_blocks, 4 * MIB // 512)
        os.pwrite(fd, b"again", 2 * MIB)
        content[2 * MIB:2 * MIB + 5] = b"again"
        fallocate(fd, ZERO_RANGE, 8 * MIB, 4 * MIB)
        content[8 * MIB:] = bytes(4 * MIB)
        self.assertEqual(os.pread(fd, 13 * MIB, 0), bytes(content))
        with self.assertRaises(OSError) as refused:
            fallocate(fd, 0x8, 0, MIB)  # FALLOC_FL_COLLAPSE_RANGE
        self.assertEqual(refused.exception.errno, errno.EOPNOTSUPP)

    def test_preallocation_grows_the_file_and_refuses_what_cannot_fit(self):
        fd = self.open("f")
        os.posix_fallocate(fd, 0, 3 * MIB)
        self.assertEqual(os.fstat(fd).st_size, 3 * MIB)
        fallocate(fd, KEEP_SIZE, 0, 30 * MIB)
        self.assertEqual(os.fstat(fd).st_size, 3 * MIB)
        self.assertEqual(os.pread(fd, 10, MIB), bytes(10))
        with self.assertRaises(OSError) as refused:
            fallocate(fd, 0, 0, 1 << 43)
        self.assertEqual(refused.exception.errno, errno.ENOSPC)

    def test_a_copy_inside_the_mount_moves_no_bytes_and_outlives_the_source(self):
        content = pattern("big", 16 * MIB)
        with open(self.mount.path("source"), "wb") as f:
            for _ in range(32):
                f.write(content)
            os.fsync(f.fileno())
        expected = sha256(self.mount.path("source"))
        stored = self.stored_bytes()
        begin = time.monotonic()
        run("cp", self.mount.path("source"), self.mount.path("copy"))
        took_s = time.monotonic() - begin
        self.assertLess(took_s, 1)
        self.assertLess(self.stored_bytes() - stored, 16 * MIB)
        os.unlink(self.mount.path("source"))
        # The copy is changed on its own.
        fd = self.open("copy")
        os.pwrite(fd, b"changed", 100)
        os.fsync(fd)
        self.assertEqual(os.pread(fd, 7, 100), b"changed")
        os.pwrite(fd, content[100:107], 100)
        os.fsync(fd)
        self.assertEqual(sha256(self.mount.path("copy")), expected)
        self.cluster.wait_until(lambda: self.cluster.admin("fsck").returncode == 0, "fsck finds nothing")

    def test_what_is_still_buffered_is_copied_too(self):
        source = self.open("a")
        copy = self.open("b")
        os.pwrite(source, b"hello world", 5)
        os.pwrite(copy, b"0123456789abcdefghij", 0)
        self.assertEqual(os.copy_file_range(source, copy, 5, 5, 2), 5)
        self.assertEqual(os.pread(copy, 100, 0), b"01hello789abcdefghij")
        self.assertEqual(os.copy_file_range(source, copy, 100, 14, 18), 2)
        self.assertEqual(os.pread(copy, 100, 0), b"01hello789abcdefghld")

    def stored_bytes(self):
        return int(run("du", "-sxB1", self.cluster.folder).stdout.split()[0])


if __name__ == "__main__":
    unittest.main()
