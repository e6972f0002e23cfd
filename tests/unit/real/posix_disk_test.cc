#include "common/real/posix_disk.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "common/real/worker_pool.h"
#include "tests/unit/real/scratch_directory.h"

namespace dfs::real {
namespace {

using namespace std::chrono_literals;

Buffer bytes(std::string text) { return Buffer::adopt(std::move(text)); }

std::size_t open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

// Of the file's first `size` bytes: pages that are in the kernel's cache.
std::size_t cached_pages(const std::string& path, std::size_t size) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  void* const mapping = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  EXPECT_NE(mapping, MAP_FAILED);
  std::vector<unsigned char> pages(size / static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)));
  EXPECT_EQ(::mincore(mapping, size, pages.data()), 0);
  ::munmap(mapping, size);
  ::close(fd);
  return static_cast<std::size_t>(
      std::ranges::count_if(pages, [](unsigned char page) { return (page & 1) != 0; }));
}

void drop_cached_pages(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
  ::close(fd);
}

class PosixDiskTest : public ::testing::Test {
 protected:
  PosixDiskTest() : loop_(std::move(*EventLoop::create())), disk_(std::in_place, *loop_) {}

  std::shared_ptr<DiskFile> create(const std::string& name) {
    auto file = disk_->open(scratch_.path(name), OpenMode::kCreate);
    EXPECT_TRUE(file) << file.error().detail;
    return *file;
  }
  Status write(DiskFile& file, std::uint64_t offset, Buffer data) {
    std::optional<Status> status;
    file.write(offset, std::move(data), [&](Status s) { status = std::move(s); });
    EXPECT_FALSE(status) << "completed inside the call";
    EXPECT_TRUE(loop_->run_until([&] { return status.has_value(); }, 20s));
    return std::move(*status);
  }
  Result<Buffer> read(DiskFile& file, std::uint64_t offset, std::uint64_t size) {
    std::optional<Result<Buffer>> result;
    file.read(offset, size, [&](Result<Buffer> r) { result = std::move(r); });
    EXPECT_FALSE(result) << "completed inside the call";
    EXPECT_TRUE(loop_->run_until([&] { return result.has_value(); }, 20s));
    return std::move(*result);
  }

  ScratchDirectory scratch_;
  std::unique_ptr<EventLoop> loop_;
  std::optional<PosixDisk> disk_;
};

TEST_F(PosixDiskTest, written_bytes_are_read_back_small_and_large) {
  const auto file = create("file");
  std::uint64_t offset = 0;
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{4096},
                                 std::size_t{65536}, std::size_t{65537}, std::size_t{4} << 20}) {
    std::string text(size, 'x');
    for (std::size_t i = 0; i < size; ++i) {
      text[i] = static_cast<char>('a' + i % 23);
    }
    ASSERT_TRUE(write(*file, offset, bytes(text)));
    const auto back = read(*file, offset, size);
    ASSERT_TRUE(back);
    EXPECT_TRUE(back->text() == text) << size;
    offset += size;
  }
  EXPECT_EQ(*file->size_bytes(), offset);
}

TEST_F(PosixDiskTest, a_read_brings_in_what_was_asked_for_and_nothing_ahead_of_it) {
  constexpr std::size_t kFileBytes = std::size_t{4} << 20;
  const std::string path = scratch_.path("file");
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const auto file = create("file");
  ASSERT_TRUE(write(*file, 0, bytes(std::string(kFileBytes, 'x'))));
  std::optional<Status> synced;
  file->sync([&](Status status) { synced = std::move(status); });
  ASSERT_TRUE(loop_->run_until([&] { return synced.has_value(); }, 20s));
  drop_cached_pages(path);
  if (cached_pages(path, kFileBytes) != 0) {
    GTEST_SKIP() << scratch_.path() << " is on a file system that keeps its pages (tmpfs)";
  }

  ASSERT_TRUE(read(*file, 0, page));  // where the kernel takes a sequence to begin
  EXPECT_EQ(cached_pages(path, kFileBytes), 1U);
  ASSERT_TRUE(read(*file, page, page));  // and to go on
  EXPECT_EQ(cached_pages(path, kFileBytes), 2U);
}

