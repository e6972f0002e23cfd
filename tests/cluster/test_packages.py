"""The Debian packages, from building to purging: what they hold, that they run with what they install and
nothing else, and that neither an upgrade nor a purge hurts anybody's data.

systemd is not the first process here, so the daemons are started as their units say (user, command line,
umask), and what the units forbid is compared with what the daemons do, as strace sees it."""
import glob
import hashlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

from cluster import BUILD, ROOT, SCRATCH, START_LIMIT_S, STOP_LIMIT_S, free_ports, run
from debian_root import DebianRoot
from trees import pattern, write_file

DAEMONS = ["dfs-master", "dfs-chunkserver"]
EXPOSURE_MAX = 15  # of 100, as `systemd-analyze security` counts; what is left is the network, mostly
CONTENTS = {
    "dfs-client": ["/usr/bin/dfs", "/sbin/mount.fuse.dfs", "/sbin/umount.fuse.dfs",
                   "/usr/share/man/man8/dfs.8.gz", "/usr/share/man/man8/mount.fuse.dfs.8.gz",
                   "/usr/share/man/man8/umount.fuse.dfs.8.gz", "/usr/share/bash-completion/completions/dfs"],
    "dfs-common": ["/etc/dfs", "/usr/share/man/man5/dfs.conf.5.gz"],
    "dfs-master": ["/usr/sbin/dfs-master", "/lib/systemd/system/dfs-master.service", "/etc/dfs/master.conf",
                   "/usr/share/man/man8/dfs-master.8.gz", "/usr/share/bash-completion/completions/dfs-master"],
    "dfs-chunkserver": ["/usr/sbin/dfs-chunkserver", "/lib/systemd/system/dfs-chunkserver.service",
                        "/etc/dfs/chunkserver.conf", "/usr/share/man/man8/dfs-chunkserver.8.gz",
                        "/usr/share/bash-completion/completions/dfs-chunkserver"],
    "dfs-admin": ["/usr/sbin/dfs-admin", "/usr/share/man/man8/dfs-admin.8.gz",
                  "/usr/share/bash-completion/completions/dfs-admin"],
}
CONFFILES = {"dfs-master": "/etc/dfs/master.conf", "dfs-chunkserver": "/etc/dfs/chunkserver.conf"}
SERVER_PACKAGES = [name for name in CONTENTS if name != "dfs-client"]


def build_packages():
    """{package: file}. A folder of packages that were built before can be named by DFS_TEST_DEBS."""
    folder = os.environ.get("DFS_TEST_DEBS")
    if folder is None:
        folder = os.path.join(BUILD, "deb")
        run(os.path.join(ROOT, "packaging/deb/build"), folder, timeout=1500)
    return {name: glob.glob(os.path.join(folder, f"{name}_*.deb"))[0] for name in CONTENTS}


