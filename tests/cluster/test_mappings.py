"""Two mounts, and a file that one maps while both change it."""
import mmap
import os
import threading
import time

from cluster import ClusterTest
from trees import read_file, write_file

SIZE_MAX = 1 << 20


class MappingsTest(ClusterTest):
    def setUp(self):
        self.cluster = self.new_cluster()
        self.one, self.two = self.cluster.mount("one"), self.cluster.mount("two")
        write_file(self.one.path("f"), bytes(SIZE_MAX))
        self.fd = os.open(self.one.path("f"), os.O_RDWR)
        self.addCleanup(os.close, self.fd)
        self.mapping = mmap.mmap(self.fd, SIZE_MAX)  # Python maps no more than there is
        self.addCleanup(self.mapping.close)
        pipe = os.pipe()
        self.pipe_out, self.pipe_in = pipe
        for end in pipe:
            self.addCleanup(os.close, end)

    def mapped(self, begin, end):
        """As a program sees it. Behind the end of the file it is EFAULT, where a program gets SIGBUS."""
        with memoryview(self.mapping) as bytes_, bytes_[begin:end] as part:
            os.write(self.pipe_in, part)
        return os.read(self.pipe_out, end - begin)

    def test_both_truncate_what_both_have_written_to_through_mappings(self):
        """Each kernel holds back its pages until its truncation is answered, which waits for those of the other."""
        fds = [self.fd, os.open(self.two.path("f"), os.O_RDWR)]
        self.addCleanup(os.close, fds[1])
        mappings = [self.mapping, mmap.mmap(fds[1], SIZE_MAX)]
        self.addCleanup(mappings[1].close)
        half = SIZE_MAX // 2
        for i, sizes in enumerate(8 * ((SIZE_MAX, SIZE_MAX), (SIZE_MAX, half), (half, SIZE_MAX + 5000), (half, half + 9))):
            with self.subTest(round=i, sizes=sizes):
                self.truncate_both(fds, mappings, sizes, half)

    def truncate_both(self, fds, mappings, sizes, half):
        page = 4096
        os.truncate(self.one.path("f"), 0)
        os.pwrite(fds[0], b"c" * SIZE_MAX, 0)
        for me, mapping in enumerate(mappings):
            self.assertEqual(os.fstat(fds[me]).st_size, SIZE_MAX)  # for the mapping to be as long
            for at in (me * page, half + me * page):
                mapping[at:at + 1] = b"%d" % me
        together = threading.Barrier(2)
        took = []

        def change(me):
            together.wait()
            begin = time.monotonic()
            os.ftruncate(fds[me], sizes[me])
            took.append(time.monotonic() - begin)
            os.pwrite(fds[me], b"w%d" % me, (1 - me) * page + 1)  # what the other mount stores last is all of this page

        threads = [threading.Thread(target=change, args=(me,)) for me in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(took), 2)
        self.assertLess(max(took), 0.5)
        self.assertEqual(os.fstat(fds[0]).st_size, os.fstat(fds[1]).st_size)
        contents = [read_file(side.path("f")) for side in (self.one, self.two)]
        self.assertTrue(contents[0] == contents[1])
        self.assertIn(len(contents[0]), sizes)
        self.assertNotIn(b"c", contents[0][min(sizes):])  # what was cut off stays away
        for me in range(2):
            self.assertEqual(contents[0][me * page:me * page + 3], b"%dw%d" % (me, 1 - me))

    def test_the_size_that_is_told_holds_while_the_file_is_written_to_by_both(self):
        os.truncate(self.two.path("f"), 100)
        stop = threading.Event()

        def write():
            while not stop.is_set():
                os.pwrite(self.fd, b"w", 0)
                os.fstat(self.fd)

        writers = [threading.Thread(target=write) for _ in range(2)]
        for writer in writers:
            writer.start()
        try:
            size = 100
            with open(self.two.path("f"), "r+b", buffering=0) as there:
                for i in range(60):
                    length = 10 + i * 37 % 5000
                    there.seek(size)
                    there.write(bytes([i % 251 + 1]) * length)
                    size += length
                    self.assertEqual(os.fstat(self.fd).st_size, size)
                    self.assertEqual(self.mapped(size - 1, size), bytes([i % 251 + 1]), f"round {i}")
                    self.assertEqual(os.lseek(self.fd, 0, os.SEEK_END), size, f"round {i}")
        finally:
            stop.set()
            for writer in writers:
                writer.join()
