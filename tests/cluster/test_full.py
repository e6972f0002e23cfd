"""A full cluster says ENOSPC to the writer, keeps what it has, and has room again after rm."""
import errno
import os
import unittest

from cluster import ClusterTest, run
from trees import pattern, read_file, write_file

MIB = 1 << 20


class FullClusterTest(ClusterTest):
    def setUp(self):
        self.cluster = self.new_cluster(space_mib=192)
        self.mount = self.cluster.mount()

    def fill(self, name):
        """Writes until the cluster is full; returns the bytes written."""
        written = 0
        with open(self.mount.path(name), "wb", buffering=0) as f:
            while written < 2048 * MIB:
                try:
                    written += f.write(pattern(written, MIB))
                except OSError as error:
                    self.assertEqual(error.errno, errno.ENOSPC)
                    os.fsync(f.fileno())
                    return written
        raise AssertionError("the cluster never got full")

    def test_enospc_comes_from_write_and_what_was_written_is_intact(self):
        write_file(self.mount.path("before"), pattern("before", 5 * MIB), sync=True)
        written = self.fill("filler")
        self.assertGreater(written, 100 * MIB)  # 3 x 192 MiB hold far more than that, twice
        self.mount.remount()
        self.assertEqual(read_file(self.mount.path("before")), pattern("before", 5 * MIB))
        self.assertGreaterEqual(os.path.getsize(self.mount.path("filler")), written)
        with open(self.mount.path("filler"), "rb") as f:
            for offset in range(0, written, MIB):
                self.assertEqual(f.read(MIB), pattern(offset, MIB), f"at {offset}")

    def test_cp_fails_and_rm_gives_the_space_back(self):
        free = lambda: os.statvfs(self.mount.directory).f_bavail * os.statvfs(self.mount.directory).f_frsize
        at_start = free()
        self.assertGreater(at_start, 150 * MIB)
        self.assertLess(at_start, 320 * MIB)
        local = os.path.join(self.cluster.folder, "local")
        with open(local, "wb") as f:
            for i in range(512):
                f.write(pattern(i, MIB))
        done = run("cp", local, self.mount.path("copy"), check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("No space left", done.stderr)
        os.unlink(self.mount.path("copy"))
        self.cluster.wait_until(lambda: free() > at_start - 40 * MIB, "space is back", 60)
        run("dd", "if=/dev/zero", f"of={self.mount.path('again')}", "bs=1M", "count=100", "conv=fsync")


class FullServerTest(ClusterTest):
    def test_writes_go_on_with_fewer_replicas_when_one_server_is_full(self):
        cluster = self.new_cluster(space_mib=[192, 192, 24], replicas=3)
        mount = cluster.mount()
        with open(mount.path("f"), "wb", buffering=0) as f:
            for i in range(64):
                self.assertEqual(f.write(pattern(i, MIB)), MIB)
            os.fsync(f.fileno())
        status = cluster.status()
        self.assertEqual(status["nodes_full"], [cluster.addresses[2]])
        self.assertEqual(status["verdict"], "degraded")
        self.assertIn(cluster.addresses[2], status["verdict_line"])
        self.assertLess(status["chunks_degraded"], status["chunks"], "the first ones have three replicas")
        mount.remount()
        with open(mount.path("f"), "rb") as f:
            for i in range(64):
                self.assertEqual(f.read(MIB), pattern(i, MIB), f"MiB {i}")


if __name__ == "__main__":
    unittest.main()
