"""Wrong input to every program and daemon: an exit code, one line that names what is wrong, at once; and
from the network: a logged reason, and the daemon goes on serving everybody else."""
import json
import os
import random
import shutil
import socket
import sqlite3
import struct
import subprocess
import tempfile
import threading
import time
import unittest

from cluster import ClusterTest, SCRATCH, free_ports, program, run
from trees import read_file, write_file
from zmtp import LONG, MORE, Connection

ANSWER_LIMIT_S = 10
NEWER_VERSION = b"\x91\x07"  # the envelope [7]: a protocol version of the future
DAEMONS = ["dfs-master", "dfs-chunkserver"]
UNKNOWN_HOST = "no-such-host.invalid"  # a name that never resolves (RFC 2606)


class RefusalTest(unittest.TestCase):
    """Commands that must end at once with one line."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="dfs-test-input-", dir=SCRATCH)
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.port = free_ports(1)[0]

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def assert_refused(self, code, names, *argv, limit_s=ANSWER_LIMIT_S, **environment):
        """`names` must all be in the line."""
        began = time.monotonic()
        process = subprocess.Popen([program(argv[0]), *map(str, argv[1:])], stdin=subprocess.DEVNULL, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **environment})
        try:
            out, error = process.communicate(timeout=limit_s + 20)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"{argv} did not end; it said {process.communicate()[1]!r}") from None
        said = f"{argv}: exit {process.returncode}, {error!r}"
        self.assertEqual(process.returncode, code, said)
        self.assertEqual(error.count("\n"), 1, said)
        self.assertTrue(error.startswith(argv[0] + ": "), said)
        for name in names:
            self.assertIn(name, error, said)
        self.assertEqual(out, "", said)
        self.assertLess(time.monotonic() - began, limit_s, said)

    def daemon_flags(self):
        return ["--listen", f"127.0.0.1:{self.port}", "--data", self.path("data")]


class ArgumentsTest(RefusalTest):
    def test_unknown_flags_and_words_are_named(self):
        for name in [*DAEMONS, "dfs-admin"]:
            self.assert_refused(2, ["--frobnicate"], name, "--frobnicate")
            self.assert_refused(2, ["surplus"], name, "surplus")
        self.assert_refused(2, ["surplus"], "dfs-admin", "status", "surplus")
        self.assert_refused(1, ["--frobnicate"], "dfs", "--frobnicate", "127.0.0.1", "/mnt")
        self.assert_refused(1, ["-x"], "dfs", "-x", "127.0.0.1", "/mnt")
        self.assert_refused(1, ["-x"], "umount.fuse.dfs", "-x", "/mnt")

    def test_missing_values_and_words_are_errors(self):
        for name in DAEMONS:
            self.assert_refused(2, ["--listen"], name, "--listen")
        self.assert_refused(2, ["--data"], "dfs-chunkserver", "--listen", f"127.0.0.1:{self.port}")
        data = self.path("data")
        self.assert_refused(2, ["--data", data, "twice"], "dfs-chunkserver", *self.daemon_flags(), "--data", data + "/")
        self.assert_refused(2, ["status", "fsck", "--help"], "dfs-admin")
        self.assert_refused(2, ["node", "list", "--help"], "dfs-admin", "node")
        self.assert_refused(2, ["file", "info", "--help"], "dfs-admin", "file")
        self.assert_refused(2, ["PATH"], "dfs-admin", "file", "info")
        self.assert_refused(2, ["--replicas"], "dfs-admin", "policy", "set", "/")
        self.assert_refused(1, ["-o"], "dfs", "127.0.0.1", "/mnt", "-o")
        self.assert_refused(1, ["directory"], "dfs", "127.0.0.1")
        self.assert_refused(1, ["directory"], "dfs")
        self.assert_refused(1, ["directory"], "umount.fuse.dfs")

    def test_values_out_of_range_are_named(self):
        for flag, value in [("--replicas", "0"), ("--replicas", "17"), ("--replicas", "many"), ("--heartbeat", "5"),
                            ("--heartbeat", "1ms"), ("--cache-size", "1"), ("--cache-size", "99999999999TiB"),
                            ("--log-level", "loud")]:
            self.assert_refused(2, [flag, value], "dfs-master", *self.daemon_flags(), flag, value)
        for flag, value in [("--disk-threads", "0"), ("--reserve", "lots"), ("--log-level", "loud")]:
            self.assert_refused(2, [flag, value], "dfs-chunkserver", *self.daemon_flags(), flag, value)
        self.assert_refused(2, ["--min-replicas"], "dfs-master", *self.daemon_flags(), "--replicas", "2",
                            "--min-replicas", "3")
        self.assert_refused(2, ["--replicas", "99"], "dfs-admin", "policy", "set", "/", "--replicas", "99")
        self.assertFalse(os.path.exists(self.path("data")), "a refused daemon has made its data directory")

    def test_addresses_that_are_none_are_named(self):
        for address in ["nonsense", "localhost:99999", "::1:9420", "[::1]", "[nonsense]:1"]:
            for name in DAEMONS:
                self.assert_refused(2, [address], name, "--listen", address, "--data", self.path("data"))
        for address in ["localhost:99999", "::1:9420", "::1", "localhost:", "[nonsense]:1", "[nonsense]"]:
            self.assert_refused(2, [address], "dfs-admin", "--master", address, "status")
            self.assert_refused(2, [address], "dfs-chunkserver", *self.daemon_flags(), "--master", address)
        for source in ["127.0.0.1:0", "127.0.0.1:99999", "127.0.0.1:port", "[::1", ":9420", "", "127.0.0.1/../x", "127.0.0.1/a/..", "127.0.0.1/.."]:
            self.assert_refused(1, [f"'{source}'"], "dfs", source, self.folder)

    def test_mount_options_that_are_none_are_named(self):
        for option in ["frobnicate", "mem_limit=1", "mem_limit=plenty", "mem_limit", "connect_wait=soon",
                       "write_wait=", "log_level=loud", "log_file=relative"]:
            self.assert_refused(1, [option.split("=")[0]], "dfs", "-o", "ro," + option, "127.0.0.1", self.folder)

    def test_variables_are_checked_as_flags_are(self):
        for name in DAEMONS:
            self.assert_refused(2, ["DFS_LOG_LEVEL", "loud"], name, *self.daemon_flags(), DFS_LOG_LEVEL="loud")
        self.assert_refused(2, ["DFS_JSON", "perhaps"], "dfs-admin", "status", DFS_JSON="perhaps")

    def test_configuration_files_are_checked(self):
        config = self.path("a.conf")
        for text, names in [("frobnicate = 1\n", [":1:", "frobnicate"]), ("# x\nlog-level\n", [":2:", "log-level"]),
                            ("log-level = loud\n", ["log-level", "loud"]), ("[section]\n", [":1:", "[section]"]),
                            ("listen = 127.0.0.1:1\nlisten = 127.0.0.1:2\n", [":2:", "listen"]),
                            ("\x00\x01\x1b[31m\n", [":1:"])]:
            write_file(config, text.encode())
            for name in DAEMONS:
                self.assert_refused(2, [config, *names], name, *self.daemon_flags(), "--config", config)
        for name, *words in [*([name] for name in DAEMONS), ["dfs-admin", "status"]]:
            self.assert_refused(2, [self.path("none")], name, *words, "--config", self.path("none"))
            self.assert_refused(2, [self.folder], name, *words, "--config", self.folder)
        write_file(config, b"frobnicate = 1\n")
        self.assert_refused(2, [config, "frobnicate"], "dfs-admin", "--config", config, "status")
        self.assert_refused(2, [config, "frobnicate"], "dfs-master", *self.daemon_flags(), DFS_CONFIG=config)


class PlaceTest(RefusalTest):
    """Directories and addresses that cannot be used."""

    def test_mount_points_that_cannot_be_used_are_named(self):
        write_file(self.path("file"), b"")
        source = f"127.0.0.1:{self.port}"
        self.assert_refused(32, [self.path("none"), "No such file"], "dfs", source, self.path("none"))
        self.assert_refused(32, [self.path("file"), "not a directory"], "dfs", source, self.path("file"))
        self.assert_refused(32, [self.folder, "not empty", "nonempty"], "dfs", source, self.folder)
        self.assert_refused(32, [self.folder, "not a dfs mount"], "dfs", "-o", "remount,ro", source, self.folder)
        self.assert_refused(32, [self.folder, "not a dfs mount"], "umount.fuse.dfs", self.folder)
        self.assert_refused(32, [self.path("none")], "umount.fuse.dfs", self.path("none"))

    def test_masters_that_are_not_there_are_named(self):
        os.mkdir(self.path("mnt"))
        refused = f"127.0.0.1:{self.port}"
        self.assert_refused(32, [UNKNOWN_HOST, "unknown host"], "dfs", UNKNOWN_HOST, self.path("mnt"))
        self.assert_refused(32, [refused, "refused"], "dfs", refused, self.path("mnt"))
        self.assert_refused(3, [refused], "dfs-admin", "--master", refused, "status")
        self.assert_refused(3, [UNKNOWN_HOST, "unknown host"], "dfs-admin", "--master", UNKNOWN_HOST + ":9420", "status")

    def test_a_chunkserver_waits_for_a_master_of_unknown_name_and_says_so(self):
        server = subprocess.Popen([program("dfs-chunkserver"), *self.daemon_flags(), "--master",
                                   UNKNOWN_HOST + ":9420"], stderr=subprocess.PIPE, text=True)
        try:
            self.assertTrue(any(UNKNOWN_HOST in line and "unknown host" in line for line in server.stderr))
        finally:
            server.terminate()
            self.assertEqual(server.wait(30), 0)
            server.stderr.close()

    def test_servers_that_are_no_masters_are_given_up(self):
        os.mkdir(self.path("mnt"))
        for talk in (lambda peer: peer.recv(1 << 16), lambda peer: peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")):
            address = self.serve(talk)
            self.assert_refused(32, [address], "dfs", "-o", "connect_wait=2s", address, self.path("mnt"), limit_s=6)
            self.assert_refused(3, [address], "dfs-admin", "--master", address, "status", limit_s=30)

    def test_master_of_another_version_is_named_so(self):
        os.mkdir(self.path("mnt"))

        def answer(peer):
            connection = Connection(peer, b"ROUTER")
            while True:
                connection.receive()
                connection.send(NEWER_VERSION)
        address = self.serve(answer)
        self.assert_refused(32, ["version 7"], "dfs", address, self.path("mnt"))
        self.assert_refused(3, ["version 7"], "dfs-admin", "--master", address, "status")

    def serve(self, talk):
        """The address of a server that has `talk` with each connection."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def handle(peer):
            with peer:
                try:
                    talk(peer)
                    peer.recv(1 << 16)
                except (OSError, EOFError):
                    pass  # the program under test has gone, as it should

        def accept():
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=handle, args=(peer,), daemon=True).start()
        threading.Thread(target=accept, daemon=True).start()
        return "127.0.0.1:%d" % listener.getsockname()[1]

    def test_addresses_in_use_are_named(self):
        with socket.create_server(("127.0.0.1", 0)) as other:
            address = "127.0.0.1:%d" % other.getsockname()[1]
            for name in DAEMONS:
                self.assert_refused_with_log(name, [address], "--listen", address, "--data", self.path(name))

    def test_addresses_of_other_machines_are_named(self):
        for name in DAEMONS:
            self.assert_refused_with_log(name, ["192.0.2.1:9420"], "--listen", "192.0.2.1:9420", "--data",
                                         self.path(name))

    def test_data_directories_that_cannot_be_used_are_named(self):
        write_file(self.path("file"), b"")
        os.mkdir(self.path("readonly"))
        run("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", self.path("readonly"))
        self.addCleanup(run, "umount", self.path("readonly"))
        for name in DAEMONS:
            for data in [self.path("file"), self.path("file", "below"), self.path("readonly"),
                         self.path("readonly", "below")]:
                self.assert_refused_with_log(name, [data], "--listen", f"127.0.0.1:{self.port}", "--data", data)

    def assert_refused_with_log(self, name, names, *flags):
        """As assert_refused, for what is found out when logging has begun."""
        self.assert_refused(1, names, name, *flags, "--log-file", self.path("log"))


