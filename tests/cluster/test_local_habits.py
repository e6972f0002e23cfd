"""What programs are used to from local disks: inotify, renameat2, many hard links, O_DIRECT, directories that are
removed in use, one clock."""
import ctypes
import errno
import json
import mmap
import os
import platform
import struct
import subprocess
import sys
import tempfile
import time
import unittest

from cluster import ClusterTest, SCRATCH, run
from trees import pattern, read_file, write_file

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
LINK_MAX = 65_000


def rename(old, new, flags):
    if LIBC.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), old)


class Watch:
    """Everything that inotify(7) tells of some files or directories."""

    ALL_EVENTS = 0xfff
    HEADER = struct.Struct("iIII")
    COOKIE_OF_MOVES = 0xc0

    def __init__(self, *paths):
        self.fd = LIBC.inotify_init1(os.O_NONBLOCK)
        self.watches = [LIBC.inotify_add_watch(self.fd, os.fsencode(path), self.ALL_EVENTS) for path in paths]
        assert self.fd >= 0 and min(self.watches) >= 0, os.strerror(ctypes.get_errno())

    def events(self):
        """(which path, mask, name) in their order; both halves of a move have one cookie."""
        told, moves = [], {}
        while True:
            try:
                data = os.read(self.fd, 65536)
            except BlockingIOError:
                os.close(self.fd)
                assert all(count == 2 for count in moves.values()), moves
                return told
            while data:
                watch, mask, cookie, length = self.HEADER.unpack_from(data)
                name = data[self.HEADER.size:self.HEADER.size + length].rstrip(b"\0").decode()
                told.append((self.watches.index(watch), mask, name))
                if mask & self.COOKIE_OF_MOVES:
                    moves[cookie] = moves.get(cookie, 0) + 1
                data = data[self.HEADER.size + length:]


class InotifyTest(ClusterTest):
    def setUp(self):
        self.mount = self.new_cluster(servers=2).mount()

    def test_it_tells_of_the_same_mount_what_it_tells_of_a_local_disk(self):
        with tempfile.TemporaryDirectory(dir=SCRATCH) as local:
            expected = self.events_in(local)
        self.assertGreater(len(expected), 30)
        self.assertEqual(self.events_in(self.mount.directory), expected)

    def events_in(self, root):
        a, b = os.path.join(root, "a"), os.path.join(root, "b")
        os.mkdir(a)
        os.mkdir(b)
        write_file(f"{b}/watched", b"text")
        watch = Watch(a, b, f"{b}/watched")
        write_file(f"{a}/f", b"text")
        with open(f"{a}/f", "r+b", buffering=0) as f:
            f.write(b"more")
            f.truncate(2)
        self.assertEqual(read_file(f"{a}/f"), b"mo")
        os.chmod(f"{a}/f", 0o600)
        os.link(f"{a}/f", f"{b}/second")
        os.symlink("f", f"{a}/l")
        os.rename(f"{a}/f", f"{a}/g")
        os.rename(f"{a}/g", f"{b}/g")
        os.rename(f"{b}/g", f"{b}/watched")  # over it
        os.mkdir(f"{a}/d")
        os.listdir(f"{a}/d")
        os.rename(f"{a}/d", f"{b}/d")
        os.rmdir(f"{b}/d")
        for name in [f"{b}/second", f"{b}/watched", f"{a}/l"]:
            os.unlink(name)
        os.rmdir(a)
        os.rmdir(b)
        return watch.events()