TEST_F(PosixDiskTest, read_past_the_end_answers_what_there_is) {
  const auto file = create("file");
  ASSERT_TRUE(write(*file, 0, bytes("hello")));
  EXPECT_EQ(read(*file, 3, 100)->text(), "lo");
  EXPECT_EQ(read(*file, 0, 1 << 20)->text(), "hello");
  EXPECT_EQ(read(*file, 5, 100)->size(), 0u);
  EXPECT_EQ(read(*file, 500, 100)->size(), 0u);
  EXPECT_EQ(file->read_now(1, 3)->text(), "ell");
}

TEST_F(PosixDiskTest, truncate_cuts_the_file) {
  const auto file = create("file");
  ASSERT_TRUE(write(*file, 0, bytes("hello")));
  ASSERT_TRUE(file->truncate_now(2));
  EXPECT_EQ(*file->size_bytes(), 2u);
  EXPECT_EQ(scratch_.get("file"), "he");
}

TEST_F(PosixDiskTest, many_requests_at_once_all_complete) {
  const auto file = create("file");
  std::size_t written = 0;
  for (std::size_t i = 0; i < 2000; ++i) {
    file->write(i * 100, bytes(std::string(100, static_cast<char>('a' + i % 26))), [&](Status s) {
      EXPECT_TRUE(s);
      ++written;
    });
  }
  ASSERT_TRUE(loop_->run_until([&] { return written == 2000; }, 20s));
  std::size_t read_count = 0;
  for (std::size_t i = 0; i < 2000; ++i) {
    file->read(i * 100, 100, [&, i](Result<Buffer> r) {
      EXPECT_EQ(r->text(), std::string(100, static_cast<char>('a' + i % 26)));
      ++read_count;
    });
  }
  ASSERT_TRUE(loop_->run_until([&] { return read_count == 2000; }, 20s));
}

TEST_F(PosixDiskTest, every_waiting_sync_is_answered_in_order) {
  const auto file = create("file");
  std::vector<int> answered;
  for (int i = 0; i < 500; ++i) {
    file->sync([&, i](Status s) {
      EXPECT_TRUE(s);
      answered.push_back(i);
    });
  }
  ASSERT_TRUE(loop_->run_until([&] { return answered.size() == 500; }, 20s));
  EXPECT_TRUE(std::is_sorted(answered.begin(), answered.end()));
}

TEST_F(PosixDiskTest, sync_asked_for_in_a_completion_is_answered) {
  const auto file = create("file");
  int rounds = 0;
  std::function<void(Status)> again = [&](Status s) {
    EXPECT_TRUE(s);
    if (++rounds < 20) {
      file->sync(again);
    }
  };
  file->sync(again);
  EXPECT_TRUE(loop_->run_until([&] { return rounds == 20; }, 20s));
}

TEST_F(PosixDiskTest, failed_write_is_reported_with_its_reason) {
  auto full = disk_->open("/dev/full", OpenMode::kReadWrite);
  ASSERT_TRUE(full);
  for (const std::size_t size : {std::size_t{10}, std::size_t{1} << 20}) {
    const Status status = write(**full, 0, bytes(std::string(size, 'x')));
    ASSERT_FALSE(status);
    EXPECT_EQ(status.code(), ErrorCode::kNoSpace);
    EXPECT_NE(status.error().detail.find("/dev/full"), std::string::npos);
  }
}

TEST_F(PosixDiskTest, sync_that_failed_once_fails_for_ever) {
  auto unsyncable = disk_->open("/dev/null", OpenMode::kReadWrite);
  ASSERT_TRUE(unsyncable);
  for (int i = 0; i < 2; ++i) {
    std::optional<Status> status;
    (*unsyncable)->sync([&](Status s) { status = std::move(s); });
    ASSERT_TRUE(loop_->run_until([&] { return status.has_value(); }, 20s));
    EXPECT_EQ(status->code(), ErrorCode::kIo);
  }
}

