#!/usr/bin/env python3
"""./dev bench: the same loads on a dfs mount and on the local disk beside it, and their ratio.

A fresh cluster (DFS_DEV_SERVERS servers, DFS_DEV_REPLICAS copies), its data and the local files on the same
disk, so the ratio tells what the file system costs. Every load starts with all dirty data written and
the kernel's caches empty; writing loads include an fsync or sync of what they wrote.
"""
import argparse
import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "cluster"))

LOCK = "/var/tmp/dfs-bench.lock"
MIB = 1 << 20


def run(*argv, **options):
    return subprocess.run([str(a) for a in argv], check=True, capture_output=True, text=True, **options).stdout


def settle(cold):
    os.sync()
    if cold:
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
            f.write("3")


def timed(work, cold=True):
    settle(cold)
    start = time.monotonic()
    work()
    return time.monotonic() - start


def fio(folder, rw, *options):
    settle(True)
    out = run("fio", "--name=bench", f"--directory={folder}", f"--rw={rw}", "--ioengine=psync", "--thread",
              "--group_reporting", "--fallocate=none", "--invalidate=0", "--output-format=json", *options)
    job = json.loads(out[out.index("{"):])["jobs"][0]
    return job["write" if "write" in rw else "read"]


class Loads:
    """Each load returns a figure where more is better."""

    def __init__(self, folder, quick):
        self.folder = folder
        self.size_mib, self.files = (128, 1000) if quick else (512, 4000)

    def path(self, *parts):
        return os.path.join(self.folder, *map(str, parts))

    def sequential_write(self):
        return fio(self.folder, "write", "--filename=seq", "--bs=1m", f"--size={self.size_mib}m",
                   "--end_fsync=1")["bw_bytes"] / 1e6

    def sequential_read(self):
        return fio(self.folder, "read", "--filename=seq", "--bs=1m", f"--size={self.size_mib}m")["bw_bytes"] / 1e6

    def random_read(self):
        return fio(self.folder, "randread", "--filename=seq", "--bs=4k", f"--size={self.size_mib}m",
                   "--runtime=3", "--time_based")["iops"]

    def random_write(self):
        return fio(self.folder, "randwrite", "--filename=seq", "--bs=4k", f"--size={self.size_mib}m",
                   "--runtime=3", "--end_fsync=1")["iops"]

    def random_write_fsync(self):
        return fio(self.folder, "randwrite", "--filename=seq", "--bs=4k", f"--size={self.size_mib}m",
                   "--runtime=3", "--time_based", "--fsync=1")["iops"]

    def small_create(self):
        os.mkdir(self.path("small"))

        def work():
            for i in range(self.files):
                with open(self.path("small", i), "wb") as f:
                    f.write(b"x" * 4096)
            run("sync", "-f", self.path("small"))
            folder = os.open(self.folder, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        return self.files / timed(work)

    def small_read(self):
        def work():
            for i in range(self.files):
                with open(self.path("small", i), "rb") as f:
                    f.read()
        return self.files / timed(work)

    def stat_cold(self):
        return self.files / timed(lambda: [os.stat(self.path("small", i)) for i in range(self.files)])

    def list_directory(self):
        return self.files / timed(lambda: [e.stat() for e in os.scandir(self.path("small"))])

    def rename(self):
        return self.files / timed(lambda: [os.rename(self.path("small", i), self.path("small", f"r{i}"))
                                           for i in range(self.files)])

    def unlink(self):
        return self.files / timed(lambda: [os.unlink(self.path("small", f"r{i}")) for i in range(self.files)])

    def untar(self):
        archive = "/var/tmp/dfs-bench.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add("/usr/include", "include")
        with tarfile.open(archive) as tar:
            members = len(tar.getmembers())
        os.mkdir(self.path("tree"))
        seconds = timed(lambda: run("tar", "-C", self.path("tree"), "-xf", archive))
        os.unlink(archive)
        return members / seconds

    def git_status(self):
        repo = self.path("tree")
        # No gc: it would go on in the background and keep the mount busy.
        git = ["git", "-c", "gc.auto=0", "-c", "user.name=b", "-c", "user.email=b@example.org"]
        run(*git, "init", "-q", cwd=repo)
        run(*git, "add", ".", cwd=repo)
        run(*git, "commit", "-qm", "bench", cwd=repo)
        return 1 / timed(lambda: run(*git, "status", cwd=repo))


LOADS = [("sequential_write", "MB/s"), ("sequential_read", "MB/s"), ("random_read", "IOPS"),
         ("random_write", "IOPS"), ("random_write_fsync", "IOPS"), ("small_create", "files/s"),
         ("small_read", "files/s"), ("stat_cold", "ops/s"), ("list_directory", "entries/s"),
         ("rename", "ops/s"), ("unlink", "ops/s"), ("untar", "files/s"), ("git_status", "1/s")]


def measure(folder, quick, label):
    loads = Loads(folder, quick)
    figures = {}
    for name, unit in LOADS:
        figures[name] = getattr(loads, name)()
        print(f"  {label:6} {name:20} {figures[name]:12.1f} {unit}", file=sys.stderr, flush=True)
    return figures


def machine():
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
        model = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), "unknown CPU")
    return f"{os.cpu_count()} x {model}, Linux {platform.release()}"


def print_table(local, mounted):
    print(f"{'load':20} {'unit':10} {'local disk':>12} {'dfs':>12} {'ratio':>7}")
    for name, unit in LOADS:
        print(f"{name:20} {unit:10} {local[name]:12.1f} {mounted[name]:12.1f} {mounted[name] / local[name]:7.2f}")
    print(machine())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, help="folder with the programs")
    parser.add_argument("--quick", action="store_true", help="smaller loads")
    parser.add_argument("--json", metavar="FILE", help="append one line of JSON with the figures")
    arguments = parser.parse_args()
    os.environ["DFS_TEST_BUILD"] = arguments.build
    from cluster import Cluster
    with open(LOCK, "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cluster = Cluster(servers=int(os.environ.get("DFS_DEV_SERVERS", "3")),
                          replicas=int(os.environ.get("DFS_DEV_REPLICAS", "2")))
        try:
            cluster.start()
            mount = cluster.mount()
            local = cluster.make_folder("local")
            local_figures = measure(local, arguments.quick, "local")
            shutil.rmtree(local)
            dfs_figures = measure(mount.directory, arguments.quick, "dfs")
            mount.umount()
        finally:
            cluster.close()
    print_table(local_figures, dfs_figures)
    if arguments.json:
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                                check=False).stdout.strip()
        with open(arguments.json, "a", encoding="utf-8") as f:
            f.write(json.dumps({"commit": commit, "machine": machine(), "local": local_figures,
                                "dfs": dfs_figures}) + "\n")


if __name__ == "__main__":
    main()
