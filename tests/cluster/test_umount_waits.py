"""umount while what is buffered waits for another client, which does not answer: it returns in time, says
what is not written, and leaves the mount; nothing is lost by that."""
import os
import signal
import subprocess
import sys
import time

from cluster import ClusterTest
from trees import read_file, write_file

UMOUNT_WAIT_S = 2
# Far longer than a umount may take.
SESSION_TIMEOUT_S = 20
MARGIN_S = 6
# Has the file open for as long as it is told to. Not the test itself: whoever starts another program closes copies
# of its files, which a stopped client is asked about.
WRITER = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
os.write(fd, b"newer")
print(os.fstat(fd).st_ino, flush=True)
sys.stdin.read()
"""


class UmountWaitsTest(ClusterTest):
    def setUp(self):
        self.cluster = self.new_cluster(
            servers=2, master_options=("--session-timeout", f"{SESSION_TIMEOUT_S}s"))
        self.one = self.cluster.mount("one", options=[f"umount_wait={UMOUNT_WAIT_S}s"])
        self.two = self.cluster.mount("two")
        write_file(self.one.path("f"), b"first", sync=True)

    def stop(self, mount):
        os.kill(mount.client_pid(), signal.SIGSTOP)
        self.addCleanup(self.go_on, mount)

    def go_on(self, mount):
        try:
            os.kill(mount.client_pid(), signal.SIGCONT)
        except ProcessLookupError:
            pass  # unmounted

    def assert_fails_in_time(self, expected):
        begin = time.monotonic()
        done = self.one.umount(check=False)
        took_s = time.monotonic() - begin
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(expected, done.stderr)
        self.assertLess(took_s, UMOUNT_WAIT_S + MARGIN_S)
        self.assertTrue(self.one.is_mounted())

    def test_a_file_on_which_a_stopped_client_has_a_lease_is_named(self):
        """Who was cut off must ask anew for what it has written."""
        writer = subprocess.Popen([sys.executable, "-c", WRITER, self.one.path("f")],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(writer.kill)
        inode = int(writer.stdout.readline())
        self.stop(self.one)
        self.cluster.wait_until(lambda: self.cluster.status()["sessions"] == 1, "its session ends")
        self.assertEqual(read_file(self.two.path("f")), b"first")
        self.stop(self.two)
        self.go_on(self.one)
        writer.communicate()
        self.assert_fails_in_time(f"inode {inode}")
        self.go_on(self.two)
        self.one.umount()
        self.assertEqual(read_file(self.two.path("f")), b"newer")

    def test_a_file_that_another_client_waits_for_is_named(self):
        with open(self.one.path("f"), "r+b", buffering=0) as f:
            f.write(b"older")
            os.fsync(f.fileno())  # there is an open chunk with room
            for server in self.cluster.servers:
                server.pause()
            f.write(b"newer")
            inode = os.fstat(f.fileno()).st_ino
        reader = subprocess.Popen(["cat", self.two.path("f")], stdout=subprocess.PIPE)
        self.addCleanup(reader.kill)
        self.assert_fails_in_time(f"inode {inode}")
        for server in self.cluster.servers:
            server.resume()
        self.assertEqual(reader.communicate(timeout=60)[0], b"oldernewer")
        self.one.umount()

    def test_nobody_waits_for_a_client_that_unmounts(self):
        names = [f"n{i}" for i in range(20)]
        for name in names:
            write_file(self.one.path(name), name.encode())
            os.stat(self.two.path(name))
        self.one.umount()
        begin = time.monotonic()
        for name in names:
            os.unlink(self.two.path(name))
        self.assertLess(time.monotonic() - begin, SESSION_TIMEOUT_S / 2)
