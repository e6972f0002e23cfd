"""Two mounts, and processes that do random operations on few names of one directory: what they were told
must be what one POSIX directory could have told them, also while servers and clients die or hang. See
tests/coherence/README.md. DFS_TEST_HISTORY_SECONDS says for how long each test records,
DFS_TEST_HISTORY_SEED what it begins with."""
import os
import random
import signal
import subprocess
import time
import unittest

from cluster import ClusterTest, program, run

SECONDS = float(os.environ.get("DFS_TEST_HISTORY_SECONDS", "4"))
SEED = int(os.environ.get("DFS_TEST_HISTORY_SEED", random.randrange(1 << 32)))
PROCESSES_PER_MOUNT = 2
# Of a history: what is waited for before the next trouble.
PROGRESS_BYTES = 20_000
RECORD_LIMIT_S = SECONDS + 90
CHECK_LIMIT_S = 60 + 10 * SECONDS
CONTRADICTION = 1
# How late what a killed client had asked for may still be done. Much longer, and too much is possible at once to judge.
DONE_AFTER_DEATH_S = 2
# Under constant change of the same few bytes these still find contradictions, a few in a hundred thousand operations:
# tests/coherence/README.md lists what is known of them. Until they do not, they are run by hand.
by_hand = unittest.skipUnless("DFS_TEST_HISTORY_SECONDS" in os.environ, "set DFS_TEST_HISTORY_SECONDS to run it")


class Recorder:
    """A process that makes a history."""

    def __init__(self, folder, mount, mount_number, number, options):
        self.mount_number = mount_number
        self.path = os.path.join(folder, f"history{number}")
        self.process = subprocess.Popen(
            [program("tests/dfs-coherence"), "record", "--directory", mount.path("d"), "--out", self.path,
             "--mount", str(mount_number), "--process", str(number), "--seed", str(SEED + number), *options],
            stderr=subprocess.PIPE, text=True)

    def is_running(self):
        return self.process.poll() is None

    def size(self):
        return os.path.getsize(self.path) if os.path.exists(self.path) else 0

    def finish(self):
        said = self.process.communicate(timeout=RECORD_LIMIT_S)[1]
        if self.process.returncode != 0:
            raise AssertionError(f"recording ended with {self.process.returncode}: {said}")

    def kill(self):
        self.process.kill()
        try:
            self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            pass  # in a call that nobody answers any more; the test has failed by that already


