#!/usr/bin/env python3
"""The house style, as far as a program can check it.

Layers, homes of third-party headers, banned words in cores, sizes, comments. Exceptions stand in
tests/style/exceptions.txt, one "RULE PATH" a line; the set may only shrink: an entry that is no longer
needed is an error too.
"""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EXCEPTIONS = "tests/style/exceptions.txt"

CC_LINES_MAX = 800
H_LINES_MAX = 250
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 100

# What a folder may include besides itself; longest prefix decides.
LAYERS = {
    "common/": ["common/"],
    "common/real/": ["common/"],
    "proto/": ["common/", "proto/"],
    "master/core/": ["common/", "proto/", "master/core/"],
    "master/store_sqlite/": ["common/", "proto/", "master/core/", "master/store_sqlite/"],
    "master/": ["common/", "proto/", "master/"],
    "chunkserver/core/": ["common/", "proto/", "chunkserver/core/"],
    "chunkserver/": ["common/", "proto/", "chunkserver/"],
    "fuse-client/core/": ["common/", "proto/", "fuse-client/core/"],
    "fuse-client/fuse/": ["common/", "proto/", "fuse-client/core/", "fuse-client/fuse/"],
    "fuse-client/": ["common/", "proto/", "fuse-client/"],
    "admin/": ["common/", "proto/", "admin/"],
}
NOT_BELOW_REAL = ["common/", "proto/", "master/core/", "chunkserver/core/", "fuse-client/core/",
                  "fuse-client/fuse/", "master/store_sqlite/"]

# Each third-party header has one home.
HOMES = {
    r"zmq": ["common/real/", "tests/unit/real/"],
    r"spdlog/": ["common/real/"],
    r"systemd/": ["common/real/"],
    r"CLI/": ["common/real/"],
    r"sqlite3": ["master/store_sqlite/", "tests/"],
    r"msgpack": ["proto/codec", "tests/"],
    r"fuse": ["fuse-client/fuse/", "tests/"],
    r"libmount/": ["fuse-client/mount/"],
    r"isa-l": ["common/crc32c.cc"],
    r"openssl/": ["common/real/"],
    r"nlohmann/": ["admin/", "tests/"],
}

CORES = ("common/", "proto/", "master/core/", "chunkserver/core/", "fuse-client/core/")
BANNED_IN_CORES = re.compile(
    r"(::now\(|\bsleep|\bsrand\b|\brand\(|random_device|std::thread|std::mutex|getenv|\bsocket\("
    r"|(?<![\w>])::open\(|fopen|std::ifstream|std::ofstream|\btry\b|\bcatch\b|\bthrow\b|co_await)")
UNORDERED_ITERATION = re.compile(r"for \(.*: *unordered_")

problems = []


def problem(rule, path, text, line=None):
    problems.append((rule, path, f"{path}{':' + str(line) if line else ''}: {text} [{rule}]"))


def tracked():
    out = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                         capture_output=True, text=True, check=True).stdout
    return [p for p in out.splitlines() if os.path.isfile(os.path.join(ROOT, p))]


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def longest_prefix(path, table):
    found = [p for p in table if path.startswith(p)]
    return max(found, key=len) if found else None


def check_includes(path, lines):
    layer = longest_prefix(path, LAYERS)
    for number, line in enumerate(lines, 1):
        match = re.match(r'#include ([<"])([^>"]+)[>"]', line)
        if not match:
            continue
        kind, header = match.groups()
        if kind == '"':
            if layer and header != "common/version.h" and \
                    not any(header.startswith(p) for p in LAYERS[layer]):
                problem("layer", path, f"{layer} must not include {header}", number)
            if header.startswith("common/real/") and not path.startswith("common/real/") and \
                    longest_prefix(path, NOT_BELOW_REAL):
                problem("layer", path, "only programs may include adapters: " + header, number)
        else:
            for pattern, homes in HOMES.items():
                if re.match(pattern, header) and not any(path.startswith(h) for h in homes):
                    problem("home", path, f"<{header}> belongs into {homes[0]}", number)


