// Random writes, flushes, cuts and discards over a bad network and failing servers, against a
// model: reads see every write that was taken, nothing is lost that the servers could take, and
// memory stays under its cap. The fakes check the order of syncs and commits.
#include "tests/unit/client/write_back_rig.h"

namespace dfs::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class WriteBackRandomTest : public WriteBackRig {
 protected:
  static constexpr std::uint64_t kFiles = 6;
  static constexpr std::uint64_t kFileBytes = 3u << 20;

  struct Model {
    InodeId inode;
    std::string bytes;
  };

  void prepare(std::uint64_t seed) {
    random = sim::SimRandom(seed);
    sim::SimNetworkFaults faults;
    faults.loss_per_million = static_cast<std::uint32_t>(random.below(20'000));
    faults.duplicate_per_million = static_cast<std::uint32_t>(random.below(20'000));
    faults.reorder_per_million = static_cast<std::uint32_t>(random.below(5'000));
    options.large_file_bytes = (1u << 20) + random.below(4u << 20);
    options.flush_bytes = 100'000 + random.below(8u << 20);
    cluster.chunk_capacity_bytes = (1u << 20) + static_cast<std::uint32_t>(random.below(20u << 20));
    if (random.below(2) == 0) {
      cluster.window_pieces_max = 8 + static_cast<std::uint32_t>(random.below(12));
    }
    start((8u << 20) + random.below(64u << 20));
    cluster.network.set_faults(faults);
    for (std::uint64_t i = 0; i < kFiles; ++i) {
      files.push_back({InodeId{next_inode++}, ""});
    }
  }

  void step() {
    Model& file = files[random.below(files.size())];
    switch (random.below(20)) {
      case 0: flush_some(file); break;
      case 1: cut_file(file); break;
      case 2: discard_file(file); break;
      case 3: disturb(); break;
      case 4: run_for(milliseconds(random.below(2000))); break;
      case 5: run_for(milliseconds(random.below(20))); break;
      default: write_some(file); break;
    }
    if (random.below(8) == 0) {
      EXPECT_EQ(visible(file.inode) == file.bytes, true) << "inode " << file.inode.value;
    }
    const std::uint64_t used =
        memory->used(MemoryBudget::Use::kDirty) + memory->used(MemoryBudget::Use::kInFlight);
    EXPECT_LE(used, memory->cap_bytes());
  }

  void write_some(Model& file) {
    const std::uint64_t sizes[] = {50, 4096, 131'072, 1u << 20};
    const std::uint64_t size = 1 + random.below(sizes[random.below(4)]);
    std::uint64_t offset =
        random.below(2) == 0 ? file.bytes.size() : random.below(file.bytes.size() + 5000);
    offset = std::min<std::uint64_t>(offset, kFileBytes);
    const std::string text = pattern(size, random.next_u64());
    ASSERT_EQ(write(file.inode, offset, text), ErrorCode::kOk);
    file.bytes.resize(std::max<std::size_t>(file.bytes.size(), offset + size));
    file.bytes.replace(offset, size, text);
  }
  void flush_some(const Model& file) {
    if (random.below(3) == 0) {
      flushes.push_back(start_flush_all(random.below(2) == 0));
    } else {
      flushes.push_back(start_flush(file.inode, random.below(2) == 0));
    }
  }
  void cut_file(Model& file) {
    const std::uint64_t size = random.below(file.bytes.size() + 1000);
    const auto cut = start_cut(file.inode, size);
    ASSERT_EQ(finish(cut), ErrorCode::kOk);
    FakeFile& stored = cluster.files[file.inode];
    stored.extents.remove(size, ~std::uint64_t{0});
    stored.attributes.size_bytes = size;
    write_back->make_cut(file.inode, size);
    write_back->release_cut(file.inode);
    file.bytes.resize(size);
  }
  void discard_file(Model& file) {
    write_back->discard(file.inode);
    cluster.remove_file(file.inode);
    file = {InodeId{next_inode++}, ""};
  }
  void disturb() {
    switch (random.below(6)) {
      case 0:
        cluster.append_errors[NodeId{static_cast<std::uint32_t>(1 + random.below(3))}] =
            ErrorCode::kIo;
        break;
      case 1: cluster.open_chunk_error = ErrorCode::kNotEnoughServers; break;
      case 2: cluster.is_holding_commits = true; break;
      case 3: cluster.expire_session(); break;
      default: calm(); break;
    }
    // Nothing lasts as long as write_wait.
    host.scheduler.run_after(seconds(5), [this] { calm(); });
  }
  void calm() {
    cluster.append_errors.clear();
    cluster.open_chunk_error = ErrorCode::kOk;
    cluster.release_commits();
  }

  void finish_all() {
    calm();
    flushes.push_back(start_flush_all());
    for (const CallPtr& call : flushes) {
      EXPECT_EQ(finish(call), ErrorCode::kOk);
    }
    for (const Model& file : files) {
      EXPECT_EQ(write_back->lost_writes(file.inode), 0u);
      EXPECT_EQ(cluster.contents(file.inode) == file.bytes, true) << file.inode.value;
    }
    run_for(seconds(90));
    EXPECT_EQ(memory->used(MemoryBudget::Use::kDirty), 0u);
    EXPECT_EQ(cluster.open_chunks(), 0u);
  }

  sim::SimRandom random{1};
  std::vector<Model> files;
  std::vector<CallPtr> flushes;
  std::uint64_t next_inode = 10;
};

class WriteBackSeedTest : public WriteBackRandomTest,
                          public testing::WithParamInterface<std::uint64_t> {};

TEST_P(WriteBackSeedTest, nothing_taken_is_lost) {
  prepare(GetParam());
  for (int i = 0; i < 300 && !HasFailure(); ++i) {
    step();
  }
  finish_all();
}

INSTANTIATE_TEST_SUITE_P(Seeds, WriteBackSeedTest, testing::Range<std::uint64_t>(1, 16));

}  // namespace
}  // namespace dfs::client