class HistoriesTest(ClusterTest):
    def setUp(self):
        self.recorders = []
        self.check_options = []

    def begin(self, *options, **arguments):
        self.cluster = self.new_cluster(**arguments)
        self.mounts = [self.cluster.mount("one"), self.cluster.mount("two")]
        os.mkdir(self.mounts[0].path("d"))
        self.options = ["--seconds", str(SECONDS), *options]

    def record_on(self, number, processes=PROCESSES_PER_MOUNT):
        for _ in range(processes):
            recorder = Recorder(self.cluster.folder, self.mounts[number], number, len(self.recorders),
                                self.options)
            self.addCleanup(recorder.kill)
            self.recorders.append(recorder)

    def record_on_both(self):
        for number in range(len(self.mounts)):
            self.record_on(number)

    def check(self, *pauses):
        """Waits for the recorders; the check as a finished process."""
        for recorder in self.recorders:
            recorder.finish()
        words = self.check_options + [word for pause in pauses for word in ("--pause", ":".join(map(str, pause)))]
        return run(program("tests/dfs-coherence"), "check", *words, *[r.path for r in self.recorders],
                   check=False, timeout=CHECK_LIMIT_S)

    def expect_coherence(self, *pauses):
        done = self.check(*pauses)
        print(done.stdout.splitlines()[-1] if done.stdout else done.stderr, flush=True)
        self.assertEqual(done.returncode, 0, f"seed {SEED}\n{done.stdout}{done.stderr}")

    def wait_for_progress(self, recorders=None):
        """False if they are at their end."""
        waited_for = [(r, r.size() + PROGRESS_BYTES) for r in recorders or self.recorders]
        self.cluster.wait_until(
            lambda: all(r.size() >= size or not r.is_running() for r, size in waited_for),
            "the recorders go on", RECORD_LIMIT_S)
        return any(r.is_running() for r, _ in waited_for)

    # --- While all is well ---

    def test_names(self):
        self.begin("--operations", "names")
        self.record_on_both()
        self.expect_coherence()

    @by_hand
    def test_contents(self):
        self.begin("--operations", "contents")
        self.record_on_both()
        self.expect_coherence()

    @by_hand
    def test_contents_in_pages_of_their_own(self):
        self.begin("--operations", "contents", "--slot-bytes", "4096")
        self.record_on_both()
        self.expect_coherence()

    @by_hand
    def test_appends(self):
        self.begin("--operations", "appends")
        self.record_on_both()
        self.expect_coherence()

    def test_locks(self):
        self.begin("--operations", "locks")
        self.record_on_both()
        self.expect_coherence()

    @by_hand
    def test_everything(self):
        self.begin()
        self.record_on_both()
        self.expect_coherence()

    # --- While something dies or hangs ---

    def restart_again_and_again(self, daemons):
        self.record_on_both()
        turn = 0
        while self.wait_for_progress():
            daemon = daemons[turn % len(daemons)]
            daemon.kill()
            daemon.start()
            turn += 1
        self.assertGreater(turn, 0)
        self.expect_coherence()

    @by_hand
    def test_names_and_locks_while_the_master_is_restarted(self):
        self.begin("--operations", "names,locks")
        self.restart_again_and_again([self.cluster.master])

    @by_hand
    def test_everything_while_the_master_is_restarted(self):
        self.begin()
        self.restart_again_and_again([self.cluster.master])

    @by_hand
    def test_everything_while_servers_are_restarted(self):
        self.begin()
        self.restart_again_and_again(self.cluster.servers)

    def pause_and_resume(self, number, paused):
        """Stops the client of a mount and calls `paused`; returns the interval of the pause."""
        mount = self.mounts[number]
        begin = time.monotonic_ns()
        os.kill(mount.client_pid(), signal.SIGSTOP)
        try:
            paused()
        finally:
            os.kill(mount.client_pid(), signal.SIGCONT)
        # This is answered by the master: from then on the client knows what it must not keep.
        os.mkdir(mount.path(f"awake{begin}"))
        return number, begin, time.monotonic_ns()

    @by_hand
    def test_names_while_a_client_is_stopped_for_less_than_the_session_time_out(self):
        """Others wait for it, so nothing that it tells is stale."""
        self.begin("--operations", "names")
        self.record_on_both()

        def wait_a_second():
            try:
                self.recorders[0].process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                pass

        while self.wait_for_progress():
            self.pause_and_resume(1, wait_a_second)
        self.expect_coherence()

    @by_hand
    def test_names_while_a_client_is_stopped_for_longer_than_the_session_time_out(self):
        self.begin("--operations", "names", master_options=("--session-timeout", "2s"))
        self.record_on_both()
        others = [r for r in self.recorders if r.mount_number == 0]
        pauses = []
        while self.wait_for_progress():
            pauses.append(self.pause_and_resume(1, lambda: self.wait_for_progress(others)))
        self.expect_coherence(*pauses)

    def kill_client(self, number):
        self.mounts[number].kill_client()
        self.recorders[-1].finish()
        self.mounts[number].mount()

    def kill_a_client(self, operations):
        # One process beside the death: another on that mount may read what is not synced, and lost.
        self.begin("--operations", operations, "--sync")
        self.check_options = ["--forget-after", str(DONE_AFTER_DEATH_S)]
        self.record_on(0)
        self.record_on(1, processes=1)
        while self.wait_for_progress():
            self.kill_client(1)
            if not all(r.is_running() for r in self.recorders if r.mount_number == 0):
                break
            self.record_on(1, processes=1)
        self.expect_coherence()

    @by_hand
    def test_names_while_a_client_is_killed(self):
        self.kill_a_client("names")

    @by_hand
    def test_everything_while_a_client_is_killed(self):
        self.kill_a_client("names,contents,appends,locks")

    # --- The checker itself ---

    def test_a_master_that_tells_nobody_what_changes_is_caught(self):
        self.begin("--operations", "names", master_program="tests/dfs-master-canary")
        self.record_on_both()
        done = self.check()
        self.assertEqual(done.returncode, CONTRADICTION, done.stdout + done.stderr)
        self.assertIn("no order of the operations explains", done.stdout)


if __name__ == "__main__":
    unittest.main()
