"""The master's machine loses power while clients live on: what they were answered is there again.

The power is not cut: the database is set back to what was synced, and the boot it names to another one.
"""
import os
import shutil
import sqlite3
import time
import unittest

from cluster import ClusterTest
from trees import describe, difference, pattern, read_file, write_file

FILES = ("master.db", "master.db-wal")
# Clients have answered changes synced when they are a second old.
UNSYNCED_S = 0.8


class PowerTest(ClusterTest):
    def save(self, cluster):
        folder = os.path.join(cluster.folder, "master")
        for name in FILES:
            shutil.copy(os.path.join(folder, name), os.path.join(cluster.folder, name))

    def set_back(self, cluster):
        folder = os.path.join(cluster.folder, "master")
        for name in os.listdir(folder):
            if name.startswith("master.db"):
                os.unlink(os.path.join(folder, name))
        for name in FILES:
            shutil.copy(os.path.join(cluster.folder, name), os.path.join(folder, name))
        with sqlite3.connect(os.path.join(folder, "master.db")) as database:
            database.execute("UPDATE meta SET value = 'another boot' WHERE key = 'boot_id'")
        database.close()

    def lose_changes(self, cluster, root, change):
        """Makes changes below `root`, in a folder for each attempt, and takes them from the master
        before anybody can have had them synced. Returns the folder."""
        for attempt in range(20):
            folder = os.path.join(root, f"attempt-{attempt}")
            # After this the master answers and has, durably, a range of inode numbers to give.
            write_file(os.path.join(root, f"before-{attempt}"), b"x", sync=True)
            self.save(cluster)
            begun = time.monotonic()
            os.mkdir(folder)
            change(folder)
            expected = describe(folder)
            cluster.master.kill()
            if time.monotonic() - begun < UNSYNCED_S:
                self.set_back(cluster)
                cluster.master.start()
                return folder, expected
            cluster.master.start()
        raise AssertionError("this machine is too slow to be faster than a sync")

    @staticmethod
    def change_names(folder):
        for i in range(20):
            write_file(os.path.join(folder, f"file-{i}"), b"")
            os.chmod(os.path.join(folder, f"file-{i}"), 0o640 + i % 8)
        os.mkdir(os.path.join(folder, "below"))
        os.rename(os.path.join(folder, "file-3"), os.path.join(folder, "below", "moved"))
        os.link(os.path.join(folder, "file-4"), os.path.join(folder, "below", "linked"))
        os.unlink(os.path.join(folder, "file-5"))
        os.setxattr(os.path.join(folder, "file-6"), "user.color", b"blue")
        os.symlink("file-7", os.path.join(folder, "pointer"))

    def test_what_a_living_client_was_answered_is_there_again(self):
        cluster = self.new_cluster(servers=1, replicas=1)
        mount = cluster.mount()
        write_file(mount.path("first"), b"x", sync=True)
        folder, expected = self.lose_changes(cluster, mount.directory, self.change_names)
        self.assertEqual(difference(expected, describe(folder)), "")
        self.assertRegex(cluster.master.log(), r"restored=[1-9]\d* refused=0")
        write_file(os.path.join(folder, "file-8"), pattern("p", 100_000), sync=True)
        other = cluster.mount("other")
        seen = os.path.join(other.directory, os.path.basename(folder))
        expected = describe(folder)
        self.assertEqual(difference(expected, describe(seen)), "")
        self.assertEqual(read_file(os.path.join(seen, "file-8")), pattern("p", 100_000))
        # Once is enough: a killed process loses nothing, and nobody is asked again.
        cluster.master.kill()
        cluster.master.start()
        self.assertEqual(difference(expected, describe(folder)), "")
        self.assertEqual(cluster.master.log().count("Clients are asked to tell"), 1)
        cluster.wait_for_nodes(1)
        cluster.admin("fsck")

    def test_a_client_that_died_is_waited_for_until_its_session_is_over(self):
        cluster = self.new_cluster(servers=1, replicas=1, master_options=["--session-timeout", "5s"])
        mount = cluster.mount()
        dead = cluster.mount("dead")
        write_file(mount.path("first"), b"x", sync=True)
        write_file(dead.path("second"), b"x", sync=True)
        os.mkdir(mount.path("unknown to the dead"))  # else changes would wait for it before the loss
        dead.kill_client()
        folder, expected = self.lose_changes(cluster, mount.path("unknown to the dead"), self.change_names)
        self.assertEqual(difference(expected, describe(folder)), "")
        self.assertRegex(cluster.master.log(), r"sessions=2 told=1 changes=[1-9]")


if __name__ == "__main__":
    unittest.main()
