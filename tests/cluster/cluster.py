"""A dfs cluster of real processes for tests: starts, kills, pauses and restarts its parts and mounts it
with mount(8). Everything is awaited by event: readiness through the daemons' own notification, ends
of processes by wait. Run as root."""
import json
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("DFS_TEST_BUILD", os.path.join(ROOT, "build"))
SCRATCH = os.environ.get("DFS_TEST_SCRATCH", "/var/tmp")
START_LIMIT_S = 30
STOP_LIMIT_S = 60
HELPERS = {"/sbin/mount.fuse.dfs": "dfs", "/sbin/umount.fuse.dfs": "umount.fuse.dfs"}


def program(name):
    return os.path.join(BUILD, name)


def run(*argv, check=True, timeout=300, **options):
    """A finished command; with `check` a failure raises with what the command said."""
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, errors="replace",
                          stdin=subprocess.DEVNULL, timeout=timeout, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, argv))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def free_ports(count, host="127.0.0.1"):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sockets = []
    for _ in range(count):
        s = socket.socket(family)
        s.bind((host, 0))
        sockets.append(s)
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def link_helpers():
    """mount(8) looks for its helpers in /sbin only. A package's own files are left alone, and end the
    test: it would be about their program. An empty file, of which mount(8) says nothing, goes."""
    for link, target in HELPERS.items():
        wanted = program(target)
        if os.path.islink(link):
            if os.readlink(link) == wanted:
                continue
            os.unlink(link)
        elif os.path.exists(link):
            if os.path.getsize(link) > 0:
                raise AssertionError(f"{link} is not of this build: remove it, or the package dfs-client, to run tests")
            os.unlink(link)
        os.symlink(wanted, link)


def read_log(path):
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


class Daemon:
    """One server process. Its log goes to a file; readiness is awaited on its notification socket."""

    def __init__(self, folder, name, argv):
        self.name, self.argv = name, [str(a) for a in argv]
        self.log_path = os.path.join(folder, name + ".log")
        self.notify_path = os.path.join(folder, name + ".notify")
        self.process = None

    def start(self):
        if os.path.exists(self.notify_path):
            os.unlink(self.notify_path)
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(self.notify_path)
        notify.settimeout(0.2)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            env={**os.environ, "NOTIFY_SOCKET": self.notify_path})
        limit = time.monotonic() + START_LIMIT_S
        with notify:
            while True:
                try:
                    if b"READY=1" in notify.recv(4096):
                        return self
                except socket.timeout:
                    pass
                if self.process.poll() is not None or time.monotonic() > limit:
                    raise AssertionError(f"{self.name} did not get ready:\n{self.log()[-3000:]}")

    def log(self):
        return read_log(self.log_path)

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        if self.is_running():
            self.process.kill()
        if self.process is not None:
            self.process.wait()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        """SIGTERM; returns the exit code."""
        if not self.is_running():
            return self.process.returncode if self.process else 0
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        return self.process.wait(STOP_LIMIT_S)


class Mount:
    """Its client logs to a file in the cluster's folder, unless the options name another. With an environment it is
    started without mount(8), which takes parts of that away."""

    def __init__(self, cluster, directory, source, options, environment=None):
        self.cluster, self.directory, self.source, self.options = cluster, directory, source, options
        self.environment = environment
        self.name = "client-" + os.path.relpath(directory, cluster.folder).replace("/", "-")
        self.log_path = os.path.join(cluster.folder, self.name + ".log")
        self.pid = None

    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    def mount(self):
        options = ["log_file=" + self.log_path, *self.options]  # the last of an option counts
        mount = ["mount", "-t", "fuse.dfs"] if self.environment is None else [program("dfs")]
        run(*mount, self.source, self.directory, "-o", ",".join(options), env=self.environment)
        # Asked for now: with the master dead, asking the mount would wait for it.
        self.pid = int(os.getxattr(self.directory, "dfs.client_pid"))
        self.cluster.clients.append(os.pidfd_open(self.pid))
        return self

    def umount(self, *flags, check=True):
        return run("umount", *flags, self.directory, check=check)

    def is_mounted(self):
        return is_mounted(self.directory)

    def client_pid(self):
        return self.pid

    def log(self):
        return read_log(self.log_path)

    def kill_client(self):
        """kill -9 of the client process; the dead mount stays."""
        pid = self.client_pid()
        pidfd = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        wait_for_end(pidfd)
        return pid

    def remount(self):
        self.umount()
        return self.mount()


