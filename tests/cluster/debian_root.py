"""A minimal Debian in a folder, to install packages in: made once by debootstrap and kept for the next
run, copied for each use.

A copy lives in a mount and process namespace of its own. Ending the one process that holds it ends
everything that was started and mounted in it, whatever state a test was in."""
import os
import shutil
import subprocess
import tempfile

from cluster import SCRATCH, run

SUITE = "bookworm"
KEPT = os.path.join(SCRATCH, "dfs-test-debian")
LIMIT_S = 900
# The network may be reached by root only, and downloads are kept beside the base.
APT = ["apt-get", "-q", "-y", "-o", "APT::Sandbox::User=root", "-o", "Dpkg::Use-Pty=0"]


def mirrors():
    """Where this machine's own apt gets the suite from: [(address, suite, component)]."""
    targets = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)",
                  "Created-By: Packages").stdout
    found = {tuple(line.split()) for line in targets.splitlines()}
    found = sorted(target for target in found if target[1].startswith(SUITE) and target[2] == "main")
    if not any(suite == SUITE for _, suite, _ in found):
        raise AssertionError(f"this machine's apt knows no mirror of {SUITE}")
    return found


def proxies():
    """This machine's apt proxies, as options."""
    lines = run("apt-config", "dump", "--format", "%f=%v%n").stdout.splitlines()
    return [word for line in lines if line.startswith("Acquire::") and "::Proxy" in line and not line.endswith("=")
            for word in ("-o", line)]


def base():
    """The folder of the kept minimal system; the first call takes minutes."""
    folder = os.path.join(KEPT, "base")
    if os.path.isdir(folder):
        return folder
    os.makedirs(os.path.join(KEPT, "archives", "partial"), exist_ok=True)
    # Renamed when it is whole, so that a run that is cut short leaves nothing that looks so.
    unfinished = tempfile.mkdtemp(prefix="unfinished-", dir=KEPT)
    try:
        address = next(address for address, suite, _ in mirrors() if suite == SUITE)
        run("debootstrap", "--variant=minbase", SUITE, unfinished, address, timeout=LIMIT_S)
        with open(os.path.join(unfinished, "etc/apt/sources.list"), "w", encoding="ascii") as f:
            f.writelines(f"deb {address} {suite} {component}\n" for address, suite, component in mirrors())
        shutil.rmtree(os.path.join(unfinished, "var/cache/apt/archives"))
        os.makedirs(os.path.join(unfinished, "var/cache/apt/archives/partial"))
        with DebianRoot(unfinished) as root:
            root.run(*APT, *proxies(), "update")
        os.chmod(unfinished, 0o755)
        os.rename(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


class DebianRoot:
    """What is run in `folder` sees it as its root."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("resolv.conf", "hosts"):
            shutil.copy(os.path.join("/etc", name), self.path("etc", name))
        open(self.path("dev/fuse"), "ab").close()
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--propagation", "private",
             "sh", "-ec", """
             mount -t proc proc "$0/proc"
             mount -t tmpfs tmpfs "$0/run"
             mount --bind /dev/fuse "$0/dev/fuse"
             mount --bind "$1" "$0/var/cache/apt/archives"
             echo ready
             exec sleep infinity""", folder, os.path.join(KEPT, "archives")],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        if self.holder.stdout.readline() != b"ready\n":
            self.close()
            raise AssertionError(f"no namespace for {folder}")
        with open(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children", encoding="ascii") as f:
            self.first_process = f.read().split()[0]

    @staticmethod
    def copy(parent, name):
        folder = os.path.join(parent, name)
        run("cp", "-a", "--reflink=auto", base(), folder)
        return DebianRoot(folder)

    def path(self, *parts):
        return os.path.join(self.folder, *(part.lstrip("/") for part in parts))

    def command(self, *argv, as_user=None):
        """How to run something inside, from outside."""
        user = [f"--userspec={as_user}:{as_user}"] if as_user else []
        return ["nsenter", "--target", self.first_process, "--mount", "--pid", "--", "chroot", *user, self.folder,
                *map(str, argv)]

    def run(self, *argv, check=True):
        environment = {**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8",
                       "DEBIAN_FRONTEND": "noninteractive"}
        return run(*self.command(*argv), check=check, timeout=LIMIT_S, env=environment)

    def install(self, packages):
        """Package files of this machine, and what they need from the mirror."""
        inside = []
        for package in packages:
            shutil.copy(package, self.path("tmp"))
            inside.append("/tmp/" + os.path.basename(package))
        words = [*APT, *proxies(), "--no-install-recommends", "install", *inside]
        done = self.run(*words, check=False)
        if done.returncode != 0:  # the kept lists may name versions that the mirror no longer has
            self.run(*APT, *proxies(), "update")
            done = self.run(*words)
        return done.stdout

    def close(self):
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
