"""dfs-admin why: which calls wait, for whom, and what ends that; with clients and servers that stand still."""
import fcntl
import json
import os
import signal
import subprocess
import sys
import unittest

from cluster import ClusterTest
from trees import write_file

SESSION_TIMEOUT_S = 10


class Why(ClusterTest):
    def setUp(self):
        self.cluster = self.new_cluster(servers=2, replicas=2,
                                        master_options=["--session-timeout", f"{SESSION_TIMEOUT_S}s"])
        self.one = self.cluster.mount("one")
        self.two = self.cluster.mount("two")

    def why(self, *words):
        answer = self.cluster.admin("why", *words, "--json", check=False)
        report = json.loads(answer.stdout)
        self.assertEqual(answer.returncode, 1 if report["waits"] else 0, answer.stderr)
        return report

    def wait_for(self, what, matches, *words):
        """The first wait that is such a one."""
        found = []
        def is_there():
            found[:] = [wait for wait in self.why(*words)["waits"] if matches(wait)]
            return bool(found)
        self.cluster.wait_until(is_there, what)
        return found[0]

    def background(self, code, *arguments):
        process = subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def expect_nothing(self):
        self.cluster.wait_until(lambda: not self.why()["waits"], "nothing waits")
        self.assertEqual(self.cluster.admin("why").stdout, "nothing waits\n")

    def test_a_change_waits_for_a_stopped_client(self):
        write_file(self.one.path("d\xe9\n"), b"x" * 100)
        with open(self.two.path("d\xe9\n"), "rb") as read:
            read.read()  # closed again: a process made below would close it, and wait
        holder = self.two.client_pid()
        os.kill(holder, signal.SIGSTOP)
        try:
            process = self.background("import os, sys; os.truncate(sys.argv[1], 1)",
                                      self.one.path("d\xe9\n"))
            wait = self.wait_for("the holder of the lease is named",
                                 lambda wait: wait["cause"] == "notice" and wait["pid"] == process.pid)
            self.assertEqual(wait["path"], "/d\xe9\\x0a")
            self.assertEqual(wait["operation"], "set attributes")
            self.assertIn(f"one (pid {self.one.client_pid()})", wait["client"])
            self.assertEqual(len(wait["others"]), 1)
            self.assertIn(f"two (pid {holder})", wait["others"][0]["client"])
            self.assertLessEqual(wait["others"][0]["session_ends_in_ms"], SESSION_TIMEOUT_S * 1000)
            self.wait_for("the end of the session ends it",
                          lambda wait: wait["ends_by"].startswith("end of its session in"))
            self.assertTrue(self.why("/d\xe9\n")["waits"])
            self.assertEqual(self.cluster.admin("why", "/elsewhere", check=False).returncode, 3)
            status = self.cluster.status()
            self.assertEqual(status["recalls"], 1)
            self.assertGreater(status["oldest_recall_ms"], 0)
            self.assertEqual(process.wait(), 0)  # when that session is over
        finally:
            os.kill(holder, signal.SIGCONT)
        self.expect_nothing()

    def test_a_lock_is_waited_for_and_its_holder_named(self):
        os.mkdir(self.one.path("folder"))
        write_file(self.one.path("folder/f"), b"")
        with open(self.one.path("folder/f"), "wb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            process = self.background("import fcntl, sys; fcntl.flock(open(sys.argv[1], 'wb'), fcntl.LOCK_EX)",
                                      self.two.path("folder/f"))
            wait = self.wait_for("the lock's holder is named",
                                 lambda wait: wait["cause"] == "lock" and wait["pid"] == process.pid)
            self.assertEqual(wait["path"], "/folder/f")
            self.assertIn("one (pid ", wait["others"][0]["client"])
            self.assertIn("two (pid ", wait["client"])
            text = self.cluster.admin("why", self.one.path("folder"), check=False).stdout
            self.assertRegex(text, r"^1 call waits, for \d+ s\n")
            self.assertIn("/folder/f", text)
            self.assertIn("unlock", text)
            write_file(self.one.path("other"), b"")
            self.assertFalse(self.why("/other")["waits"])
        self.assertEqual(process.wait(), 0)
        self.expect_nothing()

    def test_a_sync_waits_for_servers_and_the_client_tells_without_a_master(self):
        for server in self.cluster.servers:
            server.pause()
        process = self.background("import os, sys; f = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY);"
                                  "os.write(f, b'x' * 5000); os.fsync(f)", self.one.path("f"))
        wait = self.wait_for("too few servers answer",
                             lambda wait: wait["cause"] == "servers" and wait["pid"] == process.pid)
        self.assertIn(wait["operation"], ("fsync", "write"))
        self.assertEqual(wait["path"], "/f")
        self.assertGreater(wait["fails_in_ms"], 0)
        self.assertIn("EIO in", wait["ends_by"])
        self.cluster.master.pause()
        answer = self.cluster.admin("why", check=False)
        self.assertEqual(answer.returncode, 3)
        self.assertIn("cannot be reached", answer.stderr)
        self.assertEqual(answer.stderr.count("\n"), 1)
        self.assertIn(f"by process {process.pid} waits for", self.waiting_here(self.one))
        self.cluster.wait_until(lambda: "the master does not answer" in self.waiting_here(self.one),
                                "the client knows that the master is away")
        self.cluster.master.resume()
        for server in self.cluster.servers:
            server.resume()
        self.assertEqual(process.wait(), 0)
        self.expect_nothing()
        self.assertEqual(self.waiting_here(self.one), "nothing waits\n")

    def waiting_here(self, mount):
        return os.getxattr(mount.directory, "dfs.waiting").decode()


if __name__ == "__main__":
    unittest.main()
