"""Two mounts, other users, odd names, large directories, fstab and IPv6."""
import errno
import json
import os
import signal
import unittest

from cluster import ClusterTest, run, wait_for_end
from trees import pattern, read_file, write_file



class TwoMountsTest(ClusterTest):
    def setUp(self):
        self.cluster = self.new_cluster()
        self.one, self.two = self.cluster.mount("one"), self.cluster.mount("two")

    def test_what_was_written_just_before_umount_is_whole_for_the_other(self):
        data = pattern("u", 5 << 20)
        write_file(self.one.path("file"), data)
        self.one.umount()
        self.assertEqual(os.path.getsize(self.two.path("file")), len(data))
        self.assertEqual(read_file(self.two.path("file")), data)

    def test_an_unlinked_file_lives_until_it_is_closed(self):
        data = pattern("o", 1 << 20)
        write_file(self.one.path("file"), data)
        with open(self.one.path("file"), "r+b", buffering=0) as f:
            os.unlink(self.one.path("file"))
            os.pwrite(f.fileno(), b"still here", 0)
            os.fsync(f.fileno())
            run("sh", "-c", "echo 3 > /proc/sys/vm/drop_caches")
            self.assertEqual(os.pread(f.fileno(), 1 << 20, 0), b"still here" + data[10:])
            self.cluster.master.kill()
            self.cluster.master.start()
            self.assertEqual(os.pread(f.fileno(), 100, 500_000), data[500_000:500_100])
        self.cluster.wait_until(lambda: self.cluster.status()["orphans"] == 0, "the orphan is freed", 90)


class NamespaceTest(ClusterTest):
    def test_a_directory_of_a_hundred_thousand_files(self):
        cluster = self.new_cluster()
        mount = cluster.mount()
        big = mount.path("big")
        os.mkdir(big)
        for i in range(100_000):
            os.close(os.open(os.path.join(big, f"file-{i:06}"), os.O_CREAT | os.O_WRONLY))
        expected = {f"file-{i:06}" for i in range(100_000)}
        self.assertEqual(set(os.listdir(big)), expected)
        mount.remount()
        listed = os.listdir(big)
        self.assertEqual(len(listed), 100_000)
        self.assertEqual(set(listed), expected)
        with open(f"/proc/{cluster.master.process.pid}/status", encoding="ascii") as f:
            rss = int(next(line for line in f if line.startswith("VmRSS")).split()[1])
        self.assertLess(rss, 300 * 1024)
        run("rm", "-rf", big)
        self.assertEqual(os.listdir(mount.directory), [])

    def test_other_users_and_supplementary_groups(self):
        cluster = self.new_cluster()
        mount = cluster.mount()
        write_file(mount.path("group-only"), b"secret")
        os.chown(mount.path("group-only"), 0, 4242)
        os.chmod(mount.path("group-only"), 0o640)
        cat = ["cat", mount.path("group-only")]
        as_user = ["setpriv", "--reuid", "12345", "--regid", "12345"]
        os.chmod(cluster.folder, 0o755)
        self.assertEqual(run(*as_user, "--groups", "4242", *cat).stdout, "secret")
        self.assertNotEqual(run(*as_user, "--clear-groups", *cat, check=False).returncode, 0)
        os.mkdir(mount.path("shared"))
        os.chown(mount.path("shared"), 0, 4242)
        os.chmod(mount.path("shared"), 0o2775)
        run(*as_user, "--groups", "4242", "touch", mount.path("shared/mine"))
        st = os.stat(mount.path("shared/mine"))
        self.assertEqual((st.st_uid, st.st_gid), (12345, 4242))
        self.assertNotEqual(run(*as_user, "--clear-groups", "touch", mount.path("shared/no"),
                                check=False).returncode, 0)
        os.chmod(mount.path("shared"), 0o3777)
        self.assertNotEqual(run("setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups", "rm", "-f",
                                mount.path("shared/mine"), check=False).returncode, 0)

    def test_names_are_bytes(self):
        cluster = self.new_cluster()
        mount = cluster.mount()
        names = [b"na\xc3\xafve", b"invalid\xff\xfe", b"new\nline", b" space ", b"-dash", b"\x01", "日本語".encode(),
                 b"x" * 255]
        root = os.fsencode(mount.directory)
        for name in names:
            write_file(os.path.join(root, name), name)
        mount.remount()
        self.assertEqual(sorted(os.listdir(root)), sorted(names))
        for name in names:
            self.assertEqual(read_file(os.path.join(root, name)), name)
        with self.assertRaises(OSError) as caught:
            write_file(os.path.join(root, b"y" * 256), b"")
        self.assertEqual(caught.exception.errno, errno.ENAMETOOLONG)

    def test_extended_attributes(self):
        mount = self.new_cluster().mount()
        path = mount.path("file")
        write_file(path, b"")
        os.setxattr(path, "user.one", b"1")
        os.setxattr(path, "user.two", b"\0binary\xff")
        os.setxattr(path, "trusted.three", b"x" * 4096)
        mount.remount()
        self.assertEqual(sorted(os.listxattr(path)), ["trusted.three", "user.one", "user.two"])
        self.assertEqual(os.getxattr(path, "user.two"), b"\0binary\xff")
        with self.assertRaises(FileExistsError):
            os.setxattr(path, "user.one", b"2", os.XATTR_CREATE)
        os.removexattr(path, "user.one")
        with self.assertRaises(OSError):
            os.getxattr(path, "user.one")