TEST_F(PosixDiskTest, opening_tells_missing_from_existing) {
  EXPECT_EQ(disk_->open(scratch_.path("none"), OpenMode::kRead).code(), ErrorCode::kNotFound);
  EXPECT_EQ(disk_->open(scratch_.path("none"), OpenMode::kReadWrite).code(), ErrorCode::kNotFound);
  EXPECT_EQ(disk_->open(scratch_.path("no/dir"), OpenMode::kCreate).code(), ErrorCode::kNotFound);
  scratch_.put("here", "x");
  EXPECT_EQ(disk_->open(scratch_.path("here"), OpenMode::kCreate).code(), ErrorCode::kExists);
}

TEST_F(PosixDiskTest, lack_of_descriptors_is_no_failure_of_the_disk_and_names_the_limit) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 3;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const auto file = disk_->open(scratch_.path("file"), OpenMode::kCreate);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_EQ(file.code(), ErrorCode::kBusy);
  EXPECT_NE(file.error().detail.find("RLIMIT_NOFILE = 3"), std::string::npos)
      << file.error().detail;
}

TEST_F(PosixDiskTest, writing_a_file_opened_to_read_is_an_error) {
  scratch_.put("here", "x");
  const auto file = disk_->open(scratch_.path("here"), OpenMode::kRead);
  ASSERT_TRUE(file);
  EXPECT_EQ(write(**file, 0, bytes("y")).code(), ErrorCode::kIo);
  EXPECT_EQ(scratch_.get("here"), "x");
}

TEST_F(PosixDiskTest, directories_are_made_with_parents_and_listed_in_order) {
  const std::string deep = scratch_.path("a/b/c");
  ASSERT_TRUE(disk_->make_directory(deep));
  ASSERT_TRUE(disk_->make_directory(deep));
  scratch_.put("a/b/z", "");
  scratch_.put("a/b/.hidden", "");
  const auto names = disk_->list(scratch_.path("a/b"));
  ASSERT_TRUE(names);
  EXPECT_EQ(*names, (std::vector<std::string>{".hidden", "c", "z"}));
  EXPECT_EQ(disk_->make_directory(scratch_.path("a/b/z")).code(), ErrorCode::kNotDirectory);
  EXPECT_EQ(disk_->make_directory(scratch_.path("a/b/z/y")).code(), ErrorCode::kNotDirectory);
  EXPECT_EQ(disk_->list(scratch_.path("none")).code(), ErrorCode::kNotFound);
}

TEST_F(PosixDiskTest, rename_and_remove_report_what_is_missing) {
  scratch_.put("old", "x");
  ASSERT_TRUE(disk_->rename(scratch_.path("old"), scratch_.path("new")));
  EXPECT_EQ(scratch_.get("new"), "x");
  EXPECT_EQ(disk_->rename(scratch_.path("old"), scratch_.path("new")).code(), ErrorCode::kNotFound);
  ASSERT_TRUE(disk_->remove(scratch_.path("new")));
  EXPECT_EQ(disk_->remove(scratch_.path("new")).code(), ErrorCode::kNotFound);
}

