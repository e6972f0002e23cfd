"""Locks of fcntl(2), of open file descriptions and of flock(2), between two mounts."""
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
import unittest

from cluster import ClusterTest
from trees import write_file

SESSION_TIMEOUT_S = 6

# Does what it is told, one command a line, and answers each with "ok ...", or an errno's name.
HELPER = r"""
import errno, fcntl, os, signal, struct, sys
F = "hhqqi4x"  # struct flock: l_type, l_whence, l_start, l_len, l_pid
files = {}
def interrupted(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGUSR1, interrupted)
signal.siginterrupt(signal.SIGUSR1, True)
def lock(fd, command, mode, start, length):
    kind = {"r": fcntl.F_RDLCK, "w": fcntl.F_WRLCK, "u": fcntl.F_UNLCK}[mode]
    return struct.unpack(F, fcntl.fcntl(fd, command, struct.pack(F, kind, os.SEEK_SET, start, length, 0)))
def do(word, *rest):
    if word == "open":
        files[rest[0]] = os.open(rest[1], {"r": os.O_RDONLY, "w": os.O_RDWR | os.O_CREAT}[rest[2]])
    elif word == "close":
        os.close(files.pop(rest[0]))
    elif word == "dup":
        files[rest[0]] = os.dup(files[rest[1]])
    elif word in COMMANDS:
        found = lock(files[rest[0]], COMMANDS[word], rest[1], int(rest[2]), int(rest[3]))
        if "getlk" in word:
            kind = {fcntl.F_RDLCK: "r", fcntl.F_WRLCK: "w", fcntl.F_UNLCK: "u"}[found[0]]
            return f"{kind} {found[2]} {found[3]} {found[4]}" if kind != "u" else "u"
    elif word == "flock":
        fcntl.flock(files[rest[0]], int(rest[1]))
    elif word == "write":
        os.pwrite(files[rest[0]], rest[1].encode(), 0)
    return ""
COMMANDS = {"setlk": fcntl.F_SETLK, "setlkw": fcntl.F_SETLKW, "getlk": fcntl.F_GETLK,
            "ofd_getlk": 36, "ofd_setlk": 37, "ofd_setlkw": 38}
for line in iter(sys.stdin.readline, ""):
    try:
        answer = "ok " + do(*line.split())
    except OSError as error:
        answer = {errno.EDEADLK: "EDEADLK", errno.EAGAIN: "EAGAIN"}.get(error.errno) or \
            errno.errorcode[error.errno]
    except KeyboardInterrupt:
        answer = "EINTR"
    print(answer.strip(), flush=True)
"""


class Process:
    """A process of its own that locks."""

    def __init__(self, test):
        self.process = subprocess.Popen([sys.executable, "-c", HELPER], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, bufsize=0)
        self.pid = self.process.pid
        test.addCleanup(self.kill)

    def send(self, *words):
        self.process.stdin.write((" ".join(map(str, words)) + "\n").encode())
        return self

    def answer(self, limit_s=30):
        if not self.has_answer(limit_s):
            raise AssertionError(f"no answer within {limit_s} s")
        return self.process.stdout.readline().decode().strip()

    def has_answer(self, limit_s):
        return bool(select.select([self.process.stdout], [], [], limit_s)[0])

    def do(self, *words, limit_s=30):
        return self.send(*words).answer(limit_s)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class TwoMountsTest(ClusterTest):
    def setUp(self):
        self.cluster = self.new_cluster(master_options=["--session-timeout", f"{SESSION_TIMEOUT_S}s"])
        self.one, self.two = self.cluster.mount("one"), self.cluster.mount("two")
        write_file(self.one.path("f"), b"")
        self.cluster.wait_until(lambda: os.path.exists(self.two.path("f")), "the file", 5)

    def process(self, mount, mode="w", name="f"):
        process = Process(self)
        self.assertEqual(process.do("open", "a", mount.path(name), mode), "ok")
        return process

    def waits(self, process):
        """Whether the call under way does not end for a while."""
        return not process.has_answer(1.0)


