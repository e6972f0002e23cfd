"""A real source tree survives tar, a restart of everything, and comes back equal."""
import os
import unittest

from cluster import ClusterTest, run
from trees import describe, difference, make_special_tree

SOURCES = ["/usr/include", "/usr/lib/python3", "/usr/share/perl", "/usr/lib/git-core", "/usr/share/doc"]
FILES_MIN = 10_000


class SourceTreeTest(ClusterTest):
    def test_ten_thousand_files_through_tar_survive_a_restart_of_everything(self):
        cluster = self.new_cluster()
        mount = cluster.mount()
        original = os.path.join(cluster.folder, "original")
        os.makedirs(original)
        make_special_tree(os.path.join(original, "special"))
        for source in SOURCES:
            if os.path.isdir(source):
                run("cp", "-a", source, os.path.join(original, source.strip("/").replace("/", "-")))
        expected = describe(original)
        self.assertGreaterEqual(len(expected), FILES_MIN)
        archive = os.path.join(cluster.folder, "tree.tar")
        run("tar", "--format=posix", "-C", original, "-S", "-cf", archive, ".")
        run("tar", "-C", mount.directory, "-xpf", archive, timeout=600)
        mount.umount()
        cluster.stop_daemons()
        cluster.start()
        mount.mount()
        self.assertEqual(difference(expected, describe(mount.directory)), "")
        run("rm", "-rf", *[mount.path(name) for name in os.listdir(mount.directory)])
        self.assertEqual(os.listdir(mount.directory), [])


if __name__ == "__main__":
    unittest.main()