class MountTest(ClusterTest):
    def test_mount_a_from_an_fstab_and_subdirectories(self):
        cluster = self.new_cluster()
        mount = cluster.mount()
        os.makedirs(mount.path("sub/dir"))
        write_file(mount.path("sub/dir/file"), b"here", sync=True)
        target = os.path.join(cluster.folder, "from fstab")
        os.makedirs(target)
        fstab = os.path.join(cluster.folder, "fstab")
        with open(fstab, "w", encoding="ascii") as f:
            f.write(f"{cluster.address}/sub/dir {target.replace(' ', chr(92) + '040')} fuse.dfs "
                    "_netdev,nofail,noatime 0 0\n")
        run("mount", "-a", "-T", fstab)
        self.addCleanup(run, "umount", "-l", target, check=False)
        self.assertEqual(read_file(os.path.join(target, "file")), b"here")
        self.assertEqual(os.listdir(target), ["file"])
        options = run("findmnt", "-no", "OPTIONS,FSTYPE", target).stdout
        self.assertIn("noatime", options)
        self.assertIn("fuse.dfs", options)
        run("umount", target)
        self.assertEqual(os.listdir(target), [])

    def test_read_only_and_remount(self):
        mount = self.new_cluster().mount(options=["ro"])
        with self.assertRaises(OSError) as caught:
            write_file(mount.path("file"), b"")
        self.assertEqual(caught.exception.errno, errno.EROFS)
        run("mount", "-o", "remount,rw", mount.directory)
        write_file(mount.path("file"), b"x")
        run("mount", "-o", "remount,ro", mount.directory)
        with self.assertRaises(OSError):
            write_file(mount.path("file"), b"")

    def test_ipv6(self):
        cluster = self.new_cluster(host="::1")
        mount = cluster.mount()
        write_file(mount.path("file"), b"six", sync=True)
        mount.remount()
        self.assertEqual(read_file(mount.path("file")), b"six")

    def test_servers_are_reached_by_the_name_they_advertise(self):
        cluster = self.new_cluster(servers=2, server_options=("--advertise", "localhost"))
        nodes = json.loads(cluster.admin("node", "list", "--json").stdout)["nodes"]
        self.assertEqual(sorted(node["address"] for node in nodes),
                         sorted(address.replace("127.0.0.1", "localhost") for address in cluster.addresses))
        mount = cluster.mount()
        write_file(mount.path("file"), pattern("advertised", 1 << 20), sync=True)
        mount.remount()
        self.assertEqual(read_file(mount.path("file")), pattern("advertised", 1 << 20))
        cluster.wait_until(lambda: cluster.admin("fsck", "--json", check=False).returncode == 0, "fsck finds nothing")

    def test_sigterm_flushes_and_unmounts(self):
        cluster = self.new_cluster()
        mount = cluster.mount()
        write_file(mount.path("file"), b"flushed")
        pid = mount.client_pid()
        pidfd = os.pidfd_open(pid)
        os.kill(pid, signal.SIGTERM)
        wait_for_end(pidfd)
        self.assertFalse(mount.is_mounted())
        mount.mount()
        self.assertEqual(read_file(mount.path("file")), b"flushed")

    def test_umount_of_a_busy_mount_says_so(self):
        mount = self.new_cluster().mount()
        with open(mount.path("file"), "wb"):
            done = mount.umount(check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("busy", done.stderr)
        self.assertTrue(mount.is_mounted())


if __name__ == "__main__":
    unittest.main()