class OrdinaryUser:
    """Somebody who is not root, with a folder of his own and a directory in it to mount at."""

    NAME = "nobody"

    def __init__(self, test):
        self.home = tempfile.mkdtemp(prefix="dfs-user-", dir=SCRATCH)
        test.addCleanup(shutil.rmtree, self.home, ignore_errors=True)
        user = pwd.getpwnam(self.NAME)
        self.ids = (user.pw_uid, user.pw_gid)
        os.chown(self.home, *self.ids)
        # As udev has it on machines where users mount.
        mode = os.stat("/dev/fuse").st_mode & 0o777
        test.addCleanup(os.chmod, "/dev/fuse", mode)
        os.chmod("/dev/fuse", 0o666)
        self.directory = os.path.join(self.home, "mnt")
        self.run(f"mkdir {self.directory}")
        test.addCleanup(run, "umount", "-l", self.directory, check=False)

    def run(self, command, check=True):
        return run("su", "-s", "/bin/sh", self.NAME, "-c", command, check=check, cwd="/")

    def mount(self, root, name, options=()):
        """Mounts a new directory of his, made in root's mount; nobody else may enter. The client's pid."""
        os.mkdir(root.path(name))
        os.chown(root.path(name), *self.ids)
        words = " ".join(f"-o {option}" for option in options)
        self.run(f"{program('dfs')} {words} {root.cluster.address}/{name} {self.directory}")
        show = "import os, sys; print(os.getxattr(sys.argv[1], 'dfs.client_pid').decode())"
        with self.start(show, self.directory, stdout=subprocess.PIPE) as shown:
            pid = int(shown.stdout.read())
        root.cluster.clients.append(os.pidfd_open(pid))
        return pid

    def start(self, script, *argv, **options):
        """A Python program that is his. He may not be able to read the interpreter and its modules himself."""
        uid, gid = self.ids
        become = f"import os, sys, threading; os.setgroups([]); os.setgid({gid}); os.setuid({uid})\n"
        return subprocess.Popen([sys.executable, "-c", become + script, *argv], cwd="/", **options)


def wait_for_end(pidfd, limit_s=STOP_LIMIT_S):
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    ended = poll.poll(limit_s * 1000)
    os.close(pidfd)
    if not ended:
        raise AssertionError("the process did not end")


