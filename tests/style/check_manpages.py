#!/usr/bin/env python3
"""What programs take and what is written about it must agree: the --help of each program with its man
page, its keys with dfs.conf(5) and the installed files, its flags with the bash completion. Pages must
also format without warnings. Programs are taken from $DFS_TEST_BUILD."""
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("DFS_TEST_BUILD", os.path.join(ROOT, "build"))
FILES = {"dfs-master": "MASTER.CONF", "dfs-chunkserver": "CHUNKSERVER.CONF", "dfs-admin": "ADMIN.CONF"}
ADMIN_COMMANDS = ["status", "node list", "file info", "policy get", "policy set", "fsck"]
NOT_KEYS = {"help", "version", "config"}
problems = []


def read(*parts):
    with open(os.path.join(ROOT, *parts), encoding="utf-8") as f:
        return f.read()


def expect_equal(what, said_by_program, written):
    for word in sorted(said_by_program - written):
        problems.append(f"{what}: {word} is missing")
    for word in sorted(written - said_by_program):
        problems.append(f"{what}: {word} does not exist in the program")


def help_of(program, *words):
    return subprocess.run([os.path.join(BUILD, program), *words, "--help"], check=True, capture_output=True,
                          text=True).stdout


def flags_in(text):
    """Flags of CLI11's help: "  -h,--help   …", without dashes."""
    return {name.lstrip("-") for line in re.findall(r"^  (-[-\w,]+)", text, re.M) for name in line.split(",")}


def settings_in(text):
    """{key: (variable, default)} of CLI11's help, which puts long names on a line of their own."""
    joined = re.sub(r"\n {20,}", " ", text)
    rows = re.findall(r"^  --([\w-]+)(?: [A-Z]+(?:=(\S+))?)? .*\[(DFS_\w+)\]$", joined, re.M)
    return {key: (variable, default) for key, default, variable in rows if key not in NOT_KEYS}


def sections(page):
    parts = re.split(r"^\.Sh (.*)$", page, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def items(section, macro):
    """Words that `.It Fl` or `.It Cm` introduce: ".It Fl h , Fl -help" gives h and help."""
    words = set()
    for line in re.findall(rf"^\.It {macro} (.*)$", section, re.M):
        line = re.split(r" (?:Ar|Ns|No|Pq|Op)\b", line)[0]
        words |= {word.lstrip("-") for word in line.split() if word not in (",", macro)}
    return words


def check_mount_page():
    page, text = sections(read("man", "dfs.8")), help_of("dfs")
    flags_text, options_text = text.split("\nOptions:\n")
    expect_equal("dfs(8)", {f.lstrip("-") for f in re.findall(r"^  (-[-\w]+)", flags_text, re.M)},
                 items(page["OPTIONS"], "Fl"))
    options = set()
    for column in re.findall(r"^  (\S.{,26}?)(?:  | as |$)", options_text, re.M):
        for option in column.split(", "):
            name = option.split("=")[0]
            options |= {name[4:], "no" + name[4:]} if name.startswith("[no]") else {name}
    expect_equal("dfs(8), mount options", options, items(page["MOUNT OPTIONS"], "Cm"))
    usage = help_of("umount.fuse.dfs").splitlines()[0]
    flags = {letter for group in re.findall(r"\[-(\w+)", usage) for letter in group}
    expect_equal("dfs(8), umount.fuse.dfs", flags, items(page["UNMOUNTING"], "Fl"))
    completion = set(re.findall(r"[\w=]+", re.search(r'local options="(.*?)"', read(
        "packaging", "completion", "dfs"), re.S)[1]))
    expect_equal("completion of dfs", options, {name.rstrip("=") for name in completion})


def check_program(program):
    page = sections(read("man", program + ".8"))
    text = help_of(program)
    flags, written = flags_in(text), items(page["OPTIONS"], "Fl")
    if program == "dfs-admin":
        expect_equal("dfs-admin(8)", flags, written)
        flags = flags.union(*(flags_in(help_of(program, *c.split())) for c in ADMIN_COMMANDS))
        written |= items(page["COMMANDS"], "Fl")
        for command in ADMIN_COMMANDS:
            if f".It Cm {command}" not in page["COMMANDS"]:
                problems.append(f"dfs-admin(8): the command {command} is missing")
    expect_equal(f"{program}(8)", flags, written)
    completion = read("packaging", "completion", program)
    mentioned = set(re.findall(r"(?<![\w-])--([a-z][a-z-]*)", completion))
    expect_equal(f"completion of {program}", flags - {"h"}, mentioned)


def check_keys(program):
    settings = settings_in(help_of(program))
    section = sections(read("man", "dfs.conf.5"))[FILES[program]]
    expect_equal(f"dfs.conf(5), {FILES[program]}", set(settings), items(section, "Cm"))
    for key, (variable, _) in settings.items():
        if not re.search(rf"^\.It Cm {key} .*Ev {variable}$", section, re.M):
            problems.append(f"dfs.conf(5), {FILES[program]}: {key} does not name {variable}")
    if program == "dfs-admin":
        return
    name = program[len("dfs-"):] + ".conf"
    lines = re.findall(r"^(#?)([\w-]+) = ?(.*)$", read("packaging", "deb", "conf", name), re.M)
    expect_equal(name, set(settings), {key for _, key, _ in lines})
    for comment, key, value in lines:
        default = settings.get(key, ("", ""))[1]
        if comment and default and value != default:
            problems.append(f"{name}: {key} shows {value} as default, the program has {default}")


def check_formatting():
    if shutil.which("man") is None:
        return  # lintian formats them too, when packages are built
    for name in sorted(os.listdir(os.path.join(ROOT, "man"))):
        done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z",
                               os.path.join(ROOT, "man", name)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              text=True, env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80"})
        if done.returncode != 0 or done.stderr:
            problems.append(f"man/{name}: {done.stderr.strip()}")


check_mount_page()
for each in FILES:
    check_program(each)
    check_keys(each)
check_formatting()
print("\n".join(problems) or "man pages, configuration files and completion agree with the programs")
sys.exit(1 if problems else 0)