class RangeLocksTest(TwoMountsTest):
    def test_a_lock_keeps_the_other_mount_out_and_getlk_names_it(self):
        first, second = self.process(self.one), self.process(self.two)
        neighbour = self.process(self.one)
        self.assertEqual(first.do("setlk", "a", "w", 10, 10), "ok")
        self.assertEqual(second.do("setlk", "a", "w", 19, 1), "EAGAIN")
        self.assertEqual(second.do("setlk", "a", "r", 0, 0), "EAGAIN")
        self.assertEqual(second.do("setlk", "a", "w", 20, 0), "ok")
        # The pid says something on the same machine's mount only.
        self.assertEqual(second.do("getlk", "a", "r", 0, 0), "ok w 10 10 0")
        self.assertEqual(neighbour.do("getlk", "a", "r", 0, 15), f"ok w 10 10 {first.pid}")
        self.assertEqual(first.do("getlk", "a", "r", 0, 0), "ok w 20 0 0")
        self.assertEqual(second.do("getlk", "a", "r", 0, 10), "ok u")
        self.assertEqual(first.do("setlk", "a", "u", 0, 0), "ok")
        self.assertEqual(second.do("setlk", "a", "w", 0, 0), "ok")

    def test_ranges_split_and_change_their_mode_as_posix_says(self):
        first, second = self.process(self.one), self.process(self.two)
        self.assertEqual(first.do("setlk", "a", "w", 0, 100), "ok")
        self.assertEqual(first.do("setlk", "a", "r", 40, 20), "ok")
        self.assertEqual(first.do("setlk", "a", "u", 70, 10), "ok")
        self.assertEqual(second.do("getlk", "a", "w", 0, 0), "ok w 0 40 0")
        self.assertEqual(second.do("getlk", "a", "w", 40, 0), "ok r 40 20 0")
        self.assertEqual(second.do("setlk", "a", "r", 45, 5), "ok")
        self.assertEqual(second.do("setlk", "a", "w", 70, 10), "ok")
        self.assertEqual(first.do("setlk", "a", "w", 40, 20), "EAGAIN")
        self.assertEqual(second.do("setlk", "a", "w", 80, 1), "EAGAIN")

    def test_ends_of_the_offset_range(self):
        first, second = self.process(self.one), self.process(self.two)
        last = (1 << 63) - 1
        self.assertEqual(first.do("setlk", "a", "w", last, 1), "ok")
        self.assertEqual(second.do("getlk", "a", "w", 1 << 40, 0), f"ok w {last} 0 0")
        self.assertEqual(second.do("setlk", "a", "w", 1 << 40, last - (1 << 40)), "ok")

    def test_unlocking_what_is_not_held_is_fine(self):
        self.assertEqual(self.process(self.one).do("setlk", "a", "u", 5, 7), "ok")

    def test_a_waiting_lock_is_given_when_the_other_mount_unlocks(self):
        first, second = self.process(self.one), self.process(self.two)
        first.do("setlk", "a", "w", 0, 0)
        second.send("setlkw", "a", "w", 0, 10)
        self.assertTrue(self.waits(second))
        begun = time.monotonic()
        first.do("setlk", "a", "u", 5, 100)
        self.assertTrue(self.waits(second))
        first.do("setlk", "a", "u", 0, 0)
        self.assertEqual(second.answer(), "ok")
        self.assertLess(time.monotonic() - begun, 5)
        self.assertEqual(first.do("setlk", "a", "r", 9, 1), "EAGAIN")

    def test_those_who_wait_have_their_turns_in_order(self):
        holder = self.process(self.one)
        holder.do("setlk", "a", "w", 0, 0)
        queue = []
        for mount in (self.two, self.one, self.two):
            queue.append(self.process(mount))
            queue[-1].send("setlkw", "a", "w", 0, 0)
            self.assertTrue(self.waits(queue[-1]))
        for process in queue:
            holder.do("setlk", "a", "u", 0, 0)
            self.assertEqual(process.answer(5), "ok")
            holder = process

    def test_a_deadlock_over_two_mounts_is_refused(self):
        first, second = self.process(self.one), self.process(self.two)
        first.do("setlk", "a", "w", 0, 1)
        second.do("setlk", "a", "w", 1, 1)
        first.send("setlkw", "a", "w", 1, 1)
        self.assertTrue(self.waits(first))
        self.assertEqual(second.do("setlkw", "a", "w", 0, 1), "EDEADLK")
        second.do("setlk", "a", "u", 0, 0)
        self.assertEqual(first.answer(), "ok")

    def test_closing_any_descriptor_of_the_file_ends_the_locks_of_the_process(self):
        for mode in ("w", "r"):
            first, second = self.process(self.one), self.process(self.two)
            first.do("open", "b", self.one.path("f"), mode)
            self.assertEqual(first.do("setlk", "a", "w", 0, 0), "ok")
            self.assertEqual(second.do("setlk", "a", "w", 0, 0), "EAGAIN")
            self.assertEqual(first.do("close", "b"), "ok")
            self.assertEqual(second.do("setlk", "a", "w", 0, 0), "ok")
            second.kill()

    def test_a_read_lock_of_a_file_opened_for_reading_ends_with_a_closed_copy(self):
        first, second = self.process(self.one, "r"), self.process(self.two)
        self.assertEqual(first.do("setlk", "a", "r", 0, 0), "ok")
        first.do("dup", "b", "a")
        self.assertEqual(second.do("setlk", "a", "w", 0, 0), "EAGAIN")
        first.do("close", "b")
        self.assertEqual(second.do("setlk", "a", "w", 0, 0), "ok")

    def test_a_killed_process_leaves_no_locks(self):
        first, second, third = (self.process(m) for m in (self.one, self.two, self.one))
        first.do("setlk", "a", "w", 0, 0)
        third.send("setlkw", "a", "w", 0, 0)  # waits, and is killed too
        second.send("setlkw", "a", "w", 0, 0)
        self.assertTrue(self.waits(second))
        third.kill()
        first.kill()
        self.assertEqual(second.answer(5), "ok")

    def test_a_signal_interrupts_a_wait_which_has_taken_nothing(self):
        first, second, third = (self.process(m) for m in (self.one, self.two, self.one))
        first.do("setlk", "a", "w", 0, 0)
        second.send("setlkw", "a", "w", 0, 0)
        self.assertTrue(self.waits(second))
        os.kill(second.pid, signal.SIGUSR1)
        self.assertEqual(second.answer(5), "EINTR")
        first.do("setlk", "a", "u", 0, 0)
        self.assertEqual(third.do("setlk", "a", "w", 0, 0), "ok")

    def test_a_wait_is_interrupted_also_while_the_master_is_away(self):
        first = self.process(self.one)
        self.cluster.master.pause()
        self.addCleanup(self.cluster.master.resume)
        first.send("setlkw", "a", "w", 0, 0)
        self.assertTrue(self.waits(first))
        os.kill(first.pid, signal.SIGUSR1)
        self.assertEqual(first.answer(5), "EINTR")
        self.cluster.master.resume()
        second = self.process(self.two)
        self.assertEqual(second.do("setlkw", "a", "w", 0, 0), "ok")

    def test_locks_of_open_file_descriptions(self):
        first, second = self.process(self.one), self.process(self.two)
        first.do("open", "b", self.one.path("f"), "w")
        self.assertEqual(first.do("ofd_setlk", "a", "w", 0, 10), "ok")
        self.assertEqual(first.do("ofd_setlk", "b", "w", 0, 10), "EAGAIN")  # another description
        first.do("close", "b")
        self.assertEqual(second.do("setlk", "a", "w", 0, 1), "EAGAIN")  # they and fcntl's conflict
        first.do("dup", "b", "a")
        first.do("close", "a")
        self.assertEqual(second.do("ofd_setlk", "a", "r", 0, 1), "EAGAIN")
        second.send("ofd_setlkw", "a", "r", 0, 1)
        self.assertTrue(self.waits(second))
        first.do("close", "b")
        self.assertEqual(second.answer(5), "ok")