def repack_as_newer(package, folder):
    """The same package with a higher version."""
    tree = tempfile.mkdtemp(dir=folder)
    run("dpkg-deb", "-R", package, tree)
    control = os.path.join(tree, "DEBIAN/control")
    with open(control, encoding="utf-8") as f:
        text = f.read()
    version = re.search(r"^Version: (.*)$", text, re.M)[1]
    with open(control, "w", encoding="utf-8") as f:
        f.write(text.replace(version, version + "+newer"))
    target = os.path.join(folder, os.path.basename(package))
    run("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "-b", tree, target)
    shutil.rmtree(tree)
    return target


class Unit:
    """A systemd unit file, as far as it is needed to start its daemon without systemd."""

    def __init__(self, path):
        self.values = {}
        with open(path, encoding="utf-8") as f:
            for key, value in re.findall(r"^(\w+)=(.*)$", f.read(), re.M):
                self.values.setdefault(key, []).append(value)

    def get(self, key):
        return self.values[key][-1]

    def allowed_system_calls(self):
        """SystemCallFilter lines apply one after the other: the first allows, ~ takes away."""
        allowed = set()
        for line in self.values["SystemCallFilter"]:
            names = members_of(line.lstrip("~").split())
            allowed = allowed - names if line.startswith("~") else allowed | names
        return allowed


def members_of(names):
    members = set()
    for name in names:
        if name.startswith("@"):
            listed = run("systemd-analyze", "--no-pager", "syscall-filter", name).stdout.splitlines()[1:]
            members |= members_of([line.strip() for line in listed if line.strip() and "#" not in line])
        else:
            members.add(name)
    return members


class UnitProcess:
    """The daemon of a unit, in a DebianRoot, watched by strace."""

    def __init__(self, root, name, trace):
        self.root, self.name, self.trace = root, name, trace
        self.unit = Unit(root.path(f"lib/systemd/system/{name}.service"))
        self.process = None

    def start(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(b"\0" + os.urandom(8).hex().encode())  # a name that is the same in every root
            notify.settimeout(START_LIMIT_S)
            command = self.root.command(*self.unit.get("ExecStart").split(), as_user=self.unit.get("User"))
            with open(self.trace + ".log", "ab") as log:
                self.process = subprocess.Popen(
                    ["strace", "-D", "-f", "-qq", "-A", "-s", "64", "-o", self.trace, *command], stdin=subprocess.DEVNULL,
                    stdout=log, stderr=log, umask=int(self.unit.get("UMask"), 8),
                    env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                         "NOTIFY_SOCKET": "@" + notify.getsockname()[1:].decode()})
            try:
                if b"READY=1" not in notify.recv(4096):
                    raise AssertionError(f"{self.name} is not ready")
            except socket.timeout:
                raise AssertionError(f"{self.name} did not get ready:\n{self.log()}") from None

    def daemon_pid(self):
        """nsenter has forked, to get into the process namespace."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as f:
            return int(f.read().split()[0])

    def stop(self):
        pid = self.daemon_pid()
        ended = select.poll()
        pidfd = os.pidfd_open(pid)
        ended.register(pidfd, select.POLLIN)
        os.kill(pid, signal.SIGTERM)
        is_ended = bool(ended.poll(STOP_LIMIT_S * 1000))
        os.close(pidfd)
        if not is_ended:
            raise AssertionError(f"{self.name} did not stop on SIGTERM")
        return self.process.wait(STOP_LIMIT_S)

    def log(self):
        with open(self.trace + ".log", encoding="utf-8", errors="replace") as f:
            return f.read()

    def seen(self):
        """(system calls, address families) of the daemon itself, not of what started it."""
        calls, families, own = set(), set(), False
        with open(self.trace, encoding="utf-8", errors="replace") as f:
            for line in f:
                text = line.split(None, 1)[1]
                if text.startswith("execve("):
                    own = text.startswith('execve("%s"' % self.unit.get("ExecStart").split()[0])
                call = re.match(r"([a-z_0-9]+)\(", text)
                if own and call:
                    calls.add(call[1])
                    family = re.match(r"socket(?:pair)?\((AF_\w+)", text)
                    families |= {family[1]} if family else set()
        return calls, families


class PackagesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.packages = build_packages()

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="dfs-test-packages-", dir=SCRATCH)
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def new_root(self, name, packages):
        root = DebianRoot.copy(self.folder, name)
        self.addCleanup(root.close)
        root.install([self.packages[package] for package in packages])
        return root

    def check_contents(self, root, packages):
        for package in packages:
            listed = root.run("dpkg", "-L", package).stdout.splitlines()
            for path in CONTENTS[package]:
                self.assertIn(path, listed)
                self.assertTrue(os.path.lexists(root.path(path)), path)
            conffiles = root.run("dpkg-query", "-W", "-f", "${Conffiles}", package).stdout.split()[::2]
            self.assertEqual(conffiles, [CONFFILES[package]] if package in CONFFILES else [])
            self.assertEqual(root.run("dpkg", "--verify", package).stdout, "")

    def check_units(self, root):
        """Beside this machine's own units, since systemd is not installed in the root."""
        beside = os.path.join(self.folder, "units")
        shutil.copytree("/lib/systemd/system", os.path.join(beside, "lib/systemd/system"), symlinks=True)
        for name in DAEMONS:
            unit = f"{name}.service"
            path = root.path("lib/systemd/system", unit)
            shutil.copy(path, os.path.join(beside, "lib/systemd/system"))
            for key in ("ExecStart", "ExecReload"):
                program = Unit(path).get(key).split()[0].lstrip("/")
                os.makedirs(os.path.join(beside, os.path.dirname(program)), exist_ok=True)
                shutil.copy(root.path(program), os.path.join(beside, program))
            verified = run("systemd-analyze", "verify", "--man=no", "--root", beside, unit)
            self.assertEqual(verified.stderr, "")
            scripts = root.path("var/lib/dpkg/info", name)
            self.assertRegex(read(scripts + ".prerm"), rf"deb-systemd-invoke stop '?{unit}")
            self.assertRegex(read(scripts + ".postinst"), rf"_dh_action=restart[^$]*[^']*\$_dh_action '?{unit}")
            run("systemd-analyze", "security", "--no-pager", "--offline=true", f"--threshold={EXPOSURE_MAX}", path)

    def configure(self, root):
        """As an admin would: the port that is free here, and one copy for one server."""
        master, server = free_ports(2)
        edit(root.path("etc/dfs/master.conf"), {"listen": f"127.0.0.1:{master}", "replicas": "1"})
        edit(root.path("etc/dfs/chunkserver.conf"),
             {"listen": f"127.0.0.1:{server}", "master": f"127.0.0.1:{master}"})
        return f"127.0.0.1:{master}"

    def start_daemons(self, root):
        processes = [UnitProcess(root, name, os.path.join(self.folder, name)) for name in DAEMONS]
        for process in processes:
            process.start()
            pid = process.daemon_pid()
            self.assertEqual(os.readlink(f"/proc/{pid}/exe"), root.path(process.unit.get("ExecStart")))
            self.assertNotEqual(os.stat(f"/proc/{pid}").st_uid, 0)
        return processes

    def stop_daemons(self, processes):
        """Also: the units forbid nothing that the daemons have done."""
        for process in reversed(processes):
            self.assertEqual(process.stop(), 0, process.log())
            calls, families = process.seen()
            self.assertIn("epoll_wait", calls)
            self.assertEqual(calls - process.unit.allowed_system_calls(), set(), process.name)
            self.assertEqual(families - set(process.unit.get("RestrictAddressFamilies").split()), set(), process.name)

    def test_packages_from_installation_to_purge(self):
        server = self.new_root("server", SERVER_PACKAGES)
        client = self.new_root("client", ["dfs-client"])
        self.check_contents(server, SERVER_PACKAGES)
        self.check_contents(client, ["dfs-client"])
        self.check_units(server)
        self.assertFalse(glob.glob(server.path("etc/systemd/system/*/dfs-*")), "enabled before it is configured")

        master = self.configure(server)
        processes = self.start_daemons(server)
        os.mkdir(client.path("mnt/dfs"))
        client.run("mount", "-t", "fuse.dfs", master, "/mnt/dfs")
        local = client.path("root/data")
        write_file(local, pattern("packages", 20 << 20))
        client.run("cp", "-a", "/root/data", "/usr/share/perl5", "/mnt/dfs/")

        self.check_upgrade_while_mounted(client)
        processes = self.check_upgrade_of_servers(server, client, processes)
        client.run("umount", "/mnt/dfs")
        client.run("mount", "-t", "fuse.dfs", master, "/mnt/dfs")
        with open(local, "rb") as f:
            self.assertEqual(client.run("sha256sum", "/mnt/dfs/data").stdout.split()[0],
                             hashlib.sha256(f.read()).hexdigest())
        client.run("diff", "-r", "/usr/share/perl5", "/mnt/dfs/perl5")
        client.run("umount", "/mnt/dfs")

        self.check_removal(client, ["dfs-client"])
        self.assertFalse(os.path.lexists(client.path("sbin/mount.fuse.dfs")))
        self.stop_daemons(processes)
        self.check_purge_of_servers(server)

    def check_upgrade_while_mounted(self, client):
        copy = subprocess.Popen(client.command("sh", "-c", "cp -a /usr/share/perl5 /mnt/dfs/during && sync /mnt/dfs"))
        pid = client.run("sh", "-c", "pgrep -x dfs || ls -l /proc/*/exe | grep -c /usr/bin/dfs", check=False).stdout
        client.install([repack_as_newer(self.packages["dfs-client"], self.folder)])
        self.assertRegex(client.run("dpkg-query", "-W", "-f", "${Version}", "dfs-client").stdout, r"\+newer$")
        self.assertEqual(copy.wait(300), 0, pid)
        client.run("diff", "-r", "/usr/share/perl5", "/mnt/dfs/during")

    def check_upgrade_of_servers(self, server, client, processes):
        edited = {path: read(server.path(path)) for path in CONFFILES.values()}
        server.install([repack_as_newer(self.packages[name], self.folder) for name in SERVER_PACKAGES])
        for path, text in edited.items():
            self.assertEqual(read(server.path(path)), text, "an edited configuration file was replaced")
        # What the packages' scripts have systemd do.
        self.stop_daemons(processes)
        processes = self.start_daemons(server)
        client.run("cmp", "/root/data", "/mnt/dfs/data")
        client.run("sh", "-c", "echo after > /mnt/dfs/after && sync /mnt/dfs/after")
        return processes

    def check_removal(self, root, packages):
        root.run("apt-get", "-q", "-y", "remove", *packages)
        for package in packages:
            if package in CONFFILES:
                self.assertTrue(os.path.exists(root.path(CONFFILES[package])), "settings are gone before the purge")

    def check_purge_of_servers(self, server):
        self.check_removal(server, SERVER_PACKAGES)
        said = server.run("apt-get", "-q", "-y", "purge", *SERVER_PACKAGES).stdout
        for name in DAEMONS:
            data = "/var/lib/dfs/" + name[len("dfs-"):]
            self.assertRegex(said, rf"{name}: the data in {data} stays")
            self.assertTrue(os.listdir(server.path(data)), "the data is gone")
            self.assertFalse(os.path.exists(server.path(CONFFILES[name])))
        self.assertEqual(server.run("sh", "-c", "dpkg -l | grep dfs-", check=False).stdout, "")

    def test_purge_of_packages_that_never_ran_leaves_nothing(self):
        server = self.new_root("server", SERVER_PACKAGES)
        server.run("apt-get", "-q", "-y", "purge", *SERVER_PACKAGES)
        for path in ("etc/dfs", "var/lib/dfs", "var/log/dfs"):
            self.assertFalse(os.path.exists(server.path(path)), path)


def edit(path, values):
    """Sets keys in a configuration file, whether they stand in comments or not."""
    text = read(path)
    for key, value in values.items():
        text, count = re.subn(rf"^#?{key} =.*$", f"{key} = {value}", text, flags=re.M)
        assert count == 1, key
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


if __name__ == "__main__":
    unittest.main()
