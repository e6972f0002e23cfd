"""What people run on several machines at once, on two mounts of one cluster: SQLite, git, make; and what asks much
of one: PostgreSQL, timers."""
import os
import pwd
import signal
import sqlite3
import subprocess
import sys
import unittest

from cluster import ClusterTest, run, wait_for_end
from trees import describe, difference, write_file

POSTGRES = "/usr/lib/postgresql"
LIMIT_S = 120

# Moves money between accounts: whoever reads sees the same sum, always.
SQLITE_WRITER = """
import random, sqlite3, sys
path, count, seed = sys.argv[1], int(sys.argv[2]), sys.argv[3]
rng = random.Random(seed)
database = sqlite3.connect(path, timeout=60, isolation_level=None)
for i in range(count):
    database.execute("begin immediate")
    a, b, much = rng.randrange(50), rng.randrange(50), rng.randrange(100)
    database.execute("update account set money = money - ? where k = ?", (much, a))
    database.execute("update account set money = money + ? where k = ?", (much, b))
    database.execute("insert into note values (?, ?, ?)", (seed, i, "n" * rng.randrange(2000)))
    database.execute("commit")
    money = database.execute("select sum(money) from account").fetchone()[0]
    assert money == 50 * 1000, money
"""

# Pushes a commit of its own; when somebody else was first, on top of theirs.
GIT_PUSHER = """
set -e
for i in $(seq "$1"); do
    echo "$i" > "$2.$i"
    git add .
    git commit -qm "$2 $i"
    until git push -q origin HEAD:main; do git pull -q --rebase origin main; done
done
"""


def finish(test, processes):
    """All ended well; else what the first that failed has said."""
    for process in processes:
        test.addCleanup(process.kill)
    for process in processes:
        said = process.communicate(timeout=LIMIT_S)[0]
        test.assertEqual(process.returncode, 0, said)


