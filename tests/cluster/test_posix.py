"""Single-client POSIX on a real mount: ACLs, the umask, extended attributes."""
import contextlib
import ctypes
import errno
import json
import os
import stat
import struct
import unittest

from cluster import ClusterTest, run

LIBC = ctypes.CDLL(None, use_errno=True)
USER, OTHER_USER, GROUP = 4321, 4322, 4400
ACL_NAMES = ("system.posix_acl_access", "system.posix_acl_default")


@contextlib.contextmanager
def identity(uid, groups=()):
    """The calls within are made by that user, without capabilities; the first group is its own."""
    groups = list(groups) or [uid]
    old = os.getgroups()
    os.setgroups(groups)
    os.setegid(groups[0])
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(old)


@contextlib.contextmanager
def umask(mask):
    old = os.umask(mask)
    try:
        yield
    finally:
        os.umask(old)


def link_descriptor(fd, path):
    """With a descriptor of a directory Python calls linkat(2), and that follows the symlink."""
    os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)


class PosixTest(ClusterTest):
    def setUp(self):
        self.cluster = self.new_cluster(servers=2)
        os.chmod(self.cluster.folder, 0o755)  # other users go through it
        self.mount = self.cluster.mount()

    def make(self, name, text=b"text", mode=0o644):
        path = self.mount.path(name)
        with open(path, "wb") as f:
            f.write(text)
        os.chmod(path, mode)
        return path

    def assert_errno(self, code, call, *arguments):
        with self.assertRaises(OSError) as caught:
            call(*arguments)
        self.assertEqual(errno.errorcode[caught.exception.errno], errno.errorcode[code])

    def mode(self, path):
        return stat.S_IMODE(os.lstat(path).st_mode)

    def acl(self, path, *flags):
        """The lines of getfacl, without those that only explain."""
        text = run("getfacl", "-cpEn", *flags, path).stdout
        return [line for line in text.splitlines() if line]