TEST_F(PosixDiskTest, small_files_are_replaced_as_a_whole) {
  const std::string path = scratch_.path("format");
  EXPECT_EQ(disk_->read_file(path).code(), ErrorCode::kNotFound);
  for (const std::string& contents :
       {std::string("one"), std::string(10'000, 'x'), std::string(4096, 'y'), std::string()}) {
    ASSERT_TRUE(disk_->write_file(path, contents));
    EXPECT_EQ(*disk_->read_file(path), contents);
  }
  EXPECT_EQ(disk_->list(scratch_.path())->size(), 1u);
}

TEST_F(PosixDiskTest, failed_write_file_leaves_the_old_contents) {
  ASSERT_TRUE(disk_->write_file(scratch_.path("format"), "old"));
  // The place of the unfinished copy is taken by a directory.
  ASSERT_TRUE(disk_->make_directory(scratch_.path("format.new")));
  EXPECT_FALSE(disk_->write_file(scratch_.path("format"), "new"));
  EXPECT_EQ(scratch_.get("format"), "old");
}

TEST_F(PosixDiskTest, space_is_that_of_the_file_system) {
  const auto space = disk_->space(scratch_.path());
  ASSERT_TRUE(space);
  EXPECT_GT(space->total_bytes, 0u);
  EXPECT_LE(space->available_bytes, space->total_bytes);
  EXPECT_EQ(disk_->space(scratch_.path("none")).code(), ErrorCode::kNotFound);
}

TEST_F(PosixDiskTest, directories_are_synced_and_missing_ones_reported) {
  std::vector<ErrorCode> codes;
  disk_->sync_directory(scratch_.path(), [&](Status s) { codes.push_back(s.code()); });
  ASSERT_TRUE(loop_->run_until([&] { return codes.size() == 1; }, 20s));
  disk_->sync_directory(scratch_.path("none"), [&](Status s) { codes.push_back(s.code()); });
  ASSERT_TRUE(loop_->run_until([&] { return codes.size() == 2; }, 20s));
  EXPECT_EQ(codes, (std::vector<ErrorCode>{ErrorCode::kOk, ErrorCode::kNotFound}));
}

TEST_F(PosixDiskTest, no_descriptor_is_leaked) {
  const std::size_t before = open_descriptors();
  for (int i = 0; i < 10; ++i) {
    const auto file = create("file" + std::to_string(i));
    ASSERT_TRUE(write(*file, 0, bytes("x")));
    ASSERT_TRUE(disk_->write_file(scratch_.path("format"), "x"));
    ASSERT_TRUE(disk_->make_directory(scratch_.path("d" + std::to_string(i))));
    ASSERT_TRUE(disk_->list(scratch_.path()));
    ASSERT_FALSE(disk_->list(scratch_.path("none")));
  }
  EXPECT_TRUE(loop_->run_until([&] { return open_descriptors() == before; }, 20s));
}

TEST_F(PosixDiskTest, accepted_writes_are_written_even_when_the_disk_is_destroyed) {
  const auto file = create("file");
  const std::size_t size = 1 << 20;
  for (std::uint64_t i = 0; i < 8; ++i) {
    file->write(i * size, bytes(std::string(size, 'x')), [](Status) {});
  }
  disk_.reset();
  EXPECT_EQ(std::filesystem::file_size(scratch_.path("file")), 8 * size);
}

// What a callback keeps alive belongs to the core, so it must die in the loop's thread.
TEST_F(PosixDiskTest, callbacks_are_destroyed_in_the_thread_of_the_loop) {
  struct Witness {
    explicit Witness(int& count) : wrong(count) {}
    ~Witness() { wrong += std::this_thread::get_id() == made_in ? 0 : 1; }
    int& wrong;
    const std::thread::id made_in = std::this_thread::get_id();
  };
  const auto file = create("file");
  int wrong = 0;
  int done = 0;
  for (int i = 0; i < 200; ++i) {
    const auto witness = std::make_shared<Witness>(wrong);
    file->write(0, bytes(std::string(100'000, 'x')), [&, witness](Status) { ++done; });
    file->read(0, 100'000, [&, witness](Result<Buffer>) { ++done; });
    file->sync([&, witness](Status) { ++done; });
    disk_->sync_directory(scratch_.path(), [&, witness](Status) { ++done; });
  }
  ASSERT_TRUE(loop_->run_until([&] { return done == 800; }, 60s));
  disk_.reset();
  EXPECT_EQ(wrong, 0);
}

TEST(WorkerPool, runs_every_job_before_it_ends) {
  std::atomic<int> ran = 0;
  {
    WorkerPool pool(3);
    for (int i = 0; i < 1000; ++i) {
      pool.run([&] { ++ran; });
    }
  }
  EXPECT_EQ(ran, 1000);
}

}  // namespace
}  // namespace dfs::real