class FlockTest(TwoMountsTest):
    EX, SH, UN, NB = fcntl.LOCK_EX, fcntl.LOCK_SH, fcntl.LOCK_UN, fcntl.LOCK_NB

    def test_flock_keeps_the_other_mount_out(self):
        first, second = self.process(self.one, "r"), self.process(self.two, "r")
        self.assertEqual(first.do("flock", "a", self.SH), "ok")
        self.assertEqual(second.do("flock", "a", self.SH | self.NB), "ok")
        self.assertEqual(second.do("flock", "a", self.EX | self.NB), "EAGAIN")
        self.assertEqual(first.do("flock", "a", self.EX | self.NB), "ok")  # the other lost its own
        self.assertEqual(second.do("setlk", "a", "r", 0, 0), "ok")  # ranges are another matter
        second.send("flock", "a", self.EX)
        self.assertTrue(self.waits(second))
        first.do("flock", "a", self.UN)
        self.assertEqual(second.answer(5), "ok")

    def test_flock_ends_with_the_last_copy_of_the_descriptor(self):
        first, second = self.process(self.one), self.process(self.two)
        first.do("flock", "a", self.EX)
        first.do("dup", "b", "a")
        first.do("close", "a")
        self.assertEqual(second.do("flock", "a", self.EX | self.NB), "EAGAIN")
        first.kill()
        self.assertEqual(second.do("flock", "a", self.EX, limit_s=5), "ok")

    def test_scripts_count_together(self):
        script = ("for i in $(seq 40); do flock lock sh -c "
                  "'read n < count; echo $((n + 1)) > count'; done")
        write_file(self.one.path("lock"), b"")
        counter = os.path.join(self.cluster.make_folder("local"), "count")
        with open(counter, "w", encoding="ascii") as f:
            f.write("0\n")
        # The count itself lies elsewhere: here it is about the locks.
        script = script.replace("count", counter)
        self.cluster.wait_until(lambda: os.path.exists(self.two.path("lock")), "the file", 5)
        running = [subprocess.Popen(["sh", "-c", script], cwd=mount.directory)
                   for mount in (self.one, self.two, self.one)]
        self.assertEqual([process.wait(120) for process in running], [0, 0, 0])
        with open(counter, encoding="ascii") as f:
            self.assertEqual(f.read(), "120\n")


