"""What a client holds stays within 64 MiB above its mem_limit, however many write at once."""
import json
import os
import threading
import unittest

from cluster import ClusterTest
from trees import pattern

MIB = 1 << 20
WRITERS = 200
LIMIT_MIB = 32


class MemoryTest(ClusterTest):
    def status_mib(self, what):
        with open(f"/proc/{self.mount.client_pid()}/status", encoding="utf-8") as f:
            return int(next(line for line in f if line.startswith(what)).split()[1]) // 1024

    def waiting(self):
        """Calls that have waited for a second."""
        waits = json.loads(self.mount.cluster.admin("why", "--json", check=False).stdout)
        return len(waits["waits"]) + waits["unlisted"]

    def test_writes_that_wait_count_too(self):
        cluster = self.new_cluster()
        self.mount = cluster.mount(options=[f"mem_limit={LIMIT_MIB}MiB"])
        # Full of what can be given back.
        with open(self.mount.path("cached"), "wb") as f:
            f.write(pattern(0, LIMIT_MIB * MIB))
        with open(self.mount.path("cached"), "rb") as f:
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            f.read()
        files = [os.open(self.mount.path(f"f{i}"), os.O_CREAT | os.O_WRONLY, 0o600) for i in range(WRITERS)]
        self.addCleanup(lambda: [os.close(f) for f in files])
        content = pattern(1, MIB)
        taken = []
        threads = [threading.Thread(target=lambda f=f: taken.append(os.write(f, content))) for f in files]
        for server in cluster.servers:
            server.pause()
        for thread in threads:
            thread.start()
        # All but those whose bytes fit the buffer.
        cluster.wait_until(lambda: self.waiting() >= WRITERS - LIMIT_MIB // 4, "most writes wait", 20)
        self.assertLessEqual(self.status_mib("VmHWM"), LIMIT_MIB + 64)
        for server in cluster.servers:
            server.resume()
        for thread in threads:
            thread.join()
        self.assertEqual(taken, [MIB] * WRITERS)
        self.assertLessEqual(self.status_mib("VmHWM"), LIMIT_MIB + 64)


if __name__ == "__main__":
    unittest.main()