class RenameTest(ClusterTest):
    def setUp(self):
        self.cluster = self.new_cluster(servers=2)
        self.one, self.two = self.cluster.mount("one"), self.cluster.mount("two")

    def assert_refused(self, code, old, new, flags):
        with self.assertRaises(OSError) as caught:
            rename(old, new, flags)
        self.assertEqual(errno.errorcode[caught.exception.errno], errno.errorcode[code])

    def test_exchange_swaps_files_and_directories_for_all_mounts(self):
        os.mkdir(self.one.path("d"))
        write_file(self.one.path("d/inside"), b"inside")
        os.mkdir(self.one.path("e"))
        write_file(self.one.path("e/f"), b"file")
        sides = [self.one, self.two]
        for i in range(20):
            here, there = sides[i % 2], sides[(i + 1) % 2]
            rename(here.path("d"), here.path("e/f"), RENAME_EXCHANGE)
            for side in [there, here]:
                directory, file = ("e/f", "d") if i % 2 == 0 else ("d", "e/f")
                self.assertEqual(read_file(side.path(file)), b"file")
                self.assertEqual(read_file(side.path(directory, "inside")), b"inside")
                self.assertEqual((os.stat(side.path("")).st_nlink, os.stat(side.path("e")).st_nlink),
                                 (3, 3) if i % 2 == 0 else (4, 2))
        self.assert_refused(errno.ENOENT, self.one.path("d"), self.one.path("none"), RENAME_EXCHANGE)
        os.unlink(self.two.path("e/f"))
        self.assert_refused(errno.ENOENT, self.one.path("d"), self.one.path("e/f"), RENAME_EXCHANGE)
        self.assert_refused(errno.EINVAL, self.one.path("d"), self.one.path("d/inside"), RENAME_EXCHANGE)
        self.assert_refused(errno.EINVAL, self.one.path("d"), self.one.path("x"), RENAME_EXCHANGE | RENAME_NOREPLACE)

    def test_noreplace_keeps_what_any_mount_has_put_there(self):
        sides = [self.one, self.two]
        for i in range(20):
            here, there = sides[i % 2], sides[(i + 1) % 2]
            write_file(here.path("new"), b"new")
            self.assertFalse(os.path.exists(here.path("name")))
            write_file(there.path("name"), b"first")
            self.assert_refused(errno.EEXIST, here.path("new"), here.path("name"), RENAME_NOREPLACE)
            self.assertEqual(read_file(here.path("name")), b"first")
            self.assertEqual(read_file(there.path("new")), b"new")
            os.unlink(there.path("name"))
            rename(here.path("new"), here.path("name"), RENAME_NOREPLACE)
            self.assertEqual(os.listdir(there.path("")), ["name"])
            self.assertEqual(read_file(there.path("name")), b"new")
            os.unlink(there.path("name"))


# Works in a directory, and at each line of input tells of it: its mode and links, what is in it, and what comes of
# making something there.
WORKER = """
import errno, os, sys
os.chdir(sys.argv[1])
print("there", flush=True)
for line in sys.stdin:
    try:
        made = os.mkdir("d")
    except OSError as error:
        made = errno.errorcode[error.errno]
    st = os.stat(".")
    print(oct(st.st_mode), st.st_nlink, os.listdir("."), os.path.exists("d"), made, flush=True)
"""


class RemovedDirectoryTest(ClusterTest):
    def setUp(self):
        self.cluster = self.new_cluster(servers=2)
        self.one, self.two = self.cluster.mount("one"), self.cluster.mount("two")
        self.removals = {"by-one": lambda path: os.rmdir(self.one.path(path)),
                         "by-two": lambda path: os.rmdir(self.two.path(path)),
                         "replaced": lambda path: os.rename(self.two.path("empty"), self.two.path(path))}
        os.mkdir(self.one.path("empty"))

    def open_all(self):
        sides = {"one": self.one, "two": self.two}
        for name in self.removals:
            os.mkdir(self.one.path(name))
        return {(side, name): os.open(sides[side].path(name), os.O_RDONLY | os.O_DIRECTORY)
                for side in sides for name in self.removals}

    def work_in(self, name):
        os.mkdir(self.one.path(name), 0o710)
        worker = subprocess.Popen([sys.executable, "-c", WORKER, self.one.path(name)], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        self.addCleanup(worker.communicate)
        self.assertEqual(worker.stdout.readline(), "there\n")
        return worker

    def wait_until_freed(self, held):
        """Whatever nobody has open is gone then; so is a directory that is removed now."""
        os.mkdir(self.one.path("unused"))
        os.rmdir(self.two.path("unused"))
        self.cluster.wait_until(lambda: self.cluster.status()["orphans"] == held, f"only {held} are left", 90)

    def check_open(self, fd, mode):
        st = os.fstat(fd)
        self.assertEqual((st.st_nlink, st.st_mode), (0, 0o040000 | mode))
        self.assertEqual(os.listdir(fd), [])
        for make in [lambda: os.mkdir("d", dir_fd=fd), lambda: os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=fd),
                     lambda: os.symlink("x", "l", dir_fd=fd), lambda: os.stat("f", dir_fd=fd)]:
            with self.assertRaises(FileNotFoundError):
                make()

    def check_working(self, worker):
        worker.stdin.write("\n")
        worker.stdin.flush()
        self.assertEqual(worker.stdout.readline(), "0o40710 0 [] False ENOENT\n")

    def test_it_lives_until_it_is_closed_and_whoever_works_in_it_is_told(self):
        fds = self.open_all()
        workers = [self.work_in("home-one"), self.work_in("home-two")]
        for name, remove in self.removals.items():
            remove(name)
        os.rmdir(self.one.path("home-one"))
        os.rmdir(self.two.path("home-two"))
        for turn, (mode, new_mode) in enumerate([(0o755, 0o711), (0o711, 0o700)]):
            if turn == 1:
                self.cluster.master.kill()
                self.cluster.master.start()
            self.wait_until_freed(held=len(self.removals))
            for fd in fds.values():
                self.check_open(fd, mode)
            for worker in workers:
                self.check_working(worker)
            for name in self.removals:
                os.fchmod(fds["one", name], new_mode)
                os.fchown(fds["two", name], 1000 + turn, 5)
                os.utime(fds["two", name], ns=(turn, 10**18 + turn))
                st = os.fstat(fds["one", name])
                self.assertEqual((st.st_uid, st.st_gid, st.st_mtime_ns), (1000 + turn, 5, 10**18 + turn))
            self.assertEqual(json.loads(self.cluster.admin("fsck", "--json").stdout)["problems"], [])
        for fd in fds.values():
            os.close(fd)
        self.cluster.wait_until(lambda: self.cluster.status()["orphans"] == 0, "all are freed", 30)