class CreationTest(PosixTest):
    def test_a_file_without_a_name_can_be_given_one(self):
        directory = self.mount.directory
        fd = os.open(directory, os.O_TMPFILE | os.O_RDWR, 0o640)
        os.write(fd, b"text")
        self.assertEqual(os.fstat(fd).st_nlink, 0)
        self.assertEqual(os.listdir(directory), [])
        link_descriptor(fd, self.mount.path("named"))
        self.assertEqual(os.fstat(fd).st_nlink, 1)
        os.close(fd)
        self.mount.remount()
        with open(self.mount.path("named"), "rb") as f:
            self.assertEqual(f.read(), b"text")
        self.assertEqual(self.mode(self.mount.path("named")), 0o640)

    def test_a_file_that_stays_without_a_name_takes_no_room(self):
        used = self.cluster.status()["live_bytes"]
        fd = os.open(self.mount.directory, os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)
        os.write(fd, b"x" * (1 << 20))
        os.fsync(fd)
        self.assert_errno(errno.ENOENT, link_descriptor, fd, self.mount.path("named"))
        self.assertGreater(self.cluster.status()["live_bytes"], used)
        os.close(fd)
        self.cluster.wait_until(lambda: self.cluster.status()["live_bytes"] == used, "its room is free again")

    def test_an_unlinked_file_gets_no_new_name(self):
        path = self.make("f")
        with open(path, "rb") as f:
            os.unlink(path)
            self.assert_errno(errno.ENOENT, link_descriptor, f.fileno(), path)

    def test_a_write_of_another_user_clears_set_uid(self):
        path = self.make("f", mode=0o6777)
        with identity(USER):
            with open(path, "ab") as f:
                f.write(b"x")
        self.assertEqual(self.mode(path), 0o777)
        os.chmod(path, 0o6777)
        with open(path, "ab") as f:
            f.write(b"root may")
        self.assertEqual(self.mode(path), 0o6777)
        cut = lambda: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))
        for truncate in (lambda: os.truncate(path, 1), cut, cut):  # the last one cuts nothing off
            os.chmod(path, 0o6777)
            with identity(USER):
                truncate()
            self.assertEqual(self.mode(path), 0o777)
        os.chmod(path, 0o6777)
        cut()
        self.assertEqual(self.mode(path), 0o6777)

    def test_a_copied_range_clears_set_uid_as_a_write_does(self):
        source, path = self.make("source", b"x" * 5000), self.make("f", mode=0o6777)

        def copy():
            with open(source, "rb") as s, open(path, "r+b") as f:
                self.assertEqual(os.copy_file_range(s.fileno(), f.fileno(), 5000), 5000)
        copy()
        self.assertEqual(self.mode(path), 0o6777)
        with identity(USER):
            copy()
        self.assertEqual(self.mode(path), 0o777)

    def test_an_empty_file_truncated_by_open_is_a_new_stamp(self):
        path = self.make("stamp", b"")
        os.utime(path, ns=(10**18, 10**18))
        self.make("stamp", b"")
        self.assertGreater(os.stat(path).st_mtime_ns, 10**18)

    def test_sticky_and_set_gid_directories(self):
        sticky, group = self.mount.path("sticky"), self.mount.path("group")
        for path, mode in [(sticky, 0o1777), (group, 0o2777)]:
            os.mkdir(path)
            os.chown(path, 0, GROUP)
            os.chmod(path, mode)
        self.make("sticky/f", mode=0o666)
        with identity(USER):
            self.assert_errno(errno.EPERM, os.unlink, os.path.join(sticky, "f"))
            self.assert_errno(errno.EPERM, os.rename, os.path.join(sticky, "f"), os.path.join(sticky, "g"))
            os.mkdir(os.path.join(group, "d"))
            os.close(os.open(os.path.join(group, "f"), os.O_CREAT | os.O_WRONLY, 0o2775))
        for name, mode in [("d", 0o2755), ("f", 0o755)]:
            made = os.stat(os.path.join(group, name))
            self.assertEqual((made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode)), (USER, GROUP, mode))

    def test_rename_can_leave_a_whiteout(self):
        noreplace, exchange, whiteout = 1, 2, 4

        def rename(old, new, flags):
            done = LIBC.renameat2(-100, os.fsencode(self.mount.path(old)), -100, os.fsencode(self.mount.path(new)),
                                  flags)
            return errno.errorcode[ctypes.get_errno()] if done else "done"
        self.make("a")
        self.make("b")
        self.assertEqual(rename("a", "b", whiteout | noreplace), "EEXIST")
        self.assertEqual(rename("a", "b", whiteout | exchange), "EINVAL")
        self.assertEqual(rename("a", "b", whiteout), "done")
        left = os.lstat(self.mount.path("a"))
        self.assertEqual((left.st_mode, left.st_rdev), (stat.S_IFCHR, 0))
        self.assertEqual(sorted(os.listdir(self.mount.directory)), ["a", "b"])
        os.unlink(self.mount.path("a"))
        self.assertEqual(rename("b", "c", whiteout | noreplace), "done")
        self.assertTrue(stat.S_ISCHR(os.lstat(self.mount.path("b")).st_mode))
        self.assertEqual(json.loads(self.cluster.admin("fsck", "--json").stdout)["problems"], [])

    def test_sizes_end_at_16_tib(self):
        path = self.make("f", b"")
        end = 1 << 44
        os.truncate(path, end)
        self.assert_errno(errno.EFBIG, os.truncate, path, end + 1)
        with open(path, "r+b", buffering=0) as f:
            self.assertEqual(os.pwrite(f.fileno(), b"12345678", end - 5), 5)
            self.assert_errno(errno.EFBIG, os.pwrite, f.fileno(), b"x", end)
            self.assertEqual(os.pread(f.fileno(), 100, end - 6), b"\x0012345")
            with open(self.make("source", b"abcdefgh"), "rb") as source:
                copy = lambda offset: os.copy_file_range(source.fileno(), f.fileno(), 8, 0, offset)
                self.assertEqual(copy(end - 3), 3)
                self.assert_errno(errno.EFBIG, copy, end)
            self.assertEqual(os.pread(f.fileno(), 100, end - 6), b"\x0012abc")
        self.assertEqual(os.stat(path).st_size, end)

    def test_names_end_at_255_bytes_also_where_all_names_are_known(self):
        known = self.mount.path("known")
        os.mkdir(known)
        long = os.path.join(known, "n" * 255)
        with open(long, "wb"):
            self.assert_errno(errno.ENAMETOOLONG, os.stat, long + "n")
            self.assert_errno(errno.ENAMETOOLONG, os.unlink, long + "n")
            self.assert_errno(errno.ENAMETOOLONG, os.rename, long + "n", os.path.join(known, "short"))
            self.assert_errno(errno.ENAMETOOLONG, os.rename, long, long + "n")
            self.assert_errno(errno.ENAMETOOLONG, os.open, long + "n", os.O_CREAT | os.O_WRONLY)
        self.assertEqual(os.listdir(known), ["n" * 255])

    def test_symlinks_to_themselves_are_eloop(self):
        os.symlink("loop", self.mount.path("loop"))
        self.assert_errno(errno.ELOOP, os.stat, self.mount.path("loop"))
        self.assert_errno(errno.ELOOP, os.open, self.mount.path("loop"), os.O_CREAT | os.O_WRONLY)