def without_comment(line):
    line = re.sub(r'"(\\.|[^"\\])*"', '""', line)
    return line.split("//")[0]


def check_words(path, lines):
    in_core = path.startswith(CORES) and not path.startswith("common/real/")
    codec = path.startswith("proto/codec")
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS_MAX:
            problem("columns", path, f"{len(line)} columns", number)
        if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line):
            problem("todo", path, "unfinished work is an issue, not a comment", number)
        code = without_comment(line)
        if in_core and not (codec and re.search(r"\b(try|catch|throw)\b", code)):
            match = BANNED_IN_CORES.search(code)
            if match:
                problem("pure", path, f"'{match.group(0).strip()}' in a core", number)
        if path.startswith(("tests/unit/", "tests/sim/")) and \
                re.search(r"sleep_for|usleep\(|(?<![\w:])sleep\([\w.]+\);", code):
            problem("sleep", path, "await the event instead", number)
        if "using namespace" in code and "chrono_literals" not in code and not code.startswith("  "):
            problem("namespace", path, "using namespace at file scope", number)


def check_functions(path, lines):
    """Bodies as clang-format lays them out: opened at the end of an unindented (or, in a class, two
    columns indented) line, closed by a brace in the same column."""
    start = {}
    for number, line in enumerate(lines, 1):
        indent = len(line) - len(line.lstrip())
        if indent > 2 or not line.strip():
            continue
        if line.rstrip().endswith("{") and "namespace" not in line and not re.match(
                r"\s*(class|struct|enum|union|extern|constexpr|const|static const|inline constexpr)\b", line):
            start[indent] = number
        elif line.strip() in ("}", "};") and indent in start:
            length = number - start.pop(indent)
            if length > FUNCTION_LINES_MAX:
                problem("function", path, f"a function of {length} lines", number - length)


def check_header(path, lines):
    text = [line for line in lines if line.strip()]
    if not text or not text[0].startswith("//"):
        problem("header", path, "begins with what it is for")
    if "#pragma once" not in lines:
        problem("header", path, "lacks #pragma once")


def check_sizes(path, lines):
    limit = CC_LINES_MAX if path.endswith(".cc") else H_LINES_MAX
    if len(lines) > limit:
        problem("size", path, f"{len(lines)} lines, at most {limit}")


def check_to_errno(path, text):
    if path.endswith("to_errno.cc") and re.search(r"^\s*default:", text, re.M):
        problem("errno", path, "to_errno has no default")


def check_folders(paths):
    for folder in ("common", "common/real", "proto", "master", "chunkserver", "fuse-client", "admin",
                   "tests", "packaging", "bench"):
        if any(p.startswith(folder + "/") for p in paths) and f"{folder}/README.md" not in paths:
            problem("readme", folder, "has no README.md")


def apply_exceptions():
    allowed = set()
    if os.path.exists(os.path.join(ROOT, EXCEPTIONS)):
        for line in read(EXCEPTIONS).splitlines():
            if line.strip() and not line.startswith("#"):
                rule, path = line.split()
                allowed.add((rule, path))
    used = {(rule, path) for rule, path, _ in problems} & allowed
    left = [text for rule, path, text in problems if (rule, path) not in allowed]
    for rule, path in sorted(allowed - used):
        left.append(f"{EXCEPTIONS}: '{rule} {path}' is not needed any more: remove it")
    return left


def main():
    paths = tracked()
    for path in paths:
        if not path.endswith((".h", ".cc")):
            continue
        text = read(path)
        lines = text.splitlines()
        check_includes(path, lines)
        check_words(path, lines)
        check_functions(path, lines)
        check_sizes(path, lines)
        check_to_errno(path, text)
        if path.endswith(".h"):
            check_header(path, lines)
    check_folders(paths)
    left = apply_exceptions()
    for text in left:
        print(text)
    print(f"style: {len(left)} problems in {sum(p.endswith(('.h', '.cc')) for p in paths)} files")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