class ClockTest(ClusterTest):
    FAKETIME = f"/usr/lib/{platform.machine()}-linux-gnu/faketime/libfaketime.so.1"
    DAY_NS = 86400 * 10**9

    def mount_skewed(self, name, skew):
        """A client whose clock is wrong, and tells no other time than its machine would."""
        environment = {**os.environ, "LD_PRELOAD": self.FAKETIME, "FAKETIME": skew, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        clock = run("date", "+%s", env=environment)
        self.assertEqual(clock.stderr, "")
        self.assertGreater(abs(int(clock.stdout) - time.time()), 86400 / 2)
        mount = self.cluster.mount(name, environment=environment)
        self.assertIn(b"libfaketime", read_file(f"/proc/{mount.client_pid()}/maps"))
        return mount

    def assert_now(self, path, since_ns, *times):
        st = os.stat(path)
        for name in times:
            # The client's idea of the master's time is a little behind, never ahead.
            self.assertGreater(getattr(st, name), since_ns - 10**9, name)
            self.assertLessEqual(getattr(st, name), time.time_ns(), name)

    def test_times_of_files_are_the_masters_however_wrong_clients_clocks_are(self):
        self.cluster = self.new_cluster(servers=2)
        early, late = self.mount_skewed("early", "-1d"), self.mount_skewed("late", "+1d")
        newest = 0
        for i in range(20):
            here, there = [(early, late), (late, early)][i % 2]
            since = time.time_ns()
            path = f"f{i % 3}"
            with open(here.path(path), "ab", buffering=0) as f:
                f.write(b"text")
                self.assert_now(here.path(path), since, "st_mtime_ns", "st_ctime_ns")
                newest, before = os.fstat(f.fileno()).st_mtime_ns, newest
                self.assertGreater(newest, before)  # as make wants it
            self.assertEqual(os.stat(there.path(path)).st_mtime_ns, newest)
        for side in [early, late]:
            since = time.time_ns()
            os.mkdir(side.path(f"d-{side.name}"))
            self.assert_now(side.path(f"d-{side.name}"), since, "st_mtime_ns", "st_ctime_ns", "st_atime_ns")
            os.chmod(side.path("f0"), 0o600)
            self.assert_now(side.path("f0"), since, "st_ctime_ns")
            os.utime(side.path("f0"), ns=(1, 1))
            os.utime(side.path("f0"))
            self.assert_now(side.path("f0"), since, "st_mtime_ns", "st_atime_ns")


# Links, or removes, the numbers FROM to TO in a directory of its own.
LINKER = """
import os, sys
what, file, folder, begin, end = sys.argv[1:]
for i in range(int(begin), int(end)):
    if what == "link":
        os.link(file, f"{folder}/{i}")
    else:
        os.unlink(f"{folder}/{i}")
"""


@unittest.skipUnless(os.environ.get("DFS_TEST_LONG") == "1", "takes minutes; DFS_TEST_LONG=1 runs it")
class HardLinkTest(ClusterTest):
    PROCESSES = 8

    def test_a_file_has_up_to_65000_names(self):
        cluster = self.new_cluster(servers=2)
        one, two = cluster.mount("one"), cluster.mount("two")
        write_file(one.path("f"), b"text")
        self.each_part(one, "link")
        self.assertEqual(os.stat(one.path("f")).st_nlink, LINK_MAX)
        for side in [one, two]:
            with self.assertRaises(OSError) as caught:
                os.link(side.path("f"), side.path("one more"))
            self.assertEqual(caught.exception.errno, errno.EMLINK)
        self.assertEqual(os.stat(two.path("f")).st_nlink, LINK_MAX)
        self.assertEqual(read_file(two.path(f"d{self.PROCESSES - 1}/{LINK_MAX - 1}")), b"text")
        self.each_part(one, "unlink")
        self.assertEqual(os.stat(two.path("f")).st_nlink, 1)
        os.link(two.path("f"), two.path("one more"))

    def each_part(self, mount, what):
        edges = [1 + (LINK_MAX - 1) * i // self.PROCESSES for i in range(self.PROCESSES + 1)]
        for i in range(self.PROCESSES):
            os.makedirs(mount.path(f"d{i}"), exist_ok=True)
        linkers = [subprocess.Popen([sys.executable, "-c", LINKER, what, mount.path("f"), mount.path(f"d{i}"),
                                     str(edges[i]), str(edges[i + 1])]) for i in range(self.PROCESSES)]
        for linker in linkers:
            self.assertEqual(linker.wait(), 0)


class DirectIoTest(ClusterTest):
    BLOCK = 4096

    def setUp(self):
        self.cluster = self.new_cluster()
        self.one, self.two = self.cluster.mount("one"), self.cluster.mount("two")

    def open(self, side, flags):
        fd = os.open(side.path("f"), flags | os.O_CREAT, 0o644)
        self.addCleanup(os.close, fd)
        return fd

    def buffer(self, data=b"", size=0):
        """Aligned memory, as O_DIRECT demands of programs."""
        memory = mmap.mmap(-1, max(len(data), size))
        memory[:len(data)] = data
        return memory

    def test_direct_writes_and_reads_agree_with_ordinary_ones_of_both_mounts(self):
        size = 64 * self.BLOCK
        content = bytearray(pattern("direct", size))
        direct = self.open(self.one, os.O_RDWR | os.O_DIRECT)
        self.assertEqual(os.pwritev(direct, [self.buffer(content)], 0), size)
        ordinary = [self.open(side, os.O_RDWR) for side in (self.one, self.two)]
        elsewhere = self.open(self.two, os.O_RDWR | os.O_DIRECT)
        back = self.buffer(size=2 * size)
        for i in range(16):
            part = pattern(i, 2 * self.BLOCK)
            offset = i * 3 * self.BLOCK
            if i % 2 == 0:
                self.assertEqual(os.pwritev([direct, elsewhere][i // 2 % 2], [self.buffer(part)], offset), len(part))
            else:
                self.assertEqual(os.pwrite(ordinary[i // 2 % 2], part, offset + 7), len(part))
            content[offset + i % 2 * 7:offset + i % 2 * 7 + len(part)] = part
            for fd in ordinary:
                self.assertEqual(os.pread(fd, size + 1, 0), content)
            for fd in [direct, elsewhere]:
                self.assertEqual(os.preadv(fd, [back], 0), size)  # and no more than there is
                self.assertEqual(back[:size], content)

    def test_the_end_of_a_file_need_not_be_a_whole_block(self):
        direct = self.open(self.one, os.O_RDWR | os.O_DIRECT)
        self.assertEqual(os.pwritev(direct, [self.buffer(b"x" * self.BLOCK)], 0), self.BLOCK)
        os.ftruncate(direct, 1000)
        back = self.buffer(size=self.BLOCK)
        for fd in [direct, self.open(self.two, os.O_RDONLY | os.O_DIRECT)]:
            self.assertEqual(os.preadv(fd, [back], 0), 1000)
            self.assertEqual(os.preadv(fd, [back], self.BLOCK), 0)


if __name__ == "__main__":
    unittest.main()
