"""Mounting and unmounting: what umount promises when things are well and when they are not, and that
nothing a process waits for in a mount keeps it from being killed."""
import os
import select
import signal
import subprocess
import sys
import time
import unittest

from cluster import ClusterTest, OrdinaryUser, program, run, wait_for_end
from trees import pattern, read_file, write_file

MIB = 1 << 20
UTAB = "/run/mount/utab"


def utab_entries(directory):
    if not os.path.exists(UTAB):
        return []
    with open(UTAB, encoding="utf-8", errors="replace") as f:
        return [line for line in f if f"TARGET={directory} " in line]


def make_room(directory):
    """Has the client open a chunk: with no server it takes writes only as far as it has room."""
    write_file(os.path.join(directory, "room"), b"room")
    run("sync", directory)


def write_unstored(cluster, directory, names):
    """Writes 1 MiB to each file that cannot leave the client; the whole cluster is stopped. The inodes."""
    make_room(directory)
    for server in cluster.servers:
        server.pause()
    inodes = []
    for name in names:
        with open(os.path.join(directory, name), "wb") as f:
            f.write(pattern(name, MIB))
            inodes.append(os.fstat(f.fileno()).st_ino)
    cluster.master.pause()
    return inodes


def timed(action):
    begin = time.monotonic()
    result = action()
    return result, time.monotonic() - begin


