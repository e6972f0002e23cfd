"""Servers, the master and clients die or hang in the middle of things, and nothing is lost."""
import json
import os
import shutil
import signal
import subprocess
import threading
import time
import unittest

from cluster import ClusterTest, run, wait_for_end
from trees import describe, difference, pattern, read_file, write_file

MIB = 1 << 20
STALL_LIMIT_S = 5.0


class Progress:
    """Writes or reads a file block by block in a thread and notes the longest pause."""

    def __init__(self, work):
        self.longest_s, self.error, self.blocks = 0.0, None, 0
        self.reached = {}
        self.condition = threading.Condition()
        self.thread = threading.Thread(target=self.run, args=(work,))
        self.thread.start()

    def run(self, work):
        try:
            last = time.monotonic()
            for _ in work:
                now = time.monotonic()
                self.longest_s, last = max(self.longest_s, now - last), now
                with self.condition:
                    self.blocks += 1
                    self.condition.notify_all()
        except Exception as error:  # noqa: handed to the test
            self.error = error
            with self.condition:
                self.blocks = 1 << 60
                self.condition.notify_all()

    def wait_for_blocks(self, count):
        with self.condition:
            self.condition.wait_for(lambda: self.blocks >= count, 120)

    def finish(self):
        self.thread.join(300)
        if self.thread.is_alive():
            raise AssertionError("the copy hangs")
        if self.error:
            raise self.error
        return self.longest_s


def write_blocks(path, blocks):
    with open(path, "wb", buffering=0) as f:
        for i in range(blocks):
            f.write(pattern(i, MIB))
            if i % 16 == 15:
                os.fsync(f.fileno())
            yield
        os.fsync(f.fileno())
        yield


def read_blocks(path, blocks):
    with open(path, "rb", buffering=0) as f:
        for i in range(blocks):
            if f.read(MIB) != pattern(i, MIB):
                raise AssertionError(f"block {i} of {path} is wrong")
            yield


def expect_blocks(path, blocks):
    for _ in read_blocks(path, blocks):
        pass