def start(*argv, **options):
    return subprocess.Popen([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            stdin=subprocess.DEVNULL, **options)


class TwoMountsTest(ClusterTest):
    def setUp(self):
        self.cluster = self.new_cluster()
        self.one, self.two = self.cluster.mount("one"), self.cluster.mount("two")


class SqliteTest(TwoMountsTest):
    def make_database(self, mode):
        database = sqlite3.connect(self.one.path("bank.db"), isolation_level=None)
        self.assertEqual(database.execute(f"pragma journal_mode = {mode}").fetchone(), (mode,))
        database.execute("create table account (k integer primary key, money integer)")
        database.execute("create table note (who text, i integer, text text)")
        database.executemany("insert into account values (?, 1000)", [(k,) for k in range(50)])
        database.close()

    def write_from(self, *mounts, count):
        finish(self, [start(sys.executable, "-c", SQLITE_WRITER, mount.path("bank.db"), count, i)
                      for i, mount in enumerate(mounts)])
        self.one.remount()
        database = sqlite3.connect(self.two.path("bank.db"))
        self.assertEqual(database.execute("pragma integrity_check").fetchone(), ("ok",))
        self.assertEqual(database.execute("select sum(money) from account").fetchone(), (50_000,))
        self.assertEqual(database.execute("select who, count(distinct i) from note group by who order by who").fetchall(),
                         [(str(i), count) for i in range(len(mounts))])
        database.close()

    def test_two_writers_on_two_mounts(self):
        self.make_database("delete")
        self.write_from(self.one, self.two, count=40)

    def test_a_write_ahead_log_of_several_processes_on_one_mount(self):
        self.make_database("wal")
        self.write_from(self.one, self.one, self.one, count=60)


class GitTest(TwoMountsTest):
    def test_pushes_from_two_mounts_into_one_repository(self):
        identity = {f"GIT_{who}_{what}": "x@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        environment = {**os.environ, **identity}
        run("git", "init", "-q", "--bare", "-b", "main", "hub.git", cwd=self.one.directory)
        first = os.path.join(self.cluster.make_folder("local"), "first")
        run("git", "clone", "-q", self.one.path("hub.git"), first)
        write_file(os.path.join(first, "README"), b"text\n")
        run("sh", "-ec", "git add .; git commit -qm first; git push -q origin HEAD:main", cwd=first, env=environment)
        pushers = []
        for name, mount in [("one", self.one), ("two", self.two)]:
            clone = mount.path("clone-" + name)
            run("git", "clone", "-q", mount.path("hub.git"), clone)
            pushers.append(start("sh", "-c", GIT_PUSHER, "push", 6, name, cwd=clone, env=environment))
        finish(self, pushers)
        for mount in (self.one, self.two):
            git = lambda *words: run("git", *words, cwd=mount.path("hub.git")).stdout
            git("fsck", "--full", "--strict")
            self.assertEqual(len(git("log", "--oneline", "main").splitlines()), 13)
            names = sorted(git("ls-tree", "--name-only", "main").split())
            self.assertEqual(names, sorted(["README"] + [f"{n}.{i}" for n in ("one", "two") for i in range(1, 7)]))


class MakeTest(TwoMountsTest):
    FILES = 60

    def make_project(self, folder):
        os.makedirs(os.path.join(folder, "include"))
        put = lambda name, text: write_file(os.path.join(folder, name), text.encode())
        for i in range(self.FILES):
            before = f'#include "part{i - 1}.h"\n' if i % 10 else ""
            put(f"include/part{i}.h", f"#pragma once\n{before}int part{i}(int);\n")
            call = f"part{i - 1}(x)" if i % 10 else "x"
            put(f"part{i}.c", f'#include "part{i}.h"\nint part{i}(int x) {{ return {call} + {i}; }}\n')
        calls = " + ".join(f"part{i}(0)" for i in range(9, self.FILES, 10))
        includes = "".join(f'#include "part{i}.h"\n' for i in range(9, self.FILES, 10))
        put("main.c", f'#include <stdio.h>\n{includes}int main(void) {{ printf("%d\\n", {calls}); return 0; }}\n')
        put("Makefile", "OBJECTS = $(patsubst %.c,%.o,$(wildcard *.c))\n"
            "prog: libparts.a main.o\n\t$(CC) -o $@ main.o libparts.a\n"
            "libparts.a: $(filter-out main.o,$(OBJECTS))\n\t$(AR) rcs $@ $^\n"
            "%.o: %.c\n\t$(CC) -Iinclude -MMD -c -o $@ $<\n"
            "-include $(OBJECTS:.o=.d)\n")

    def test_a_build_that_another_mount_watches(self):
        here, there = self.one.path("project"), self.two.path("project")
        self.make_project(here)
        watcher = start("sh", "-c", "until test -e done; do cat *.o *.d prog | wc -c; ls -lR; done > /dev/null 2>&1",
                        cwd=there)
        self.addCleanup(watcher.kill)
        run("make", "-j2", cwd=here)
        for folder in (here, there):
            run("make", "-q", cwd=folder)
            self.assertEqual(run("./prog", cwd=folder).stdout, f"{sum(range(self.FILES))}\n")
        self.assertEqual(difference(describe(here), describe(there)), "")
        # A header changed there has exactly what includes it made anew here, and is then done for both.
        run("touch", "include/part57.h", cwd=there)
        made = [line.split()[-1] for line in run("make", "-j2", cwd=here).stdout.splitlines() if " -c " in line]
        self.assertEqual(sorted(made), ["main.c", "part57.c", "part58.c", "part59.c"])
        run("make", "-q", cwd=there)
        write_file(os.path.join(here, "done"), b"")
        finish(self, [watcher])


def postgres_programs():
    """The folder of the newest version's programs, None without."""
    versions = sorted(os.listdir(POSTGRES), key=float) if os.path.isdir(POSTGRES) else []
    folders = [os.path.join(POSTGRES, version, "bin") for version in reversed(versions)]
    return next((f for f in folders if os.path.exists(os.path.join(f, "pg_amcheck"))), None)


@unittest.skipUnless(postgres_programs(), "needs the packages postgresql and postgresql-contrib")
class PostgresTest(ClusterTest):
    """Its data directory on the mount, and everything but the mount ends under it."""

    def setUp(self):
        self.cluster = self.new_cluster()
        os.chmod(self.cluster.folder, 0o755)
        self.mount = self.cluster.mount()
        self.data, self.sockets = self.mount.path("data"), self.cluster.make_folder("sockets")
        user = pwd.getpwnam("postgres")
        os.mkdir(self.data, 0o700)
        for folder in (self.data, self.sockets):
            os.chown(folder, user.pw_uid, user.pw_gid)
        self.user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": self.sockets,
                     "env": {"PGHOST": self.sockets, "PATH": os.environ["PATH"], "LC_ALL": "C"}}

    def do(self, name, *words):
        return run(os.path.join(postgres_programs(), name), *words, **self.user).stdout

    def start_server(self):
        self.server = subprocess.Popen([os.path.join(postgres_programs(), "postgres"), "-D", self.data, "-k", self.sockets,
                                        "-c", "listen_addresses="], stdin=subprocess.DEVNULL,
                                       stdout=subprocess.DEVNULL, stderr=self.log, **self.user)
        self.addCleanup(self.server.wait)
        self.addCleanup(self.server.kill)
        ready = lambda: run(os.path.join(postgres_programs(), "pg_isready"), "-q", check=False, **self.user).returncode
        self.cluster.wait_until(lambda: ready() == 0, "the database is up")

    def bench(self, seconds):
        return start(os.path.join(postgres_programs(), "pgbench"), "-n", "-c", 3, "-T", seconds, "bench", **self.user)

    def check(self):
        """The transactions are whole, tables and their indexes agree; how many transactions there are."""
        self.do("pg_amcheck", "--heapallindexed", "bench")
        sums = self.do("psql", "-tAc", "select (select coalesce(sum(delta), 0) from pgbench_history), "
                       "(select sum(abalance) from pgbench_accounts), (select sum(bbalance) from pgbench_branches), "
                       "(select count(*) from pgbench_history)", "bench").strip().split("|")
        self.assertEqual(sums[0], sums[1])
        self.assertEqual(sums[0], sums[2])
        return int(sums[3])

    def kill_server(self):
        """kill -9 of the first process; the others see it and end."""
        self.server.send_signal(signal.SIGSTOP)  # it starts no others meanwhile, and reaps none
        ended = [os.pidfd_open(int(pid)) for pid in
                 run("ps", "-o", "pid=", "--ppid", self.server.pid).stdout.split()]
        self.server.kill()
        self.server.wait()
        for pidfd in ended:
            wait_for_end(pidfd)

    def test_it_survives_kills_of_itself_the_master_and_a_server(self):
        self.do("initdb", "-D", self.data, "--data-checksums", "--no-sync", "-A", "trust")
        with open(os.path.join(self.cluster.folder, "postgres.log"), "w+", encoding="utf-8") as self.log:
            self.start_server()
            self.do("createdb", "bench")
            self.do("pgbench", "-i", "-q", "-s", "1", "bench")
            self.do("psql", "-qc", "create extension amcheck", "bench")
            running = self.bench(60)
            self.cluster.wait_until(lambda: self.count() > 100, "transactions")
            self.kill_server()
            running.communicate(timeout=LIMIT_S)
            self.start_server()
            before = self.check()
            self.assertGreater(before, 100)
            running = self.bench(6)
            for daemon in (self.cluster.master, self.cluster.servers[0]):
                done = self.count()
                daemon.kill()
                daemon.start()
                self.cluster.wait_until(lambda: self.count() > done, f"transactions after {daemon.name} was killed")
            finish(self, [running])
            self.assertGreater(self.check(), before)
            self.server.send_signal(signal.SIGINT)
            self.assertEqual(self.server.wait(LIMIT_S), 0)
            self.mount.remount()
            self.do("pg_checksums", "--check", "-D", self.data)
            self.log.seek(0)
            self.assertNotIn("PANIC", self.log.read())

    def count(self):
        return int(self.do("psql", "-tAc", "select count(*) from pgbench_history", "bench"))


class SignalsTest(ClusterTest):
    def test_caught_signals_interrupt_nothing(self):
        """A timer as fast as it gets, over calls that wait for the master and the servers."""
        self.mount = self.new_cluster().mount()
        script = """
import os, signal, sys
signal.signal(signal.SIGALRM, lambda *_: None)
libc = __import__("ctypes").CDLL(None, use_errno=True)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
for i in range(100):
    # Not through Python's own calls, which try again after EINTR.
    fd = libc.open(b"f%d" % i, os.O_CREAT | os.O_WRONLY, 0o600)
    assert fd >= 0, libc.perror(b"open")
    assert libc.write(fd, b"x" * 10000, 10000) == 10000, libc.perror(b"write")
    for call in (lambda: libc.fsync(fd), lambda: libc.close(fd), lambda: libc.rename(b"f%d" % i, b"g")):
        assert call() == 0, libc.perror(b"call")
signal.setitimer(signal.ITIMER_REAL, 0)
"""
        finish(self, [start(sys.executable, "-c", script, cwd=self.mount.directory)])


if __name__ == "__main__":
    unittest.main()