class UnmountTest(ClusterTest):
    def setUp(self):
        self.cluster = self.new_cluster(servers=2)

    def assert_gone(self, mount, times_mounted=0):
        self.assertEqual(mount.is_mounted(), times_mounted > 0)
        self.assertEqual(len(utab_entries(mount.directory)), times_mounted)

    def test_umount_returns_when_everything_is_on_the_servers(self):
        mount = self.cluster.mount()
        self.assertEqual(len(utab_entries(mount.directory)), 1)
        for i in range(40):
            write_file(mount.path(f"small{i}"), pattern(i, 3000))
        write_file(mount.path("large"), pattern("large", 48 * MIB))
        client = os.pidfd_open(mount.client_pid())
        mount.umount()
        wait_for_end(client, limit_s=0)
        self.assert_gone(mount)
        other = self.cluster.mount("other")
        for i in range(40):
            self.assertEqual(read_file(other.path(f"small{i}")), pattern(i, 3000))
        self.assertEqual(read_file(other.path("large")), pattern("large", 48 * MIB))

    def test_umount_of_a_busy_mount_fails_and_changes_nothing(self):
        mount = self.cluster.mount()
        with open(mount.path("open"), "wb") as f:
            f.write(b"before")
            done = mount.umount(check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("busy", done.stderr)
            f.write(b" after")
        self.assertEqual(len(utab_entries(mount.directory)), 1)
        self.assertEqual(read_file(mount.path("open")), b"before after")
        mount.umount()
        self.assert_gone(mount)

    def test_umount_that_cannot_flush_says_so_in_time_and_stays_mounted(self):
        mount = self.cluster.mount(options=["write_wait=3s"])
        write_file(mount.path("kept"), b"kept")
        run("sync", mount.path("kept"))
        for server in self.cluster.servers:
            server.pause()
        write_file(mount.path("lost"), pattern(1, MIB))
        for server in self.cluster.servers:
            server.kill()
        done, taken_s = timed(lambda: mount.umount(check=False))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("not everything could be written", done.stderr)
        self.assertLess(taken_s, 15)
        self.assertTrue(mount.is_mounted())
        self.assertEqual(len(utab_entries(mount.directory)), 1)
        # What could not be written was said; nothing is left to wait for.
        _, taken_s = timed(mount.umount)
        self.assertLess(taken_s, 10)
        self.assert_gone(mount)

    def test_lazy_and_forced_umount_return_while_nobody_answers(self):
        for flag in ["-l", "-f", "-lf"]:
            with self.subTest(flag=flag):
                mount = self.cluster.mount("mnt" + flag)
                write_file(mount.path("f" + flag), b"x" * 100)
                client = os.pidfd_open(mount.client_pid())
                for daemon in [self.cluster.master, *self.cluster.servers]:
                    daemon.pause()
                _, taken_s = timed(lambda: mount.umount(flag))
                for daemon in [self.cluster.master, *self.cluster.servers]:
                    daemon.resume()
                self.assertLess(taken_s, 5)
                self.assert_gone(mount)
                wait_for_end(client)  # and it writes what it had, once it can
                other = self.cluster.mount("other" + flag)
                self.assertEqual(read_file(other.path("f" + flag)), b"x" * 100)
                other.umount()

    def test_umount_with_the_master_dead_says_what_is_not_written_and_stays_mounted(self):
        mount = self.cluster.mount(options=["umount_wait=3s"])
        inodes = write_unstored(self.cluster, mount.directory, ["a", "b"])
        self.cluster.master.kill()
        for _ in range(2):
            done, taken_s = timed(lambda: mount.umount(check=False))
            self.assertNotEqual(done.returncode, 0)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
            self.assertIn(f"{2 * MIB} bytes of 2 files", done.stderr)
            self.assertIn(f"inodes {min(inodes)}, {max(inodes)}", done.stderr)
            self.assertIn("umount -l", done.stderr)
            self.assertLess(taken_s, 3 + 5)
            self.assertTrue(mount.is_mounted())
        for server in self.cluster.servers:
            server.resume()
        self.cluster.master.start()
        mount.umount()
        self.assert_gone(mount)
        mount.mount()
        for name in ["a", "b"]:
            self.assertEqual(read_file(mount.path(name)), pattern(name, MIB))

    def test_umount_with_the_master_dead_and_nothing_to_write_is_quick(self):
        mount = self.cluster.mount()
        write_file(mount.path("f"), b"text")
        run("sync", mount.directory)
        client = os.pidfd_open(mount.client_pid())
        self.cluster.master.kill()
        _, taken_s = timed(mount.umount)
        self.assertLess(taken_s, 8)
        wait_for_end(client, limit_s=0)
        self.assert_gone(mount)

    def test_termination_with_the_master_dead_gives_up_in_time(self):
        folder = self.cluster.make_folder("foreground")
        client = subprocess.Popen([program("dfs"), "-f", "-o", "umount_wait=2s", self.cluster.address, folder],
                                  stderr=subprocess.PIPE, text=True)
        self.cluster.wait_until(lambda: os.path.ismount(folder), "mounted")
        inode, = write_unstored(self.cluster, folder, ["f"])
        client.terminate()
        (_, log), taken_s = timed(lambda: client.communicate(timeout=30))
        self.assertNotEqual(client.returncode, 0)
        self.assertIn(f"lost at unmount: {MIB} bytes of 1 file are not on the servers (inode {inode})", log)
        self.assertLess(taken_s, 2 + 8)
        self.assertFalse(os.path.ismount(folder))

    def test_a_client_unmounted_by_force_lingers_no_longer_than_told(self):
        for flag in ["-l", "-f"]:
            with self.subTest(flag=flag):
                log = os.path.join(self.cluster.folder, "client" + flag)
                mount = self.cluster.mount("mnt" + flag, options=["umount_wait=1s", "log_file=" + log])
                write_unstored(self.cluster, mount.directory, ["f"])
                client = os.pidfd_open(mount.client_pid())
                _, taken_s = timed(lambda: mount.umount(flag))
                self.assertLess(taken_s, 5)
                self.assert_gone(mount)
                self.cluster.wait_until(lambda: f"unmounted, but {MIB} bytes" in read_file(log).decode(),
                                        "the client says that it lingers")
                signal.pidfd_send_signal(client, signal.SIGTERM)
                wait_for_end(client, limit_s=10)
                self.assertIn("lost at unmount", read_file(log).decode())
                for daemon in [self.cluster.master, *self.cluster.servers]:
                    daemon.resume()

    def test_umount_of_a_dead_mount_succeeds(self):
        mount = self.cluster.mount()
        mount.kill_client()
        self.assertRaises(OSError, os.listdir, mount.directory)
        mount.umount()
        self.assert_gone(mount)

    def test_termination_flushes_and_unmounts(self):
        mount = self.cluster.mount()
        write_file(mount.path("f"), pattern(2, 5 * MIB))
        pid = mount.client_pid()
        client = os.pidfd_open(pid)
        for _ in range(3):  # impatience changes nothing
            try:
                signal.pidfd_send_signal(client, signal.SIGTERM)
            except ProcessLookupError:
                break
            select.select([client], [], [], 0.01)
        wait_for_end(client)
        self.assert_gone(mount)
        mount.mount()
        self.assertEqual(read_file(mount.path("f")), pattern(2, 5 * MIB))

    def test_termination_while_a_file_is_open_loses_nothing_written_before(self):
        mount = self.cluster.mount()
        fd = os.open(mount.path("f"), os.O_WRONLY | os.O_CREAT)
        os.write(fd, pattern(3, MIB))
        pid = mount.client_pid()
        client = os.pidfd_open(pid)
        os.kill(pid, signal.SIGTERM)
        wait_for_end(client)
        self.assertRaises(OSError, os.close, fd)  # the mount is gone, and it says so
        self.assert_gone(mount)
        mount.mount()
        self.assertEqual(read_file(mount.path("f")), pattern(3, MIB))

    def test_two_mounts_at_one_place_come_off_one_by_one(self):
        first = self.cluster.mount()
        write_file(first.path("f"), b"below")
        second = self.cluster.mount(options=["nonempty"])
        write_file(second.path("g"), b"above")
        self.assertEqual(len(utab_entries(first.directory)), 2)
        second.umount()
        self.assert_gone(first, times_mounted=1)
        self.cluster.wait_until(lambda: os.path.exists(first.path("g")), "the other's file")
        self.assertEqual(read_file(first.path("g")), b"above")
        first.umount()
        self.assert_gone(first)

    def test_a_client_that_another_mount_keeps_is_not_waited_for(self):
        mount = self.cluster.mount()
        other = self.cluster.make_folder("other")
        run("mount", "--bind", mount.directory, other)
        self.addCleanup(run, "umount", "--lazy", other, check=False)
        write_file(mount.path("f"), b"whole")
        done = mount.umount()
        self.assertIn(f"its client goes on, since it is still mounted at {other}\n", done.stderr)
        self.assertFalse(mount.is_mounted())
        self.assertEqual(read_file(os.path.join(other, "f")), b"whole")
        client = os.pidfd_open(mount.client_pid())
        run("umount", other)
        wait_for_end(client)

    def test_a_client_that_another_mount_namespace_keeps_is_not_waited_for(self):
        mount = self.cluster.mount()
        write_file(mount.path("f"), b"whole")
        holder = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "cat", mount.path("f"), "-"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(holder.communicate)
        self.assertEqual(holder.stdout.read(5), b"whole")
        client = os.pidfd_open(mount.client_pid())
        done = mount.umount()
        self.assertIn(f"its client goes on, since it is still mounted in another mount namespace, at {mount.directory} "
                      f"for process {holder.pid} (cat)\n", done.stderr)
        self.assertFalse(mount.is_mounted())
        holder.communicate()
        wait_for_end(client)

    def test_termination_of_the_lower_mount_leaves_the_upper_one(self):
        first = self.cluster.mount()
        fd = os.open(first.path("f"), os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"below")
        lower = first.client_pid()
        second = self.cluster.mount(options=["nonempty"])
        client = os.pidfd_open(lower)
        os.kill(lower, signal.SIGTERM)
        wait_for_end(client)
        self.assertRaises(OSError, os.close, fd)
        write_file(second.path("g"), b"above")
        self.cluster.wait_until(lambda: os.path.exists(second.path("f")), "the other's file")
        self.assertEqual(read_file(second.path("f")), b"below")
        second.umount()
        first.umount()
        self.assert_gone(first)

    def test_mounting_over_a_dead_mount_replaces_it(self):
        mount = self.cluster.mount()
        write_file(mount.path("f"), b"synced")
        run("sync", mount.path("f"))
        mount.kill_client()
        mount.mount()  # at once, while the kernel still has attributes of the dead one
        self.assertEqual(len(utab_entries(mount.directory)), 1)
        self.assertEqual(read_file(mount.path("f")), b"synced")
        mount.umount()
        self.assert_gone(mount)


class SessionTest(ClusterTest):
    """The master waits for the clients it knew before it was killed, for as long as a session lasts."""

    SESSION_TIMEOUT_S = 60

    def test_a_mount_that_ended_without_the_master_is_not_waited_for(self):
        cluster = self.new_cluster(servers=2, master_options=("--session-timeout", f"{self.SESSION_TIMEOUT_S}s"))
        other = cluster.mount("other")
        mount = cluster.mount()
        cluster.master.kill()
        mount.umount()
        cluster.master.start()
        mount.mount()
        _, taken_s = timed(lambda: write_file(other.path("f"), b"text"))
        self.assertLess(taken_s, self.SESSION_TIMEOUT_S / 2)
        self.assertEqual(read_file(mount.path("f")), b"text")


class UserMountTest(ClusterTest):
    def setUp(self):
        self.cluster = self.new_cluster(servers=2)
        self.user = OrdinaryUser(self)
        self.directory = self.user.directory

    def test_a_user_mounts_works_and_unmounts(self):
        root = self.cluster.mount()
        client = os.pidfd_open(self.user.mount(root, "theirs"))
        self.user.run(f"cd {self.directory} && echo text > f && mkdir d && mv f d/g && grep -q text d/g")
        self.assertRaises(PermissionError, os.listdir, self.directory)  # not even root, by default
        self.user.run(f"fusermount3 -u {self.directory}")
        wait_for_end(client)
        self.assertFalse(os.path.ismount(self.directory))
        self.cluster.wait_until(lambda: os.path.exists(root.path("theirs", "d", "g")), "the user's file")
        self.assertEqual(read_file(root.path("theirs", "d", "g")), b"text\n")

    def test_what_a_user_may_not_do_is_refused_in_one_line(self):
        for options, place in [("-o allow_other", self.directory), ("", "/usr")]:
            with self.subTest(options=options, place=place):
                done = self.user.run(f"{program('dfs')} {options} {self.cluster.address} {place}", check=False)
                self.assertNotEqual(done.returncode, 0)
                self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
                self.assertFalse(os.path.ismount(self.directory))


# Says "go", does it, says how it went.
CHILD = """
import fcntl, os, sys
path = sys.argv[1]
if sys.argv[2] == "fsync":
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"y" * 5000)
actions = {
    "fsync": lambda: os.fsync(fd),
    "read": lambda: open(path, "rb", buffering=0).read(),
    "stat": lambda: os.stat(path),
    "mkdir": lambda: os.mkdir(path),
    "rename": lambda: os.rename(path, path + "-new"),
    "unlink": lambda: os.unlink(path),
    "link": lambda: os.link(path, path + "-new"),
    "chmod": lambda: os.chmod(path, 0o600),
    "setxattr": lambda: os.setxattr(path, "user.a", b"b"),
    "truncate": lambda: os.truncate(path, 3),
    "append": lambda: os.write(os.open(path, os.O_WRONLY | os.O_APPEND), b"more"),
    "lock": lambda: fcntl.lockf(os.open(path, os.O_RDWR), fcntl.LOCK_EX),
    "list": lambda: os.listdir(os.path.dirname(path)),
    "write": lambda: [os.write(f, bytes(1 << 20)) for f in [os.open(path, os.O_WRONLY)] for _ in range(400)],
}
print("go", flush=True)
actions[sys.argv[2]]()
"""

# Has written to files and locked the last, until it is told to end. Not the test itself: whoever starts another
# program closes copies of its files, which a stopped client is asked about.
HOLDER = """
import fcntl, os, sys
held = [os.open(path, os.O_RDWR | os.O_CREAT) for path in sys.argv[1:]]
for fd in held:
    os.write(fd, b"unstored")
fcntl.lockf(held[-1], fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def waits_for_mount(pid):
    try:
        with open(f"/proc/{pid}/wchan", encoding="ascii") as f:
            # For an answer, or for a page that an answer is to fill.
            return f.read() in ("request_wait_answer", "folio_wait_bit_common", "wait_on_page_bit_common")
    except OSError:
        return False


class InterruptTest(ClusterTest):
    """Whatever is stopped, a process that waits for it dies when it is killed."""

    KILL_LIMIT_S = 2.0

    def setUp(self):
        # Of none of those that are stopped here the session ends.
        self.cluster = self.new_cluster(servers=2, master_options=("--session-timeout", "60s"))
        writer = self.cluster.mount("writer")
        write_file(writer.path("f"), pattern(1, MIB))
        write_file(writer.path("w"), b"")
        writer.umount()
        self.mount = self.cluster.mount(options=["mem_limit=32MiB"])

    def daemons(self):
        return [self.cluster.master, *self.cluster.servers]

    def kill_while_waiting(self, action, name, sign=signal.SIGKILL):
        child = subprocess.Popen([sys.executable, "-c", CHILD, self.mount.path(name), action],
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            self.assertEqual(child.stdout.readline(), b"go\n")
            self.cluster.wait_until(lambda: waits_for_mount(child.pid), f"{action} waits", 20)
            child.send_signal(sign)
            _, taken_s = timed(lambda: child.wait(30))
            self.assertLess(taken_s, self.KILL_LIMIT_S)
            self.assertEqual(child.returncode, -sign)
        finally:
            child.kill()
            child.stdout.close()

    def check(self, stopped, actions):
        for daemon in stopped:
            daemon.pause()
        try:
            for action, name in actions:
                with self.subTest(action=action):
                    self.kill_while_waiting(action, name)
        finally:
            for daemon in stopped:
                daemon.resume()
        self.assertEqual(read_file(self.mount.path("f")), pattern(1, MIB))

    def test_with_the_master_stopped(self):
        self.check([self.cluster.master], [("stat", "x"), ("mkdir", "d"), ("list", "x"), ("read", "f")])

    def test_with_the_servers_stopped(self):
        self.check(self.cluster.servers, [("read", "f"), ("fsync", "n"), ("write", "w")])

    def test_with_another_client_stopped(self):
        """It has to drop what these change, or to store what they ask for."""
        other = self.cluster.mount("other")
        changes = ["rename", "unlink", "link", "chmod", "setxattr", "truncate", "append"]
        for name in changes:
            write_file(self.mount.path(name), b"text")
            self.assertEqual(read_file(other.path(name)), b"text")
        holder = subprocess.Popen([sys.executable, "-c", HOLDER, *map(other.path, ["read", "stat", "lock"])],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(holder.communicate)
        self.assertEqual(holder.stdout.readline(), b"held\n")
        os.kill(other.client_pid(), signal.SIGSTOP)
        try:
            for action in [*changes, "read", "stat", "lock"]:
                with self.subTest(action=action):
                    self.kill_while_waiting(action, action)
        finally:
            os.kill(other.client_pid(), signal.SIGCONT)
        for name in changes:
            self.assertEqual(read_file(self.mount.path(name)), b"text")
            self.assertEqual(read_file(other.path(name)), b"text")

    def test_fsync_with_the_master_stopped(self):
        fd = os.open(self.mount.path("n"), os.O_WRONLY | os.O_CREAT)
        os.close(fd)
        child = subprocess.Popen([sys.executable, "-c", CHILD.replace(
            'print("go", flush=True)', 'print("go", flush=True); sys.stdin.readline()'),
            self.mount.path("n"), "fsync"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.assertEqual(child.stdout.readline(), b"go\n")
        self.cluster.master.pause()
        try:
            child.stdin.write(b"\n")
            child.stdin.flush()
            self.cluster.wait_until(lambda: waits_for_mount(child.pid), "fsync waits", 20)
            child.kill()
            _, taken_s = timed(lambda: child.wait(30))
        finally:
            self.cluster.master.resume()
            child.kill()
            child.communicate()
        self.assertLess(taken_s, self.KILL_LIMIT_S)
        self.assertEqual(read_file(self.mount.path("n")), b"y" * 5000)


if __name__ == "__main__":
    unittest.main()