class ChunkserverFailureTest(ClusterTest):
    BLOCKS = 160

    def busy_server(self, cluster):
        """One that holds replicas of what is written now."""
        listed = json.loads(cluster.admin("node", "list", "--json", check=False).stdout)["nodes"]
        nodes = {node["address"]: node["replicas"] for node in listed}
        address = max(nodes, key=nodes.get)
        return next(s for s in cluster.servers if address in s.argv)

    def fail_during_write(self, fail):
        cluster = self.new_cluster()
        mount = cluster.mount()
        progress = Progress(write_blocks(mount.path("file"), self.BLOCKS))
        progress.wait_for_blocks(self.BLOCKS // 3)
        fail(self.busy_server(cluster))
        self.assertLess(progress.finish(), STALL_LIMIT_S)
        expect_blocks(mount.path("file"), self.BLOCKS)
        mount.remount()
        expect_blocks(mount.path("file"), self.BLOCKS)

    def fail_during_read(self, fail):
        cluster = self.new_cluster()
        mount = cluster.mount()
        for _ in write_blocks(mount.path("file"), self.BLOCKS):
            pass
        mount.remount()
        run("sh", "-c", "echo 3 > /proc/sys/vm/drop_caches")
        progress = Progress(read_blocks(mount.path("file"), self.BLOCKS))
        progress.wait_for_blocks(self.BLOCKS // 4)
        fail(self.busy_server(cluster))
        self.assertLess(progress.finish(), STALL_LIMIT_S)

    def test_killed_while_writing(self):
        self.fail_during_write(lambda server: server.kill())

    def test_stopped_while_writing(self):
        self.fail_during_write(lambda server: server.pause())

    def test_killed_while_reading(self):
        self.fail_during_read(lambda server: server.kill())

    def test_stopped_while_reading(self):
        self.fail_during_read(lambda server: server.pause())

    def test_two_of_three_dead_is_reported_and_reads_go_on(self):
        cluster = self.new_cluster(replicas=3)
        mount = cluster.mount()
        write_file(mount.path("file"), pattern("f", MIB), sync=True)
        cluster.servers[0].kill()
        cluster.servers[1].kill()
        cluster.wait_until(
            lambda: cluster.status()["nodes_down"] == 2, "the master notices")
        self.assertNotEqual(cluster.admin("status", check=False).returncode, 0)
        mount.remount()
        self.assertEqual(read_file(mount.path("file")), pattern("f", MIB))

    def test_below_min_replicas_a_write_waits_and_can_be_interrupted(self):
        cluster = self.new_cluster(servers=2)
        mount = cluster.mount()
        cluster.servers[0].kill()
        cluster.wait_until(
            lambda: cluster.status()["nodes_down"] == 1, "the master notices")
        writer = subprocess.Popen(["dd", "if=/dev/zero", f"of={mount.path('file')}", "bs=1M", "count=8",
                                   "conv=fsync"], stderr=subprocess.PIPE)
        with self.assertRaises(subprocess.TimeoutExpired):
            writer.wait(4)
        writer.kill()
        writer.wait(10)
        writer.stderr.close()
        cluster.servers[0].start()
        cluster.wait_for_nodes(2)
        writer = subprocess.Popen(["dd", "if=/dev/zero", f"of={mount.path('file2')}", "bs=1M", "count=8",
                                   "conv=fsync"], stderr=subprocess.DEVNULL)
        try:
            self.assertEqual(writer.wait(60), 0)
        except subprocess.TimeoutExpired:  # asked while it still waits
            waiting = os.getxattr(mount.directory, "dfs.waiting").decode()
            why = cluster.admin("why", check=False).stdout
            writer.kill()
            self.fail(f"it waits still: {waiting}\n{why}")


class RestartTest(ClusterTest):
    def make_archive(self, cluster):
        source = os.path.join(cluster.folder, "source")
        run("cp", "-a", "/usr/include", source)
        archive = os.path.join(cluster.folder, "tree.tar")
        run("tar", "--format=posix", "-C", source, "-cf", archive, ".")
        return describe(source), archive

    def test_master_killed_during_tar_is_survived(self):
        cluster = self.new_cluster()
        mount = cluster.mount()
        expected, archive = self.make_archive(cluster)
        tar = subprocess.Popen(["tar", "-C", mount.directory, "-xpf", archive], stderr=subprocess.PIPE)
        for _ in range(3):
            seen = len(os.listdir(mount.directory))
            cluster.wait_until(lambda: tar.poll() is not None or count_entries(mount.directory) > seen,
                               "tar goes on")
            cluster.master.kill()
            cluster.master.start()
        _, complaints = tar.communicate(timeout=300)
        self.assertEqual((tar.returncode, complaints), (0, b""))
        mount.remount()
        self.assertEqual(difference(expected, describe(mount.directory)), "")
        cluster.admin("fsck")

    def test_everything_fsynced_survives_kill_of_all_daemons_and_the_client(self):
        cluster = self.new_cluster()
        mount = cluster.mount()
        for i in range(20):
            write_file(mount.path(f"synced-{i}"), pattern(i, 100_000 + i), sync=True)
        write_file(mount.path("unsynced"), b"may be lost")
        cluster.kill_daemons()
        mount.kill_client()
        cluster.start()
        mount.mount()  # replaces the dead mount
        for i in range(20):
            self.assertEqual(read_file(mount.path(f"synced-{i}")), pattern(i, 100_000 + i))
        cluster.admin("fsck")

    def test_everything_fsynced_survives_kill_of_the_client(self):
        cluster = self.new_cluster()
        mount = cluster.mount()
        write_file(mount.path("synced"), pattern("s", 3 * MIB), sync=True)
        mount.kill_client()
        with self.assertRaises(OSError):
            os.listdir(mount.directory)
        mount.mount()
        self.assertEqual(read_file(mount.path("synced")), pattern("s", 3 * MIB))

    def test_what_is_older_than_the_flush_age_survives_kill_of_the_client(self):
        cluster = self.new_cluster()
        mount = cluster.mount()
        write_file(mount.path("file"), pattern("s", 100_000))
        other = cluster.mount("other")
        cluster.wait_until(lambda: os.path.exists(other.path("file")) and
                           os.path.getsize(other.path("file")) == 100_000, "the flush by age", 10)
        mount.kill_client()
        self.assertEqual(read_file(other.path("file")), pattern("s", 100_000))


class BlockedClientTest(ClusterTest):
    """A client whose thread waits in the kernel for a lock that a program holds, whose request waits for the
    client: nothing but the end of the connection ends that, and the thread keeps a killed process from ending it."""

    def setUp(self):
        self.cluster = self.new_cluster(servers=2, master_options=["--session-timeout", "60s"])
        self.victim, self.other, self.stopped = [self.cluster.mount(name) for name in ("one", "two", "three")]
        os.mkdir(self.other.path("d"))
        write_file(self.other.path("d/f"), b"kept", sync=True)
        os.stat(self.victim.path("d/f"))  # the victim has to be told when that name changes
        os.listdir(self.stopped.path("d"))  # and this one of every name
        os.kill(self.stopped.client_pid(), signal.SIGSTOP)
        self.addCleanup(os.kill, self.stopped.client_pid(), signal.SIGCONT)
        # This waits for the one that is stopped, with the directory's lock held on the victim's mount; to drop
        # the name the victim's client needs that lock.
        self.creator = subprocess.Popen(["mkdir", self.victim.path("d/new")], stderr=subprocess.PIPE, text=True)
        self.mover = subprocess.Popen(["mv", self.other.path("d/f"), self.other.path("d/g")])
        self.cluster.wait_until(self.has_blocked_thread, "a thread of the client that waits in the kernel", 20)

    def has_blocked_thread(self):
        tasks = f"/proc/{self.victim.client_pid()}/task"
        states = [read_file(f"{tasks}/{task}/stat").rpartition(b")")[2].split()[0] for task in os.listdir(tasks)]
        return b"D" in states

    def expect_others_free(self):
        self.assertNotEqual(self.creator.communicate(timeout=10)[1], "")
        os.kill(self.stopped.client_pid(), signal.SIGCONT)
        self.assertEqual(self.mover.wait(10), 0)
        self.victim.mount()  # a dead mount is replaced
        self.assertEqual(read_file(self.victim.path("d/g")), b"kept")

    def end_by(self, number):
        pidfd = os.pidfd_open(self.victim.client_pid())
        os.kill(self.victim.client_pid(), number)
        wait_for_end(pidfd)
        with self.assertRaises(OSError):
            os.listdir(self.victim.directory)
        self.expect_others_free()

    def test_a_killed_one_frees_whoever_waits_for_it(self):
        self.end_by(signal.SIGKILL)

    def test_one_that_crashes_frees_whoever_waits_for_it(self):
        self.end_by(signal.SIGSEGV)

    def test_one_that_is_told_to_stop_unmounts(self):
        pidfd = os.pidfd_open(self.victim.client_pid())
        os.kill(self.victim.client_pid(), signal.SIGTERM)
        wait_for_end(pidfd)
        self.assertFalse(self.victim.is_mounted())
        self.expect_others_free()


class OtherClusterTest(ClusterTest):
    """A client goes on while another cluster comes to its master's address."""

    def test_clients_of_a_cluster_that_was_here_before_hold_up_nobody(self):
        cluster = self.new_cluster(servers=1, replicas=1)
        old = cluster.mount("old")
        for i in range(50):
            os.mkdir(old.path(str(i)))
        folder = os.open(old.directory, os.O_RDONLY)
        os.fsync(folder)  # the client has acknowledged all of that when it says something next
        os.close(folder)
        os.kill(old.client_pid(), signal.SIGSTOP)
        self.addCleanup(os.kill, old.client_pid(), signal.SIGCONT)
        cluster.master.kill()
        shutil.rmtree(os.path.join(cluster.folder, "master"))
        cluster.make_folder("master")
        cluster.master.start()
        new = cluster.mount("new")
        os.kill(old.client_pid(), signal.SIGCONT)
        cluster.wait_until(lambda: "wrong_cluster" in old.log(), "the old client notices")
        run("mkdir", new.path("d"), timeout=30)
        with self.assertRaises(OSError):
            os.mkdir(old.path("d"))
        self.assertEqual(os.listdir(new.directory), ["d"])
        old.umount()


def count_entries(root):
    return sum(len(folders) + len(files) for _, folders, files in os.walk(root))


class CorruptionTest(ClusterTest):
    def test_a_flipped_byte_is_read_from_the_other_replica_and_reported(self):
        cluster = self.new_cluster(servers=2)
        mount = cluster.mount()
        data = pattern("c", 2 * MIB)
        write_file(mount.path("file"), data, sync=True)
        mount.umount()
        flipped = 0
        chunks = os.path.join(cluster.data_folder(0), "chunks")
        for folder, _, files in os.walk(chunks):
            for name in files:
                path = os.path.join(folder, name)
                if not name.endswith((".open", ".sealed")):
                    continue
                content = bytearray(read_file(path))
                at = content.find(data[MIB // 2:MIB // 2 + 64])
                if at >= 0:
                    content[at] ^= 0x10
                    with open(path, "r+b") as f:
                        f.write(content)
                    flipped += 1
        self.assertEqual(flipped, 1)
        mount.mount()
        # Whichever replica a read prefers, over some cold reads both are asked.
        for _ in range(4):
            self.assertEqual(read_file(mount.path("file")), data)
            mount.remount()
            run("sh", "-c", "echo 3 > /proc/sys/vm/drop_caches")
        done = cluster.admin("fsck", "--checksums", check=False)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout + done.stderr, r"(?i)checksum|damaged|corrupt")
        self.assertRegex(cluster.master.log() + cluster.servers[0].log(), r"(?i)checksum|damaged|corrupt")
        self.assertEqual(read_file(mount.path("file")), data)


if __name__ == "__main__":
    unittest.main()