class DataDirectoryTest(ClusterTest):
    """Data directories that belong to somebody else, or to a program of the future."""

    def assert_daemon_refuses(self, names, *argv):
        done = subprocess.run([program(argv[0]), *map(str, argv[1:]), "--log-file", "/dev/null"], capture_output=True,
                              text=True, timeout=ANSWER_LIMIT_S, stdin=subprocess.DEVNULL, check=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        for name in names:
            self.assertIn(name, done.stderr)

    def test_directory_of_a_running_daemon_is_refused(self):
        cluster = self.new_cluster(servers=1, replicas=1)
        port = free_ports(1)[0]
        for name, data in [("dfs-master", os.path.join(cluster.folder, "master")),
                           ("dfs-chunkserver", cluster.data_folder(0))]:
            self.assert_daemon_refuses([data], name, "--listen", f"127.0.0.1:{port}", "--data", data)

    def test_directory_of_another_cluster_is_refused(self):
        own, other = self.new_cluster(servers=1, replicas=1), self.new_cluster(servers=1, replicas=1)
        other.servers[0].stop()
        data = other.data_folder(0)
        self.assert_daemon_refuses(["cluster"], "dfs-chunkserver", "--listen", f"127.0.0.1:{free_ports(1)[0]}",
                                   "--master", own.address, "--data", data)
        other.servers[0].start()
        other.wait_for_nodes(1)

    def test_directory_of_a_newer_format_is_refused_and_left_alone(self):
        cluster = self.new_cluster(servers=1, replicas=1)
        cluster.stop_daemons()
        format_file = os.path.join(cluster.data_folder(0), "format")
        newer = read_file(format_file).replace(b"format 1\n", b"format 99\n")
        write_file(format_file, newer)
        flags = ["--listen", f"127.0.0.1:{free_ports(1)[0]}"]
        self.assert_daemon_refuses(["99"], "dfs-chunkserver", *flags, "--master", cluster.address, "--data",
                                   cluster.data_folder(0))
        self.assertEqual(read_file(format_file), newer)
        database = os.path.join(cluster.folder, "master", "master.db")
        with sqlite3.connect(database) as connection:
            connection.execute("pragma user_version = 99")
        connection.close()
        self.assert_daemon_refuses(["99"], "dfs-master", *flags, "--data", os.path.join(cluster.folder, "master"))

    def test_files_of_somebody_else_are_not_taken_for_data(self):
        cluster = self.new_cluster(servers=1, replicas=1)
        cluster.stop_daemons()
        write_file(os.path.join(cluster.data_folder(0), "format"), b"a letter to my aunt\n")
        flags = ["--listen", f"127.0.0.1:{free_ports(1)[0]}"]
        self.assert_daemon_refuses(["format"], "dfs-chunkserver", *flags, "--master", cluster.address, "--data",
                                   cluster.data_folder(0))
        write_file(os.path.join(cluster.folder, "master", "master.db"), b"another letter, a longer one\n" * 100)
        self.assert_daemon_refuses(["master.db"], "dfs-master", *flags, "--data", os.path.join(cluster.folder, "master"))


class MountedTest(ClusterTest):
    def test_missing_subdirectory_is_named(self):
        cluster = self.new_cluster(servers=1, replicas=1)
        mount = cluster.mount()
        write_file(mount.path("file"), b"x")
        empty = cluster.make_folder("empty")
        os.mkdir(mount.path("folder"))
        os.symlink("folder", mount.path("link"))
        for name, why in [("none", "/none does not exist"), ("none/deeper", "/none does not exist"),
                          ("file", "/file is not a directory"), ("link", "/link is a symbolic link"),
                          ("./link/x", "/link is a symbolic link")]:
            done = run("mount", "-t", "fuse.dfs", f"{cluster.address}/{name}", empty, check=False)
            self.assertEqual(done.returncode, 32, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertIn("/" + name, done.stderr)
            self.assertIn(why, done.stderr)
        self.assertFalse(os.path.ismount(empty))

    def test_options_that_remounting_cannot_change_are_refused_by_name(self):
        cluster = self.new_cluster(servers=1, replicas=1)
        mount = cluster.mount(options=["mem_limit=64MiB", "write_wait=1m"])
        # As /etc/fstab has them, which mount(8) repeats.
        run("mount", "-o", "remount,ro,mem_limit=64M,write_wait=60s", mount.directory)
        for option in ["mem_limit=32MiB", "connect_wait=1s", "write_wait=2m", "umount_wait=1s", "log_level=debug",
                       "log_file=/none"]:
            done = run("mount", "-o", "remount,rw," + option, mount.directory, check=False)
            self.assertNotEqual(done.returncode, 0, option)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertIn(option.split("=")[0] + " cannot be changed while mounted", done.stderr)
        with self.assertRaises(OSError):
            write_file(mount.path("file"), b"")  # still read-only

    def test_file_info_names_who_may_buffer_what_it_does_not_count(self):
        cluster = self.new_cluster(servers=1, replicas=1)
        mount = cluster.mount()
        with open(mount.path("file"), "wb", buffering=0) as f:
            f.write(b"buffered")
            self.assertIn("being written by " + os.uname().nodename, cluster.admin("file", "info", "/file").stdout)
            self.assertIn(mount.directory, json.loads(cluster.admin("file", "info", "/file", "--json").stdout)["writer"])
        self.assertEqual(json.loads(cluster.admin("file", "info", "/", "--json").stdout)["writer"], "")

    def test_nonempty_directory_is_mounted_over_when_asked(self):
        cluster = self.new_cluster(servers=1, replicas=1)
        directory = cluster.make_folder("full")
        write_file(os.path.join(directory, "hidden"), b"still here")
        mount = cluster.mount("full", options=["nonempty"])
        self.assertEqual(os.listdir(directory), [])
        mount.umount()
        self.assertEqual(read_file(os.path.join(directory, "hidden")), b"still here")

    def test_paths_within_a_mount_are_told_as_they_are_in_the_filesystem(self):
        cluster = self.new_cluster(servers=1, replicas=1)
        mount = cluster.mount()
        os.mkdir(mount.path("x"))
        for path, told in [(mount.directory, "/"), (mount.path("x"), "/x"), (mount.path("x") + "//", "/x")]:
            policy = json.loads(cluster.admin("policy", "get", path, "--json").stdout)
            self.assertEqual(policy["path"], told)

    def test_admin_fails_when_its_output_cannot_be_written(self):
        cluster = self.new_cluster(servers=1, replicas=1)
        for words in (["status"], ["status", "--json"], ["fsck"]):
            with open("/dev/full", "w", encoding="utf-8") as full:
                done = subprocess.run([program("dfs-admin"), "--master", cluster.address, *words], stdout=full,
                                      stderr=subprocess.PIPE, text=True, timeout=ANSWER_LIMIT_S, check=False)
            self.assertEqual(done.returncode, 3, done.stderr)
            self.assertIn("output", done.stderr)

    def test_paths_that_are_not_there_are_named_by_admin(self):
        cluster = self.new_cluster(servers=1, replicas=1)
        for words in (["file", "info"], ["policy", "get"]):
            done = cluster.admin(*words, "/none/deeper", check=False)
            self.assertEqual((done.returncode, done.stderr.count("\n")), (3, 1), done.stderr)
            self.assertIn("/none", done.stderr)


class NetworkTest(ClusterTest):
    """Bytes that no dfs program sends. Afterwards everything works as before."""

    def setUp(self):
        self.cluster = self.new_cluster(servers=1, replicas=1)
        self.mount = self.cluster.mount()
        self.daemons = {self.cluster.address: self.cluster.master,
                        self.cluster.servers[0].argv[2]: self.cluster.servers[0]}
        self.written = 0

    def assert_serving(self):
        self.written += 1
        path = self.mount.path(f"file{self.written}")
        write_file(path, os.urandom(100_000), sync=True)
        self.assertEqual(self.cluster.status()["nodes_up"], 1)
        for daemon in self.daemons.values():
            self.assertTrue(daemon.is_running(), daemon.log()[-2000:])

    def each_connection(self):
        for address, daemon in self.daemons.items():
            connection = Connection.connect(address)
            self.addCleanup(connection.close)
            yield connection, daemon

    def assert_logged(self, daemon, text):
        self.cluster.wait_until(lambda: text in daemon.log(), f"{text!r} in the log of {daemon.name}:\n{daemon.log()[-2000:]}",
                                limit_s=20)

    def test_bytes_that_are_not_zeromq(self):
        rng = random.Random(1)
        for address in self.daemons:
            host, port = address.rsplit(":", 1)
            for data in [b"GET / HTTP/1.1\r\n\r\n", b"", bytes(4096), rng.randbytes(100_000), b"\xff" * 64,
                         b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)]:
                with socket.create_connection((host, int(port)), timeout=10) as peer:
                    try:
                        peer.sendall(data)
                    except OSError:
                        pass  # it has hung up on us, as it may
        self.assert_serving()

    def test_messages_that_are_garbage(self):
        rng = random.Random(2)
        for connection, daemon in self.each_connection():
            for body in [b"", b"\xc1", b"not msgpack", b"\xdd\xff\xff\xff\xff", b"\x9a" + bytes(3),
                         *(rng.randbytes(rng.randrange(1, 2000)) for _ in range(200))]:
                connection.send(body)
            connection.send(b"part", MORE)
            connection.send(b"bulk that belongs to nothing" * 1000)
            for _ in range(20):
                connection.send(b"x", MORE)
            connection.send(b"too many parts")
            self.assert_logged(daemon, "refused")
        self.assert_serving()

    def test_messages_of_another_version_are_answered_with_ours(self):
        for connection, daemon in self.each_connection():
            connection.send(NEWER_VERSION)
            self.assert_logged(daemon, "version 7")
            self.assertEqual(connection.receive()[1], 2, "the first element of the envelope is our version")
        self.assert_serving()

    def test_messages_that_are_too_large(self):
        for connection, _ in self.each_connection():
            connection.socket.sendall(struct.pack(">BQ", LONG, 1 << 40))
            try:
                # Whether it hangs up at the size or while the body comes: it takes no terabyte.
                for _ in range(64):
                    connection.socket.sendall(bytes(1 << 20))
                self.fail("64 MiB of one message were taken")
            except OSError:
                pass
        self.assert_serving()

    def test_half_a_message_and_silence_hold_up_nobody(self):
        idle = []
        for address in self.daemons:
            for _ in range(50):
                connection = Connection.connect(address)
                connection.socket.sendall(struct.pack(">BQ", LONG, 100_000) + b"half")
                idle.append(connection)
        self.assert_serving()
        for connection in idle:
            connection.close()


if __name__ == "__main__":
    unittest.main()