class LockFailuresTest(TwoMountsTest):
    def test_a_killed_client_loses_its_locks_with_its_session(self):
        first, second = self.process(self.one), self.process(self.two)
        first.do("setlk", "a", "w", 0, 0)
        second.send("setlkw", "a", "w", 0, 0)
        self.assertTrue(self.waits(second))
        begun = time.monotonic()
        self.one.kill_client()
        self.assertEqual(second.answer(3 * SESSION_TIMEOUT_S), "ok")
        self.assertGreater(time.monotonic() - begun, SESSION_TIMEOUT_S / 2)

    def test_umount_frees_locks_at_once(self):
        first, second = self.process(self.one), self.process(self.two)
        first.do("setlk", "a", "w", 0, 0)
        second.send("setlkw", "a", "w", 0, 0)
        self.assertTrue(self.waits(second))
        os.kill(self.one.client_pid(), signal.SIGTERM)
        self.assertEqual(second.answer(SESSION_TIMEOUT_S - 2), "ok")

    def test_locks_survive_a_killed_master(self):
        first, second, third = (self.process(m) for m in (self.one, self.two, self.two))
        first.do("setlk", "a", "w", 0, 10)
        first.do("flock", "a", fcntl.LOCK_EX)
        second.do("setlk", "a", "r", 20, 10)
        third.send("setlkw", "a", "w", 0, 5)
        self.assertTrue(self.waits(third))
        self.cluster.master.kill()
        self.cluster.master.start()
        self.assertEqual(second.do("setlk", "a", "w", 0, 1), "EAGAIN")
        self.assertEqual(second.do("flock", "a", fcntl.LOCK_EX | fcntl.LOCK_NB), "EAGAIN")
        self.assertEqual(first.do("setlk", "a", "w", 20, 1), "EAGAIN")
        self.assertTrue(self.waits(third))
        first.do("setlk", "a", "u", 0, 0)
        self.assertEqual(third.answer(5), "ok")
        self.assertIn("All clients have told their locks", self.cluster.master.log())

    def test_a_client_that_lost_its_session_tells_who_held_a_lock(self):
        first, second = self.process(self.one), self.process(self.two)
        first.do("setlk", "a", "w", 0, 0)
        os.kill(self.one.client_pid(), signal.SIGSTOP)
        self.addCleanup(os.kill, self.one.client_pid(), signal.SIGCONT)
        self.assertEqual(second.do("setlkw", "a", "w", 0, 0, limit_s=3 * SESSION_TIMEOUT_S), "ok")
        os.kill(self.one.client_pid(), signal.SIGCONT)
        self.assertEqual(first.do("setlk", "a", "u", 0, 0), "EIO")
        self.assertEqual(first.do("setlk", "a", "w", 0, 0), "EAGAIN")
        second.do("setlk", "a", "u", 0, 0)
        self.assertEqual(first.do("setlk", "a", "w", 0, 0), "ok")


if __name__ == "__main__":
    unittest.main()