class AclTest(PosixTest):
    def test_the_kernel_enforces_access_acls(self):
        path = self.make("f", mode=0o600)
        with identity(USER):
            self.assert_errno(errno.EACCES, os.open, path, os.O_RDONLY)
        run("setfacl", "-m", f"u:{USER}:r--,g:{GROUP}:rw-", path)
        with identity(USER):
            os.close(os.open(path, os.O_RDONLY))
            self.assert_errno(errno.EACCES, os.open, path, os.O_RDWR)
        with identity(OTHER_USER, [OTHER_USER, GROUP]):
            os.close(os.open(path, os.O_RDWR))
        with identity(OTHER_USER):
            self.assert_errno(errno.EACCES, os.open, path, os.O_RDONLY)
        os.chmod(path, 0o640)  # the mask: nobody writes but the owner
        with identity(OTHER_USER, [OTHER_USER, GROUP]):
            os.close(os.open(path, os.O_RDONLY))
            self.assert_errno(errno.EACCES, os.open, path, os.O_RDWR)
        run("setfacl", "-x", f"u:{USER}", path)
        with identity(USER):
            self.assert_errno(errno.EACCES, os.open, path, os.O_RDONLY)

    def test_directories_are_searched_by_acl(self):
        os.mkdir(self.mount.path("d"), 0o700)
        self.make("d/f")
        with identity(USER):
            self.assert_errno(errno.EACCES, os.stat, self.mount.path("d/f"))
        run("setfacl", "-m", f"u:{USER}:x", self.mount.path("d"))
        with identity(USER):
            os.stat(self.mount.path("d/f"))
            self.assert_errno(errno.EACCES, os.listdir, self.mount.path("d"))

    def test_an_acl_and_the_mode_follow_each_other(self):
        path = self.make("f", mode=0o640)
        run("setfacl", "-m", f"u:{USER}:rwx", path)
        self.assertEqual(self.mode(path), 0o670)
        os.chmod(path, 0o601)
        self.assertEqual(self.acl(path), ["user::rw-", f"user:{USER}:rwx", "group::r--", "mask::---", "other::--x"])
        run("setfacl", "-b", path)
        self.assertEqual(self.mode(path), 0o601)  # what the mask let through of the group
        self.assertEqual(os.listxattr(path), [])

    def test_default_acls_are_inherited_and_replace_the_umask(self):
        top = self.mount.path("top")
        os.mkdir(top)
        run("setfacl", "-d", "-m", f"u::rwx,u:{USER}:rwx,g::r-x,o::---", top)
        self.assertEqual(self.mode(top), 0o755)
        with umask(0o077):
            os.mkdir(os.path.join(top, "d"))
            os.mkdir(os.path.join(top, "d/e"))
            self.make_with_mode(os.path.join(top, "d/e/f"), 0o666)
            os.mkfifo(os.path.join(top, "p"), 0o666)
            os.symlink("x", os.path.join(top, "l"))
            os.mkdir(self.mount.path("plain"))
        default = ["user::rwx", f"user:{USER}:rwx", "group::r-x", "mask::rwx", "other::---"]
        for name in ["d", "d/e"]:
            self.assertEqual(self.acl(os.path.join(top, name), "-d"), default)
            self.assertEqual(self.acl(os.path.join(top, name), "-a"), default)
        self.assertEqual(self.acl(os.path.join(top, "d/e/f")),
                         ["user::rw-", f"user:{USER}:rwx", "group::r-x", "mask::rw-", "other::---"])
        self.assertEqual(self.mode(os.path.join(top, "d/e/f")), 0o660)
        self.assertEqual(self.mode(os.path.join(top, "p")), 0o660)
        self.assertEqual(self.mode(os.path.join(top, "l")), 0o777)
        self.assertEqual(self.mode(self.mount.path("plain")), 0o700)
        run("setfacl", "-k", os.path.join(top, "d"))
        with umask(0o022):
            self.make_with_mode(os.path.join(top, "d/g"), 0o666)
        self.assertEqual(self.mode(os.path.join(top, "d/g")), 0o644)

    def make_with_mode(self, path, mode):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, mode))

    def test_acls_survive_and_are_seen_by_another_mount(self):
        path = self.make("f")
        run("setfacl", "-m", f"u:{USER}:rw-", path)
        expected = self.acl(path)
        self.assertIn(f"user:{USER}:rw-", expected)
        other = self.cluster.mount("other")
        self.assertEqual(self.acl(other.path("f")), expected)
        with identity(USER):
            os.close(os.open(other.path("f"), os.O_RDWR))
        self.mount.remount()
        self.assertEqual(self.acl(path), expected)
        run("cp", "-a", path, self.mount.path("copy"))
        self.assertEqual(self.acl(self.mount.path("copy")), expected)

    def test_only_the_owner_sets_acls_and_set_gid_goes_with_a_foreign_group(self):
        path = self.make("f")
        os.chown(path, USER, GROUP)
        text = f"u:{OTHER_USER}:r--"
        with identity(OTHER_USER):
            self.assertIn("Operation not permitted", run("setfacl", "-m", text, path, check=False).stderr)
        for groups, expected in [([USER, GROUP], 0o2755), ([USER], 0o755)]:
            os.chmod(path, 0o2755)
            with identity(USER, groups):
                os.setxattr(path, ACL_NAMES[0], self.acl_bytes(7, 5, 5))
            self.assertEqual(self.mode(path), expected)

    def acl_bytes(self, owner, group, others):
        nobody = 0xffffffff
        return struct.pack("<I" + "HHI" * 3, 2, 1, owner, nobody, 4, group, nobody, 0x20, others, nobody)

    def test_what_is_no_acl_is_refused(self):
        path = self.make("f")
        os.mkdir(self.mount.path("d"))
        for name in ACL_NAMES:
            for value in [b"\2\0\0", b"\3\0\0\0", b"\2\0\0\0" + b"\1\0\7\0\xff\xff\xff\xff"]:
                with self.assertRaises(OSError) as caught:
                    os.setxattr(self.mount.path("d"), name, value)
                self.assertIn(caught.exception.errno, (errno.EINVAL, errno.EOPNOTSUPP))
        self.assert_errno(errno.EACCES, os.setxattr, path, ACL_NAMES[1], self.acl_bytes(7, 5, 5))
        self.assertEqual(self.mode(self.mount.path("d")), 0o755)


