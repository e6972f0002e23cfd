"""Two mounts: what one does to names, attributes and (once synced) contents the other sees at once."""
import ctypes
import os
import random
import shutil
import signal
import struct
import subprocess
import threading
import time
import unittest

from cluster import ClusterTest, run
from test_posix import LIBC, identity
from trees import write_file

SESSION_TIMEOUT_S = 15


def acl_of(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, bits, 0xffffffff) for tag, bits in entries)


def exchange(path, other):
    if LIBC.renameat2(-100, os.fsencode(path), -100, os.fsencode(other), 2) != 0:
        raise OSError(ctypes.get_errno(), path)


class CoherenceTest(ClusterTest):
    def setUp(self):
        self.cluster = self.new_cluster()
        self.one, self.two = self.cluster.mount("one"), self.cluster.mount("two")

    def test_names_and_attributes_are_seen_at_once(self):
        os.mkdir(self.one.path("d"))
        sides = [self.one, self.two]
        for i in range(60):
            here, there = sides[i % 2], sides[(i + 1) % 2]
            name = lambda side, what: side.path(f"d/{what}")
            write_file(name(here, "f"), b"")
            self.assertEqual(os.stat(name(there, "f")).st_size, 0)
            os.chmod(name(here, "f"), 0o600 + i % 8)
            self.assertEqual(os.stat(name(there, "f")).st_mode & 0o777, 0o600 + i % 8)
            os.rename(name(here, "f"), name(here, "g"))
            self.assertFalse(os.path.exists(name(there, "f")))
            self.assertEqual(os.listdir(there.path("d")), ["g"])
            os.link(name(there, "g"), name(there, "h"))
            self.assertEqual(os.stat(name(here, "g")).st_nlink, 2)
            os.unlink(name(here, "g"))
            os.unlink(name(there, "h"))
            self.assertEqual(os.listdir(here.path("d")), [])
            # The same name again, and it is another file.
            os.mkdir(name(there, "f"))
            self.assertTrue(os.path.isdir(name(here, "f")))
            os.rmdir(name(here, "f"))
            self.assertFalse(os.path.exists(name(there, "f")))
            os.setxattr(there.path("d"), "user.turn", str(i).encode())
            self.assertEqual(os.getxattr(here.path("d"), "user.turn"), str(i).encode())

    def test_who_is_no_longer_the_owner_may_not_change_what_owners_may(self):
        # The kernel decides by the owner that it was last told of, and lets these through.
        os.chmod(self.cluster.folder, 0o755)
        when, acl = (1_000_000_000, 1_000_000_000), acl_of((1, 6), (4, 4), (32, 0))
        with open(self.one.path("f"), "wb"):
            pass
        path = self.two.path("f")
        changes = [lambda f: os.chmod(f, 0o666), lambda f: os.utime(f, ns=when),
                   lambda f: os.setxattr(f, "system.posix_acl_access", acl),
                   lambda f: os.removexattr(f, "system.posix_acl_access")]
        for change in changes:
            with open(path, "rb") as f:
                for target in (path, f.fileno()):
                    os.chmod(self.one.path("f"), 0o644)
                    os.chown(self.one.path("f"), 1001, 1001)
                    self.assertEqual(os.stat(path).st_uid, 1001)
                    os.chown(self.one.path("f"), 1002, 1002)
                    with identity(1001), self.assertRaises(PermissionError):
                        change(target)
                    self.assertEqual(os.stat(path).st_uid, 1002)
                    with identity(1002):
                        change(target)

    def test_who_is_no_longer_the_owner_may_not_remove_from_a_sticky_directory(self):
        # The kernel asks for no attributes before it removes a name that it knows.
        os.chmod(self.cluster.folder, 0o755)
        os.mkdir(self.one.path("d"))
        os.chmod(self.one.path("d"), 0o1777)
        other = self.two.path("d/other")
        write_file(other, b"")
        os.chown(other, 1001, 1001)
        changes = [(write_file, os.unlink), (lambda f, _: os.mkdir(f), os.rmdir),
                   (write_file, lambda f: os.rename(f, f + "2")), (write_file, lambda f: exchange(other, f))]
        for number, (make, change) in enumerate(changes):
            theirs, path = self.one.path(f"d/{number}"), self.two.path(f"d/{number}")
            make(theirs, b"")
            os.chown(theirs, 1001, 1001)
            self.assertEqual(os.stat(path).st_uid, 1001)
            os.chown(theirs, 1002, 1002)
            with identity(1001), self.assertRaises(PermissionError):
                change(path)
            self.assertEqual(os.stat(path).st_uid, 1002)
            os.chown(other, 1002, 1002)
            with identity(1002):
                change(path)
            os.chown(other, 1001, 1001)

    def make_told(self, path, kind):
        """A file or directory of 1001 that mount two was told of as that; returns how it names it. Made there, so that
        the kernel may keep the name: where mounts change names by turns it asks each time."""
        there = self.two.path(path)
        if kind == "directory":
            os.mkdir(there)
        else:
            write_file(there, b"text", sync=True)
        os.chown(there, 1001, 1001)
        if kind == "renamed":
            write_file(there + "-overwritten", b"")
            os.stat(there)
            os.rename(there, there + "-overwritten")
            os.rename(there + "-overwritten", there + "-renamed")
            return there + "-renamed"
        if kind == "exchanged":
            os.symlink("nowhere", there + "-exchanged")
            exchange(there + "-exchanged", there)
            return there + "-exchanged"
        if kind == "linked":
            os.link(there, there + "-linked")
            os.stat(there + "-linked")
        self.assertEqual(os.stat(there).st_uid, 1001)
        return there + "-linked" if kind == "linked" else there

    def give_away(self, there, kind):
        """By mount one, to 1002."""
        here = self.one.path(os.path.relpath(there, self.two.directory))
        if kind == "linked":
            here = here.removesuffix("-linked")
        if kind == "written":
            write_file(here, b"other", sync=True)  # mount two is not told of changes after that
        os.chown(here, 1002, 1002)

    def test_who_is_the_new_owner_may_change_at_once_what_owners_may(self):
        # The kernel decides by the owner that it was last told of, and asks for no other.
        os.chmod(self.cluster.folder, 0o755)
        when, acl = (1_000_000_000, 1_000_000_000), acl_of((1, 6), (4, 4), (32, 0))
        changes = [lambda f: os.chmod(f, 0o750), lambda f: os.utime(f, ns=when),
                   lambda f: os.setxattr(f, "system.posix_acl_access", acl),
                   lambda f: os.removexattr(f, "system.posix_acl_access")]
        os.mkdir(self.two.path("d"))
        os.mkdir(self.one.path("listed"))
        for number in range(len(changes)):
            write_file(self.one.path(f"listed/{number}"), b"", sync=True)
            os.chown(self.one.path(f"listed/{number}"), 1001, 1001)
        self.assertEqual(len(os.listdir(self.two.path("listed"))), len(changes))
        for number, change in enumerate(changes):
            for kind in ("file", "directory", "renamed", "exchanged", "linked", "written", "listed"):
                with self.subTest(change=number, kind=kind):
                    listed = self.two.path(f"listed/{number}")
                    path = listed if kind == "listed" else self.make_told(f"d/{kind}{number}", kind)
                    self.give_away(path, kind)
                    with identity(1002):
                        change(path)

    def test_who_is_the_new_owner_may_remove_at_once_from_a_sticky_directory(self):
        os.chmod(self.cluster.folder, 0o755)
        os.mkdir(self.two.path("d"))
        os.chmod(self.two.path("d"), 0o1777)
        for number, change in enumerate([os.unlink, lambda f: os.rename(f, f + "2")]):
            for kind in ("file", "renamed", "exchanged", "linked", "written"):
                with self.subTest(change=number, kind=kind):
                    path = self.make_told(f"d/{kind}{number}", kind)
                    self.give_away(path, kind)
                    with identity(1002):
                        change(path)
        path = self.make_told("d/directory", "directory")
        self.give_away(path, "directory")
        with identity(1002):
            os.rmdir(path)

    def test_a_directory_that_others_close_is_closed_at_once(self):
        os.chmod(self.cluster.folder, 0o755)
        os.mkdir(self.one.path("d"))
        path = self.two.path("d/f")
        for _ in range(3):
            os.chmod(self.one.path("d"), 0o777)
            with identity(1001):
                write_file(path, b"")
            os.chmod(self.one.path("d"), 0o755)
            with identity(1001):
                self.assertRaises(PermissionError, write_file, self.two.path("d/g"), b"")
                self.assertRaises(PermissionError, os.unlink, path)
            os.chmod(self.one.path("d"), 0o777)
            with identity(1001):
                os.unlink(path)

    def test_who_has_the_capability_need_not_be_the_owner(self):
        os.chmod(self.cluster.folder, 0o755)
        with open(self.one.path("f"), "wb"):
            pass
        for capability, command in (("chown", ["chown", "1001"]), ("fowner", ["chmod", "600"])):
            run("setpriv", "--reuid", "1003", "--clear-groups", "--inh-caps", f"-all,+{capability}",
                "--ambient-caps", f"-all,+{capability}", *command, self.one.path("f"))
        self.assertEqual((os.stat(self.two.path("f")).st_uid, os.stat(self.two.path("f")).st_mode & 0o777),
                         (1001, 0o600))

    def test_an_open_file_shows_what_was_synced_elsewhere(self):
        with open(self.one.path("f"), "wb", buffering=0) as writer:
            writer.write(b"start")
            os.fsync(writer.fileno())
            with open(self.two.path("f"), "rb", buffering=0) as reader:
                for i in range(40):
                    text = b"%05d" % i
                    os.pwrite(writer.fileno(), text, 0)  # over what the other has in its pages
                    os.pwrite(writer.fileno(), text, 5 * (i + 1))
                    os.fsync(writer.fileno())
                    self.assertEqual(os.pread(reader.fileno(), 5, 0), text)
                    self.assertEqual(os.pread(reader.fileno(), 5, 5 * (i + 1)), text)
                    self.assertEqual(os.fstat(reader.fileno()).st_size, 5 * (i + 2))
                    os.ftruncate(writer.fileno(), 5 * (i + 2))

    def test_readers_of_a_file_that_is_overwritten_never_see_an_older_state_again(self):
        path_one, path_two = self.one.path("f"), self.two.path("f")
        write_file(path_one, b"%08d" % 0 * 8192, sync=True)
        written, failures = [0], []
        stop = threading.Event()

        def read():
            with open(path_two, "rb", buffering=0) as f:
                while not stop.is_set():
                    before = written[0]
                    offset = random.randrange(0, 8192) * 8
                    seen = int(os.pread(f.fileno(), 8, offset))
                    if seen < before:
                        failures.append((seen, before, offset))

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        with open(path_one, "r+b", buffering=0) as f:
            for i in range(1, 40):
                os.pwrite(f.fileno(), b"%08d" % i * 8192, 0)
                os.fsync(f.fileno())
                written[0] = i
        stop.set()
        for reader in readers:
            reader.join()
        self.assertEqual(failures, [])

    def test_tight_loops_in_one_directory_neither_hang_nor_go_wrong(self):
        """Both change names in one directory all the time: neither may wait for the other's locks."""
        os.mkdir(self.one.path("d"))
        script = ("import os, sys\n"
                  "d, tag = sys.argv[1:]\n"
                  "for i in range(300):\n"
                  "    a, b = f'{d}/{tag}{i % 3}', f'{d}/both{i % 2}'\n"
                  "    open(a, 'w').close()\n"
                  "    os.rename(a, b)\n"
                  "    try: os.stat(b)\n"
                  "    except FileNotFoundError: pass\n"
                  "    try: os.unlink(b)\n"
                  "    except FileNotFoundError: pass\n")
        loops = [subprocess.Popen(["python3", "-c", script, side.path("d"), tag])
                 for side, tag in ((self.one, "x"), (self.two, "y"))]
        for loop in loops:
            self.assertEqual(loop.wait(timeout=120), 0)
        self.assertEqual(os.listdir(self.one.path("d")), os.listdir(self.two.path("d")))

    def test_the_path_of_an_exchanged_directory_leads_to_the_new_one(self):
        """Many walk by it while it is exchanged elsewhere and their mount changes names beside it."""
        def look(use):
            while not stop.is_set():
                before = latest[0]
                try:
                    seen = use()
                except FileNotFoundError:
                    continue  # removed on the way
                except OSError as error:
                    failures.append(error)
                    return
                looks.append(seen)
                if seen is not None and seen < before:
                    failures.append((use, seen, before))

        def listed():
            return next((int(name) for name in os.listdir(self.two.path("t/d"))), None)

        def entered():
            i = latest[0]
            os.stat(self.two.path(f"t/d/{i}"))
            return i

        def beside():
            os.close(os.open(self.two.path("t/x"), os.O_CREAT | os.O_WRONLY))
            os.unlink(self.two.path("t/x"))

        latest, looks, failures, stop = [1], [], [], threading.Event()
        os.makedirs(self.one.path("t/d/1"))
        uses = (listed, listed, entered, entered, beside)
        threads = [threading.Thread(target=look, args=(use,)) for use in uses]
        for thread in threads:
            thread.start()
        new, current = self.one.path("t/new"), self.one.path("t/d")
        for i in range(2, 150):
            os.makedirs(f"{new}/{i}")
            exchange(new, current)
            latest[0] = i
            shutil.rmtree(new)
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertGreater(len(looks), 100)

    def test_a_mount_inside_the_mount_survives_changes_by_others(self):
        os.makedirs(self.one.path("a/inner"))
        os.stat(self.two.path("a/inner"))
        run("mount", "-t", "tmpfs", "none", self.two.path("a/inner"))
        self.addCleanup(run, "umount", self.two.path("a/inner"), check=False)
        write_file(self.two.path("a/inner/kept"), b"")
        for i in range(20):
            write_file(self.one.path(f"a/f{i}"), b"")
            os.chmod(self.one.path("a"), 0o700 + i % 8)
            os.rename(self.one.path("a"), self.one.path("b"))
            os.rename(self.one.path("b"), self.one.path("a"))
            self.assertEqual(os.listdir(self.two.path("a/inner")), ["kept"])

    def test_who_is_stopped_holds_others_up_for_the_session_time_out_at_most(self):
        write_file(self.one.path("f"), b"")
        os.stat(self.two.path("f"))
        os.kill(self.two.client_pid(), signal.SIGSTOP)
        try:
            start = time.monotonic()
            os.chmod(self.one.path("f"), 0o600)
            self.assertLess(time.monotonic() - start, SESSION_TIMEOUT_S + 5)
            start = time.monotonic()
            os.chmod(self.one.path("f"), 0o640)
            self.assertLess(time.monotonic() - start, 2)
        finally:
            os.kill(self.two.client_pid(), signal.SIGCONT)
        self.cluster.wait_until(lambda: os.stat(self.two.path("f")).st_mode & 0o777 == 0o640,
                                "it goes on", 20)

    def test_a_change_that_waits_for_a_dead_client_can_be_interrupted(self):
        write_file(self.one.path("f"), b"")
        os.stat(self.two.path("f"))
        os.kill(self.two.client_pid(), signal.SIGSTOP)
        try:
            waiting = subprocess.Popen(["chmod", "600", self.one.path("f")])
            with self.assertRaises(subprocess.TimeoutExpired):
                waiting.wait(timeout=2)
            start = time.monotonic()
            waiting.send_signal(signal.SIGINT)
            waiting.wait(timeout=10)
            self.assertLess(time.monotonic() - start, 3)
            self.assertEqual(os.stat(self.one.path("f")).st_mode & 0o777, 0o644)
        finally:
            os.kill(self.two.client_pid(), signal.SIGCONT)

    def test_a_killed_client_that_is_mounted_again_is_not_waited_for(self):
        write_file(self.one.path("f"), b"")
        os.stat(self.two.path("f"))
        self.two.kill_client()
        self.two.mount()
        start = time.monotonic()
        os.chmod(self.one.path("f"), 0o600)
        self.assertLess(time.monotonic() - start, 3)
        self.assertEqual(os.stat(self.two.path("f")).st_mode & 0o777, 0o600)

    def test_what_is_cached_outlives_a_restart_of_the_master_and_is_taken_back_after_it(self):
        write_file(self.one.path("f"), b"")
        os.stat(self.two.path("f"))
        self.cluster.master.kill()
        self.cluster.master.start()
        os.chmod(self.one.path("f"), 0o600)
        self.assertEqual(os.stat(self.two.path("f")).st_mode & 0o777, 0o600)


if __name__ == "__main__":
    unittest.main()
