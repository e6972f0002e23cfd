"""What people run on a disk runs on the mount: large files, coreutils, git, SQLite."""
import os
import random
import sqlite3
import time
import unittest

from cluster import ClusterTest, run
from trees import describe, difference, pattern, read_file, sha256, write_file

MIB = 1 << 20


class ProgramsTest(ClusterTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()

    def setUp(self):
        self.cluster = self.new_cluster()
        self.mount = self.cluster.mount()

    def test_two_gibibytes_are_read_back_cold(self):
        local = os.path.join(self.cluster.folder, "big")
        block = pattern("big", 4 * MIB)
        with open(local, "wb") as f:
            for i in range(512):
                f.write(i.to_bytes(8, "little") + block[8:])
        run("cp", local, self.mount.path("big"))
        self.mount.remount()
        run("sh", "-c", "echo 3 > /proc/sys/vm/drop_caches")
        self.assertEqual(sha256(self.mount.path("big")), sha256(local))

    def test_coreutils_agree_with_the_local_disk(self):
        local = os.path.join(self.cluster.folder, "local")
        run("cp", "-a", "/usr/include/linux", local)
        there = self.mount.path("tree")
        run("cp", "-a", local, there)
        run("cp", "-a", there, self.mount.path("copy"))
        run("mv", self.mount.path("copy"), self.mount.path("moved"))
        self.assertEqual(difference(describe(local), describe(self.mount.path("moved"))), "")
        run("diff", "-r", local, there)
        find = lambda root: sorted(run("find", ".", "-type", "f", cwd=root).stdout.split())
        self.assertEqual(find(local), find(there))
        apparent = lambda root: int(run("du", "-s", "--apparent-size", "-B1", root).stdout.split()[0])
        files_only = sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(local) for f in fs)
        self.assertGreaterEqual(apparent(there), files_only)
        run("ln", self.mount.path("tree/fs.h"), self.mount.path("hard"))
        self.assertEqual(os.stat(self.mount.path("hard")).st_nlink, 2)
        run("rm", "-rf", there, self.mount.path("moved"), self.mount.path("hard"))
        self.assertEqual(os.listdir(self.mount.directory), [])
        self.assertRegex(run("df", "-h", self.mount.directory).stdout, self.mount.source)
        run("df", "-i", self.mount.directory)

    def test_git_repository_is_sound(self):
        repo = self.mount.path("repo")
        git = lambda *words: run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words, cwd=repo)
        os.mkdir(repo)
        git("init", "-q")
        run("cp", "-r", "/usr/include/linux", os.path.join(repo, "linux"))
        git("add", ".")
        git("commit", "-qm", "first")
        write_file(os.path.join(repo, "linux", "fs.h"), b"changed\n")
        git("commit", "-qam", "second")
        git("gc", "-q")
        self.mount.remount()
        git("fsck", "--full", "--strict")
        self.assertEqual(git("status", "--porcelain").stdout, "")
        self.assertEqual(len(git("log", "--oneline").stdout.splitlines()), 2)

    def test_sqlite_keeps_a_thousand_transactions(self):
        path = self.mount.path("test.db")
        database = sqlite3.connect(path, isolation_level=None)
        database.execute("create table t (k integer primary key, v text)")
        for i in range(1000):
            database.execute("insert into t values (?, ?)", (i, "v" * (i % 500)))
        database.close()
        self.mount.remount()
        database = sqlite3.connect(path)
        self.assertEqual(database.execute("pragma integrity_check").fetchone(), ("ok",))
        self.assertEqual(database.execute("select count(*), sum(length(v)) from t").fetchone(),
                         (1000, sum(i % 500 for i in range(1000))))
        database.close()

    def test_sparse_and_very_long_files(self):
        path = self.mount.path("sparse")
        with open(path, "wb") as f:
            f.truncate(10 << 30)
            f.seek((10 << 30) - 3)
            f.write(b"end")
            f.seek(5 << 30)
            f.write(b"middle")
        self.mount.remount()
        st = os.stat(path)
        self.assertEqual(st.st_size, 10 << 30)
        self.assertLess(st.st_blocks * 512, MIB)
        with open(path, "rb") as f:
            self.assertEqual(f.read(4096), bytes(4096))
            f.seek((5 << 30) - 2)
            self.assertEqual(f.read(10), b"\0\0middle\0\0")
            f.seek(-3, os.SEEK_END)
            self.assertEqual(f.read(), b"end")

    def test_random_overwrites_read_back_equal(self):
        rng = random.Random(7)
        path = self.mount.path("random")
        model = bytearray(pattern("random", 6 * MIB))
        write_file(path, bytes(model))
        with open(path, "r+b", buffering=0) as f:
            for i in range(1500):
                offset, length = rng.randrange(len(model)), rng.randrange(1, 20_000)
                data = pattern(i, min(length, len(model) - offset))
                f.seek(offset)
                f.write(data)
                model[offset:offset + len(data)] = data
                if i % 100 == 0:
                    os.fsync(f.fileno())
                if i % 37 == 0:
                    at = rng.randrange(len(model))
                    f.seek(at)
                    self.assertEqual(f.read(5000), bytes(model[at:at + 5000]))
        self.assertEqual(read_file(path), bytes(model))
        self.mount.remount()
        self.assertEqual(read_file(path), bytes(model))

    def test_client_memory_stays_under_its_cap(self):
        self.mount.umount()
        self.mount.options = ["mem_limit=64MiB"]
        self.mount.mount()
        pid = self.mount.client_pid()
        run("dd", "if=/dev/zero", f"of={self.mount.path('zeros')}", "bs=1M", "count=600", "conv=fsync")
        run("sh", "-c", "echo 3 > /proc/sys/vm/drop_caches")
        run("dd", f"if={self.mount.path('zeros')}", "of=/dev/null", "bs=1M")
        rng = random.Random(3)
        with open(self.mount.path("zeros"), "rb", buffering=0) as f:
            for _ in range(15_000):
                os.pread(f.fileno(), 4096, rng.randrange(600 * MIB // 4096) * 4096)
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            peak_kib = int(next(line for line in f if line.startswith("VmHWM")).split()[1])
        self.assertLessEqual(peak_kib, (64 + 64) * 1024)

    def test_access_times_follow_relatime(self):
        path = self.mount.path("read-me")
        write_file(path, b"x" * 100)
        self.assertGreater(os.stat(path).st_blocks, 0)
        os.utime(path, ns=(10**18, 10**18))
        before = time.time_ns()
        self.assertEqual(read_file(path), b"x" * 100)
        self.mount.remount()
        self.assertGreater(os.stat(path).st_atime_ns, before - 2 * 10**9)
        self.assertEqual(os.stat(path).st_mtime_ns, 10**18)

    def test_remount_with_noatime_stops_access_times_at_once(self):
        path = self.mount.path("read-me-not")
        write_file(path, b"x" * 100)
        os.utime(path, ns=(10**18, 10**18))
        run("mount", "-i", "-o", "remount,noatime", self.mount.directory)
        self.assertEqual(read_file(path), b"x" * 100)
        self.mount.remount()
        self.assertEqual(os.stat(path).st_atime_ns, 10**18)


if __name__ == "__main__":
    unittest.main()