class Cluster:
    """servers: how many chunkservers. space_mib: each gets a filesystem of its own of that size, or of its own size
    in a list."""

    def __init__(self, servers=3, replicas=2, min_replicas=None, space_mib=None, host="127.0.0.1",
                 master_options=(), server_options=(), master_program="dfs-master"):
        self.folder = tempfile.mkdtemp(prefix="dfs-test-", dir=SCRATCH)
        self.host = host
        self.bracketed = f"[{host}]" if ":" in host else host
        ports = free_ports(servers + 1, host)
        self.address = f"{self.bracketed}:{ports[0]}"
        self.images, self.mounts, self.server_options = [], [], list(server_options)
        self.clients = []  # descriptors of all client processes there were
        link_helpers()
        options = ["--replicas", replicas, "--heartbeat", "1s", *master_options]
        if min_replicas is not None:
            options += ["--min-replicas", min_replicas]
        self.master = Daemon(self.folder, "master", [
            program(master_program), "--listen", self.address, "--data", self.make_folder("master"), *options])
        spaces = space_mib if isinstance(space_mib, list) else [space_mib] * servers
        self.addresses = [f"{self.bracketed}:{port}" for port in ports[1:]]
        self.servers = [self.new_server(i, ports[i + 1], spaces[i]) for i in range(servers)]

    def make_folder(self, name):
        path = os.path.join(self.folder, name)
        os.makedirs(path, exist_ok=True)
        return path

    def new_server(self, index, port, space_mib):
        data = self.make_folder(f"chunks{index}")
        if space_mib:
            image = os.path.join(self.folder, f"chunks{index}.img")
            with open(image, "wb") as f:
                f.truncate(space_mib << 20)
            run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0", image)
            run("mount", "-o", "loop", image, data)
            self.images.append(data)
        return Daemon(self.folder, f"chunkserver{index}", [
            program("dfs-chunkserver"), "--listen", f"{self.bracketed}:{port}", "--master", self.address,
            "--data", data, "--reserve", "4MiB", *self.server_options])

    def data_folder(self, index):
        return os.path.join(self.folder, f"chunks{index}")

    def start(self):
        self.master.start()
        for server in self.servers:
            server.start()
        self.wait_for_nodes(len(self.servers))
        return self

    def admin(self, *words, check=True):
        return run(program("dfs-admin"), "--master", self.address, *words, check=check)

    def status(self):
        """The exit code tells the cluster's health; here only the figures matter."""
        return json.loads(self.admin("status", "--json", check=False).stdout)

    def wait_until(self, condition, what, limit_s=60):
        """For state that only the cluster knows: asks again until it is so."""
        limit = time.monotonic() + limit_s
        while not condition():
            if time.monotonic() > limit:
                raise AssertionError(f"waited {limit_s} s in vain: {what}")
            time.sleep(0.05)

    def wait_for_nodes(self, count):
        def up():
            try:
                return self.status()["nodes_up"] >= count
            except ValueError:
                return False  # the master does not answer yet
        self.wait_until(up, f"{count} servers up")

    def mount(self, name="mnt", subdirectory="", options=(), environment=None):
        source = self.address + ("/" + subdirectory if subdirectory else "")
        mount = Mount(self, self.make_folder(name), source, list(options), environment)
        self.mounts.append(mount)
        return mount.mount()

    def stop_daemons(self):
        for daemon in [*self.servers, self.master]:
            daemon.stop()

    def kill_daemons(self):
        for daemon in [*self.servers, self.master]:
            daemon.kill()

    def logs(self):
        clients = {mount.log_path: mount for mount in self.mounts}.values()  # a directory can be mounted twice
        return "\n".join(f"--- {each.name}\n{each.log()[-4000:]}"
                         for each in [self.master, *self.servers, *clients])

    def close(self):
        for mount in self.mounts:
            while is_mounted(mount.directory):
                run("umount", "-l", mount.directory)
        for daemon in [*self.servers, self.master]:
            if daemon.process is not None:
                daemon.kill()
        # One with something unwritten would offer it for minutes to whoever gets the ports next.
        for client in self.clients:
            try:
                signal.pidfd_send_signal(client, signal.SIGKILL)
            except ProcessLookupError:
                pass
            os.close(client)
        for image in self.images:
            run("umount", image, check=False)
        if os.environ.get("DFS_TEST_KEEP") != "1":
            shutil.rmtree(self.folder, ignore_errors=True)


def is_mounted(directory):
    """By the kernel's table: asking the mount itself could wait for its cluster."""
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        return any(line.split()[4] == directory for line in table)


class ClusterTest(unittest.TestCase):
    """A test with a cluster of its own, made by new_cluster and taken down whatever happens."""
    maxDiff = None

    def new_cluster(self, **arguments):
        cluster = Cluster(**arguments)
        self.addCleanup(cluster.close)
        self.addCleanup(self.show_logs, cluster)
        return cluster.start()

    def show_logs(self, cluster):
        outcome = self._outcome.result if self._outcome else None
        failed = [test for test, _ in [*outcome.failures, *outcome.errors]] if outcome else []
        if any(getattr(test, "test_case", test) is self for test in failed):  # also in a subTest
            print(cluster.logs())
