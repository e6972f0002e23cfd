"""Trees of files for tests: made, described, compared."""
import hashlib
import os
import stat


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def describe(root):
    """Everything about a tree that must survive: a dict from relative path (bytes) to facts."""
    root = os.fsencode(root)
    facts = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            fact = [stat.S_IFMT(st.st_mode), stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid]
            if stat.S_ISLNK(st.st_mode):
                fact.append(os.readlink(path))
            elif stat.S_ISREG(st.st_mode):
                fact += [st.st_size, st.st_mtime_ns, st.st_nlink, sha256(path)]
            elif stat.S_ISDIR(st.st_mode):
                fact.append(st.st_mtime_ns)
            else:
                fact.append(st.st_rdev)
            facts[os.path.relpath(path, root)] = fact
    return facts


def difference(expected, found):
    """A sentence about the first few differences, '' if there are none."""
    lines = [f"missing {p!r}" for p in expected.keys() - found.keys()]
    lines += [f"unexpected {p!r}" for p in found.keys() - expected.keys()]
    lines += [f"{p!r}: {expected[p]} became {found[p]}" for p in expected.keys() & found.keys()
              if expected[p] != found[p]]
    return "; ".join(sorted(lines)[:5]) + (f" and {len(lines) - 5} more" if len(lines) > 5 else "")


def pattern(seed, size):
    """Bytes that differ in each 16-byte word and for each seed."""
    out = bytearray()
    counter = 0
    while len(out) < size:
        out += hashlib.sha512(f"{seed}:{counter}".encode()).digest() * 64
        counter += 1
    return bytes(out[:size])


def write_file(path, data, sync=False):
    with open(path, "wb") as f:
        f.write(data)
        if sync:
            f.flush()
            os.fsync(f.fileno())


def read_file(path):
    with open(path, "rb") as f:
        return f.read()


def make_special_tree(root):
    """Links, modes, times, devices and odd names, which no ordinary source tree has."""
    os.makedirs(os.path.join(root, "empty"))
    write_file(os.path.join(root, "set-id"), b"x")
    os.chmod(os.path.join(root, "set-id"), 0o6755)
    os.chown(os.path.join(root, "set-id"), 1234, 5678)
    os.chmod(os.path.join(root, "set-id"), 0o6755)
    os.link(os.path.join(root, "set-id"), os.path.join(root, "second-name"))
    os.symlink("no/such/target", os.path.join(root, "dangling"))
    os.mkfifo(os.path.join(root, "fifo"))
    os.mknod(os.path.join(root, "null"), stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mkdir(os.path.join(root, "sticky"))
    os.chmod(os.path.join(root, "sticky"), 0o1777)
    write_file(os.path.join(root, "naïve ☂ name"), b"utf-8")
    write_file(os.path.join(os.fsencode(root), b"invalid-\xff\xfe-utf8"), b"bytes")
    write_file(os.path.join(root, "n" * 255), b"long")
    for name, seconds in (("before-1970", -1_000_000_000), ("after-2038", 4_000_000_000)):
        write_file(os.path.join(root, name), b"t")
        os.utime(os.path.join(root, name), ns=(seconds * 10**9 + 123456789, seconds * 10**9 + 987654321))
    with open(os.path.join(root, "sparse"), "wb") as f:
        f.seek(5 << 30)
        f.write(b"end")
