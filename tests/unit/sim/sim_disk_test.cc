#include "tests/sim/sim_disk.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace dfs::sim {
namespace {

using std::chrono::seconds;

class SimDiskTest : public ::testing::Test {
 protected:
  SimDiskTest() { boot(1); }

  void boot(std::uint64_t seed) {
    kill();
    state_ = std::make_unique<SimDiskState>(seed);
    restart();
    EXPECT_TRUE(disk_->make_directory("/d"));
  }
  void kill() {
    disk_.reset();
    scheduler_.reset();
  }
  void restart() {
    kill();
    scheduler_ = std::make_unique<SimScheduler>(events_);
    disk_ = std::make_unique<SimDisk>(*scheduler_, *state_);
  }
  void power_loss() {
    kill();
    state_->crash();
    restart();
  }

  std::shared_ptr<DiskFile> open(const std::string& path, OpenMode mode) {
    auto file = disk_->open(path, mode);
    EXPECT_TRUE(file.has_value()) << path;
    return file ? *file : nullptr;
  }
  ErrorCode wait(const std::function<void(std::function<void(Status)>)>& start) {
    std::optional<ErrorCode> code;
    start([&](Status status) { code = status.code(); });
    EXPECT_FALSE(code.has_value()) << "completed inside the call";
    EXPECT_TRUE(events_.run_until([&] { return code.has_value(); }, seconds(1)));
    return code.value_or(ErrorCode::kInternal);
  }
  ErrorCode write(DiskFile& file, std::uint64_t offset, const std::string& text) {
    return wait([&](auto done) { file.write(offset, Buffer::copy_of(text), done); });
  }
  ErrorCode sync(DiskFile& file) {
    return wait([&](auto done) { file.sync(done); });
  }
  ErrorCode sync_directory(const std::string& path) {
    return wait([&](auto done) { disk_->sync_directory(path, done); });
  }
  std::string contents(const std::string& path) {
    const auto bytes = disk_->read_file(path);
    return bytes ? *bytes : error_code_name(bytes.code());
  }

  SimEvents events_;
  std::unique_ptr<SimDiskState> state_;
  std::unique_ptr<SimScheduler> scheduler_;
  std::unique_ptr<SimDisk> disk_;
};

TEST_F(SimDiskTest, bytes_written_are_read_and_survive_a_killed_process) {
  auto file = open("/d/f", OpenMode::kCreate);
  EXPECT_EQ(write(*file, 3, "hello"), ErrorCode::kOk);
  std::string got;
  file->read(0, 100, [&](Result<Buffer> bytes) { got = bytes.value().text(); });
  events_.run_for(seconds(1));
  EXPECT_EQ(got, std::string("\0\0\0hello", 8));
  restart();
  EXPECT_EQ(contents("/d/f").substr(3), "hello");
  EXPECT_EQ(file->size_bytes().code(), ErrorCode::kIo);  // a handle of the dead process
}

TEST_F(SimDiskTest, power_loss_keeps_what_was_synced_and_any_part_of_the_rest) {
  std::set<std::string> seen;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    boot(seed);
    auto file = open("/d/f", OpenMode::kCreate);
    EXPECT_EQ(write(*file, 0, "safe"), ErrorCode::kOk);
    EXPECT_EQ(sync(*file), ErrorCode::kOk);
    EXPECT_EQ(sync_directory("/d"), ErrorCode::kOk);
    EXPECT_EQ(write(*file, 4, std::string(1000, 'x')), ErrorCode::kOk);
    power_loss();
    const std::string found = contents("/d/f");
    EXPECT_EQ(found.substr(0, 4), "safe");
    EXPECT_LE(found.size(), 1004u);
    seen.insert(found);
  }
  EXPECT_TRUE(seen.contains("safe"));
  EXPECT_TRUE(seen.contains("safe" + std::string(1000, 'x')));
  EXPECT_TRUE(seen.contains("safe" + std::string(508, 'x')));  // torn at a sector
  EXPECT_TRUE(seen.contains("safe" + std::string(508, '\0') + std::string(492, 'x')));
}

TEST_F(SimDiskTest, a_sync_covers_only_what_was_written_when_it_was_asked_for) {
  bool lost = false;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    boot(seed);
    auto file = open("/d/f", OpenMode::kCreate);
    EXPECT_EQ(sync_directory("/d"), ErrorCode::kOk);
    EXPECT_EQ(write(*file, 0, "a"), ErrorCode::kOk);
    bool synced = false;
    file->sync([&](Status status) { synced = status.has_value(); });
    EXPECT_EQ(write(*file, 1, "b"), ErrorCode::kOk);
    EXPECT_TRUE(events_.run_until([&] { return synced; }, seconds(1)));
    power_loss();
    EXPECT_EQ(contents("/d/f").substr(0, 1), "a");
    lost |= contents("/d/f") == "a";
  }
  EXPECT_TRUE(lost);
}