class XattrTest(PosixTest):
    def test_names_and_values_have_linuxs_limits(self):
        path = self.make("f")
        longest = "user." + "n" * 250
        os.setxattr(path, longest, b"v" * 65536)
        self.assertEqual(os.getxattr(path, longest), b"v" * 65536)
        self.assertEqual(os.listxattr(path), [longest])
        self.assert_errno(errno.ERANGE, os.setxattr, path, longest + "n", b"")
        self.assert_errno(errno.E2BIG, os.setxattr, path, "user.a", b"v" * 65537)
        os.setxattr(path, "user.empty", b"")
        self.assertEqual(os.getxattr(path, "user.empty"), b"")
        os.removexattr(path, "user.empty")
        self.assert_errno(errno.ENODATA, os.getxattr, path, "user.empty")
        self.assert_errno(errno.ENODATA, os.removexattr, path, "user.empty")
        self.assert_errno(errno.ENODATA, os.setxattr, path, "user.empty", b"", os.XATTR_REPLACE)

    def test_namespaces_are_those_of_local_filesystems(self):
        path = self.make("f")
        for name in ["other.a", "plain", "system.nfs4_acl"]:
            self.assert_errno(errno.EOPNOTSUPP, os.setxattr, path, name, b"x")
            self.assert_errno(errno.EOPNOTSUPP, os.getxattr, path, name)
        self.assert_errno(errno.EINVAL, os.setxattr, path, "user.", b"x")

    def test_user_attributes_are_for_files_and_directories(self):
        fifo, link = self.mount.path("p"), self.mount.path("l")
        os.mkfifo(fifo)
        os.symlink("nowhere", link)
        for path in [fifo, link]:
            with self.subTest(path=path):
                with self.assertRaises(PermissionError):
                    os.setxattr(path, "user.a", b"x", follow_symlinks=False)
                self.assert_errno(errno.ENODATA, lambda p: os.getxattr(p, "user.a", follow_symlinks=False), path)
                os.setxattr(path, "trusted.a", b"x", follow_symlinks=False)
                self.assertEqual(os.getxattr(path, "trusted.a", follow_symlinks=False), b"x")
        sticky = self.mount.path("sticky")
        os.mkdir(sticky)
        os.chmod(sticky, 0o1777)
        with identity(USER):
            self.assert_errno(errno.EPERM, os.setxattr, sticky, "user.a", b"x")

    def test_trusted_attributes_are_for_root_and_hidden_from_others(self):
        path = self.make("f", mode=0o666)
        os.setxattr(path, "trusted.a", b"x")
        os.setxattr(path, "user.a", b"x")
        self.assertEqual(sorted(os.listxattr(path)), ["trusted.a", "user.a"])
        with identity(USER):
            self.assertEqual(os.listxattr(path), ["user.a"])
            self.assert_errno(errno.ENODATA, os.getxattr, path, "trusted.a")
            self.assert_errno(errno.EPERM, os.setxattr, path, "trusted.b", b"x")
            self.assert_errno(errno.EPERM, os.removexattr, path, "trusted.a")

    def test_permissions_of_the_file_are_those_of_its_attributes(self):
        path = self.make("f", mode=0o604)
        os.setxattr(path, "user.a", b"x")
        with identity(USER):
            self.assertEqual(os.getxattr(path, "user.a"), b"x")
            self.assert_errno(errno.EACCES, os.setxattr, path, "user.b", b"x")
        os.chmod(path, 0o600)
        with identity(USER):
            self.assert_errno(errno.EACCES, os.getxattr, path, "user.a")

    def test_file_capabilities_are_kept_and_dropped_by_a_write(self):
        path = self.make("f")
        capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
        os.setxattr(path, "security.capability", capability)
        self.assertEqual(os.getxattr(path, "security.capability"), capability)
        with open(path, "ab") as f:
            f.write(b"more")
        self.assert_errno(errno.ENODATA, os.getxattr, path, "security.capability")


if __name__ == "__main__":
    unittest.main()
