#include "fuse-client/core/dirty_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <optional>
#include <string>
#include <vector>

#include "tests/sim/sim_random.h"

namespace dfs::client {
namespace {

using Use = MemoryBudget::Use;
using Freeze = DirtyFile::Freeze;

constexpr std::size_t kMiB = 1u << 20;

class DirtyFileTest : public testing::Test {
 protected:
  void write(std::uint64_t offset, std::string_view text) {
    const std::uint64_t needed = file.memory_needed(offset, text.size());
    ASSERT_TRUE(memory.try_reserve(Use::kDirty, needed));
    std::uint64_t credit = needed;
    file.write(offset, std::as_bytes(std::span(text)), credit);
    EXPECT_EQ(credit, 0u) << "the estimate was not exact";
  }
  std::string text_of(const std::vector<DirtyRange>& ranges) const {
    std::string text;
    for (const DirtyRange& range : ranges) {
      text += range.data.text();
    }
    return text;
  }

  MemoryBudget memory{1u << 30};
  DirtyFile file{InodeId{1}, memory};
  std::uint64_t order = 1;
};

TEST_F(DirtyFileTest, small_writes_in_a_row_share_one_block) {
  for (std::uint64_t i = 0; i < 256; ++i) {
    write(i * 4096, std::string(4096, 'x'));
  }
  EXPECT_EQ(file.ranges(0, kMiB).size(), 1u);
  // Growth by doubling never holds more than twice the bytes.
  EXPECT_LE(memory.used(Use::kDirty), 2 * kMiB);
}

TEST_F(DirtyFileTest, a_rewrite_happens_in_place) {
  write(0, std::string(8192, 'x'));
  const std::uint64_t used = memory.used(Use::kDirty);
  EXPECT_EQ(file.memory_needed(1000, 4096), 0u);
  write(1000, std::string(4096, 'y'));
  EXPECT_EQ(memory.used(Use::kDirty), used);
  EXPECT_EQ(file.ranges(0, 8192).size(), 1u);
}

TEST_F(DirtyFileTest, bytes_handed_out_do_not_change_under_the_reader) {
  write(0, "before");
  const std::vector<DirtyRange> seen = file.ranges(0, 6);
  write(0, "after!");
  EXPECT_EQ(text_of(seen), "before");
  EXPECT_EQ(text_of(file.ranges(0, 6)), "after!");
  const std::vector<DirtyRange> second = file.ranges(0, 6);
  file.cut(3);
  write(3, "XYZ");
  EXPECT_EQ(text_of(second), "after!");
  EXPECT_EQ(text_of(file.ranges(0, 6)), "aftXYZ");
}

TEST_F(DirtyFileTest, blocks_never_cross_a_mebibyte) {
  write(kMiB - 100, std::string(3 * kMiB, 'z'));
  const auto blocks = file.freeze(Freeze::kAll, order);
  ASSERT_EQ(blocks.size(), 4u);
  for (const FlightBlockPtr& block : blocks) {
    EXPECT_EQ(block->file_offset / kMiB, (block->end() - 1) / kMiB);
  }
}

TEST_F(DirtyFileTest, neighbours_are_joined_when_frozen) {
  write(8192, std::string(4096, 'c'));
  write(0, std::string(4096, 'a'));
  write(4096, std::string(4096, 'b'));
  const auto blocks = file.freeze(Freeze::kAll, order);
  ASSERT_EQ(blocks.size(), 1u);
  EXPECT_EQ(blocks[0]->length, 12288u);
}

TEST_F(DirtyFileTest, freezing_full_blocks_leaves_the_rest) {
  write(0, std::string(2 * kMiB + 10, 'a'));
  EXPECT_EQ(file.freeze(Freeze::kFullBlocks, order).size(), 2u);
  EXPECT_EQ(file.buffered_bytes(), 10u);
  EXPECT_EQ(file.buffered_room(), block_total_bytes(10));
}

TEST_F(DirtyFileTest, a_split_block_shows_the_same_bytes) {
  std::string text(20000, ' ');
  for (std::size_t i = 0; i < text.size(); ++i) {
    text[i] = static_cast<char>(i / 100);
  }
  write(100, text);
  const FlightBlockPtr block = file.freeze(Freeze::kAll, order).front();
  block->checksums = cell_checksums(block->payload());
  const FlightBlockPtr second = file.split(block, 8192);
  EXPECT_EQ(block->length, 8192u);
  EXPECT_EQ(second->checksums, cell_checksums(second->payload()));
  EXPECT_EQ(block->checksums, cell_checksums(block->payload()));
  EXPECT_EQ(text_of(file.ranges(0, 1u << 20)), text);
  file.drop(block);
  EXPECT_EQ(text_of(file.ranges(0, 1u << 20)), text.substr(8192));
}

TEST_F(DirtyFileTest, old_bytes_fill_only_what_is_clean) {
  write(10, "new");
  const std::vector<DirtyRange> old = {{8, Buffer::copy_of(std::string_view("oldoldold"))}};
  const std::uint64_t needed = file.memory_needed_to_fill(old);
  ASSERT_TRUE(memory.try_reserve(Use::kDirty, needed));
  std::uint64_t credit = needed;
  file.fill(old, credit);
  memory.release(Use::kDirty, credit);
  EXPECT_EQ(text_of(file.ranges(0, 100)), "olnewdold");
}

// Random writes, freezes, drops, splits and cuts against an array of bytes.
class DirtyModel {
 public:
  explicit DirtyModel(std::uint64_t seed) : random_(seed), file_(InodeId{1}, memory_) {}