TEST_F(SimDiskTest, names_are_sure_only_after_their_directory_is_synced) {
  std::set<std::string> seen;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    boot(seed);
    EXPECT_EQ(sync(*open("/d/kept", OpenMode::kCreate)), ErrorCode::kOk);
    EXPECT_EQ(sync_directory("/d"), ErrorCode::kOk);
    EXPECT_EQ(sync(*open("/d/new", OpenMode::kCreate)), ErrorCode::kOk);
    EXPECT_TRUE(disk_->rename("/d/new", "/d/renamed"));
    EXPECT_TRUE(disk_->remove("/d/kept"));
    power_loss();
    std::string names;
    const auto listed = disk_->list("/d");
    for (const std::string& name : listed.value()) {
      names += name + " ";
    }
    seen.insert(names);
  }
  EXPECT_EQ(seen, (std::set<std::string>{"kept ", "kept new ", "kept renamed ", "renamed "}));
}

TEST_F(SimDiskTest, write_file_is_atomic_and_durable) {
  ASSERT_TRUE(disk_->write_file("/d/format", "1"));
  power_loss();
  EXPECT_EQ(contents("/d/format"), "1");
  ASSERT_TRUE(disk_->remove("/d/format"));
  ASSERT_TRUE(disk_->write_file("/d/format", "2"));
  power_loss();
  EXPECT_EQ(contents("/d/format"), "2");
}

TEST_F(SimDiskTest, errors_are_those_of_the_port) {
  EXPECT_EQ(disk_->open("/d/none", OpenMode::kRead).code(), ErrorCode::kNotFound);
  EXPECT_EQ(disk_->open("/none/f", OpenMode::kCreate).code(), ErrorCode::kNotFound);
  auto file = open("/d/f", OpenMode::kCreate);
  EXPECT_EQ(disk_->open("/d/f", OpenMode::kCreate).code(), ErrorCode::kExists);
  EXPECT_EQ(disk_->remove("/d/none").code(), ErrorCode::kNotFound);
  EXPECT_EQ(disk_->rename("/d/none", "/d/x").code(), ErrorCode::kNotFound);
  EXPECT_EQ(disk_->list("/none").code(), ErrorCode::kNotFound);
  state_->set_faults("/d/", {.fail_reads = true});
  EXPECT_EQ(file->read_now(0, 1).code(), ErrorCode::kIo);
  state_->set_faults("/d/", {.fail_writes = true, .fail_syncs = true});
  EXPECT_EQ(write(*file, 0, "x"), ErrorCode::kIo);
  EXPECT_EQ(sync(*file), ErrorCode::kIo);
  state_->set_faults("/d/", {.read_only = true});
  EXPECT_EQ(write(*file, 0, "x"), ErrorCode::kReadOnly);
  EXPECT_EQ(disk_->open("/d/g", OpenMode::kCreate).code(), ErrorCode::kReadOnly);
  state_->clear_faults();
  EXPECT_EQ(write(*file, 0, "x"), ErrorCode::kOk);
}

TEST_F(SimDiskTest, space_is_bounded_and_comes_back) {
  state_->set_capacity(1000);
  auto file = open("/d/f", OpenMode::kCreate);
  EXPECT_EQ(write(*file, 0, std::string(900, 'x')), ErrorCode::kOk);
  EXPECT_EQ(disk_->space("/d")->available_bytes, 100u);
  EXPECT_EQ(write(*file, 900, std::string(101, 'x')), ErrorCode::kNoSpace);
  ASSERT_TRUE(disk_->remove("/d/f"));
  EXPECT_EQ(disk_->space("/d")->available_bytes, 1000u);
}

TEST_F(SimDiskTest, a_removed_file_lives_while_it_is_open) {
  auto file = open("/d/f", OpenMode::kCreate);
  EXPECT_EQ(write(*file, 0, "x"), ErrorCode::kOk);
  ASSERT_TRUE(disk_->remove("/d/f"));
  EXPECT_EQ(file->read_now(0, 1)->text(), "x");
  EXPECT_TRUE(disk_->list("/d")->empty());
}

TEST_F(SimDiskTest, a_flipped_bit_stays) {
  ASSERT_TRUE(disk_->write_file("/d/f", "abc"));
  EXPECT_TRUE(state_->flip_bit("/d/f", 1, 0));
  power_loss();
  EXPECT_EQ(contents("/d/f"), "acc");
  EXPECT_FALSE(state_->flip_bit("/d/f", 3, 0));
}

TEST_F(SimDiskTest, a_write_in_flight_when_the_process_dies_takes_effect_or_not_or_in_part) {
  std::set<std::string> seen;
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    boot(seed);
    auto file = open("/d/f", OpenMode::kCreate);
    bool completed = false;
    file->write(0, Buffer::copy_of("ab"), [&](Status) { completed = true; });
    restart();
    events_.run_for(seconds(1));
    EXPECT_FALSE(completed);
    seen.insert(contents("/d/f"));
  }
  EXPECT_EQ(seen, (std::set<std::string>{"", "a", "ab"}));
}

}  // namespace
}  // namespace dfs::sim