  void run(int steps) {
    for (int step = 0; step < steps && !testing::Test::HasFailure(); ++step) {
      one_step();
      if (step % 4 == 3) {
        check();
      }
    }
    while (!file_.flight().empty()) {
      file_.drop(file_.flight().front());
    }
    flight_.clear();
    file_.cut(0);
    EXPECT_EQ(memory_.used(Use::kDirty), 0u);
    EXPECT_EQ(file_.buffered_room(), 0u);
  }

 private:
  static constexpr std::size_t kSize = 3 * kMiB;
  using Bytes = std::vector<std::optional<char>>;

  void one_step() {
    switch (random_.below(12)) {
      case 0: freeze(random_.below(4) == 0 ? Freeze::kFullBlocks : Freeze::kAll); break;
      case 1: drop(); break;
      case 2: split(); break;
      case 3:
        if (random_.below(8) == 0) {
          cut();
        }
        break;
      default: write();
    }
  }

  void write() {
    const std::uint64_t sizes[] = {1, 100, 4096, 5000, 131072, kMiB};
    const std::uint64_t size = 1 + random_.below(sizes[random_.below(6)]);
    std::uint64_t offset = random_.below(3) == 0 ? last_end_ : random_.below(kSize);
    offset = std::min<std::uint64_t>(offset, kSize - 1);
    const std::uint64_t length = std::min<std::uint64_t>(size, kSize - offset);
    std::string text(length, static_cast<char>(random_.next_u64()));
    const std::uint64_t needed = file_.memory_needed(offset, length);
    ASSERT_TRUE(memory_.try_reserve(Use::kDirty, needed));
    std::uint64_t credit = needed;
    file_.write(offset, std::as_bytes(std::span(text)), credit);
    ASSERT_EQ(credit, 0u);
    std::fill_n(buffered_.begin() + static_cast<std::ptrdiff_t>(offset), length, text[0]);
    last_end_ = offset + length;
  }
  void freeze(Freeze what) {
    for (const FlightBlockPtr& block : file_.freeze(what, order_)) {
      Bytes bytes(block->length);
      for (std::uint32_t i = 0; i < block->length; ++i) {
        auto& byte = buffered_[block->file_offset + i];
        ASSERT_TRUE(byte.has_value());
        bytes[i] = byte;
        byte.reset();
      }
      flight_.emplace_back(block, std::move(bytes));
    }
  }
  void drop() {  // in the order of commits
    if (!flight_.empty()) {
      file_.drop(flight_.front().first);
      flight_.pop_front();
    }
  }
  void split() {
    if (flight_.empty() || flight_.front().first->length <= kChecksumCellBytes) {
      return;
    }
    auto& [block, bytes] = flight_.front();
    const std::uint32_t cells = (block->length - 1) / kChecksumCellBytes;
    const auto first = static_cast<std::uint32_t>(1 + random_.below(cells)) * kChecksumCellBytes;
    const FlightBlockPtr second = file_.split(block, first);
    Bytes rest(bytes.begin() + first, bytes.end());
    bytes.resize(first);
    flight_.insert(std::next(flight_.begin()), {second, std::move(rest)});
  }
  void cut() {
    const std::uint64_t size = random_.below(kSize);
    file_.cut(size);
    std::fill(buffered_.begin() + static_cast<std::ptrdiff_t>(size), buffered_.end(), std::nullopt);
  }

  void check() {
    Bytes expected(kSize);
    for (const auto& [block, bytes] : flight_) {
      std::copy(bytes.begin(), bytes.end(),
                expected.begin() + static_cast<std::ptrdiff_t>(block->file_offset));
    }
    for (std::size_t i = 0; i < kSize; ++i) {
      expected[i] = buffered_[i] ? buffered_[i] : expected[i];
    }
    const std::uint64_t begin = random_.below(kSize);
    const std::uint64_t end = begin + random_.below(kSize - begin + 1);
    Bytes seen(kSize);
    std::uint64_t position = begin;
    for (const DirtyRange& range : file_.ranges(begin, end)) {
      ASSERT_GE(range.file_offset, position);
      position = range.file_offset + range.data.size();
      ASSERT_LE(position, end);
      std::copy(range.data.text().begin(), range.data.text().end(),
                seen.begin() + static_cast<std::ptrdiff_t>(range.file_offset));
    }
    for (std::size_t i = begin; i < end; ++i) {
      if (seen[i] != expected[i]) {
        FAIL() << "another byte is seen at " << i;
      }
    }
    std::uint64_t furthest = 0;
    for (std::size_t i = kSize; i > 0 && furthest == 0; --i) {
      furthest = expected[i - 1] ? i : 0;
    }
    ASSERT_EQ(file_.end(), furthest);
  }

  sim::SimRandom random_;
  MemoryBudget memory_{1u << 30};
  DirtyFile file_;
  std::uint64_t order_ = 1;
  std::uint64_t last_end_ = 0;
  Bytes buffered_ = Bytes(kSize);
  std::list<std::pair<FlightBlockPtr, Bytes>> flight_;
};

TEST(DirtyFileModelTest, random_operations_match_an_array_of_bytes) {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    DirtyModel(seed).run(60);
  }
}

}  // namespace
}  // namespace dfs::client
