// A WriteBack against the fake cluster.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>

#include "fuse-client/core/write_back.h"
#include "tests/unit/client/fake_cluster.h"

namespace dfs::client {

class WriteBackRig : public testing::Test {
 protected:
  static constexpr StoragePolicy kPolicy{.replicas = 2, .min_replicas = 2};

  ~WriteBackRig() override {
    if (write_back) {
      write_back.reset();
      EXPECT_EQ(memory->used(MemoryBudget::Use::kDirty), 0u);
      EXPECT_EQ(memory->used(MemoryBudget::Use::kInFlight), 0u);
    }
  }

  void start(std::uint64_t memory_bytes = 256u << 20) {
    memory = std::make_unique<MemoryBudget>(memory_bytes);
    links = std::make_unique<ChunkLinks>(host.world(), kChunkLinksMax);
    master = std::make_unique<MasterLink>(host.world(), kFakeMaster, "test");
    std::optional<Status> started;
    master->start(std::chrono::seconds(10), [&](Status status) { started = std::move(status); });
    ASSERT_TRUE(run_until([&] { return started.has_value(); }));
    ASSERT_TRUE(started->has_value());
    write_back = std::make_unique<WriteBack>(host.world(), *master, *links, *memory, options,
                                             write_back_events());
  }

  WriteBackEvents write_back_events() {
    WriteBackEvents events;
    events.committed = [this](InodeId, const std::vector<Extent>& extents, const FileCommitResult&,
                              const std::vector<ChunkLocation>& locations) {
      committed_extents += extents.size();
      EXPECT_FALSE(locations.empty());
    };
    events.read_committed = [this](InodeId inode, std::uint64_t offset, std::uint64_t length,
                                   Done<std::vector<DirtyRange>> done) {
      ++reads;
      std::vector<DirtyRange> ranges;
      for (const Extent& extent : cluster.files[inode].extents.find(offset, offset + length)) {
        ranges.push_back({extent.file_offset, Buffer::copy_of(cluster.bytes_of(extent))});
      }
      host.scheduler.run_after(read_delay, [done = std::move(done), ranges] { done(ranges); });
    };
    events.is_open = [this](InodeId) { return is_open; };
    if (has_leases) {
      events.may_write = [this](InodeId, const WritePlace&) { return may_write; };
      events.write_epoch = [this](InodeId) { return write_epoch; };
      events.want_lease = [this](InodeId inode) { wanted_leases.push_back(inode); };
      events.size_of = [](InodeId) { return std::uint64_t{0}; };
      events.lease_lost = [this](InodeId inode) { lost_leases.push_back(inode); };
    }
    return events;
  }

  bool run_until(const std::function<bool()>& predicate, Duration limit = std::chrono::minutes(5)) {
    return cluster.events.run_until(predicate, limit);
  }
  void run_for(Duration duration) { cluster.events.run_for(duration); }

  // A call whose outcome is kept.
  struct Call {
    std::optional<Status> status;
    bool is_done() const { return status.has_value(); }
    ErrorCode code() const { return status->code(); }
  };
  using CallPtr = std::shared_ptr<Call>;
  static Done<Unit> into(const CallPtr& call) {
    return [call](Status status) {
      EXPECT_FALSE(call->is_done()) << "answered twice";
      call->status = std::move(status);
    };
  }

  static Done<std::uint64_t> written_into(const CallPtr& call) {
    return [done = into(call)](Result<std::uint64_t> written) {
      done(written ? Status(ok()) : Status(std::move(written).error()));
    };
  }

  CallPtr start_write(InodeId inode, std::uint64_t offset, const std::string& text) {
    auto call = std::make_shared<Call>();
    last_wait = write_back->write(inode, kPolicy, {.offset = offset}, Buffer::copy_of(text),
                                  written_into(call));
    EXPECT_FALSE(call->is_done()) << "answered inside the call";
    return call;
  }
  ErrorCode write(InodeId inode, std::uint64_t offset, const std::string& text) {
    return finish(start_write(inode, offset, text));
  }
  CallPtr start_flush(InodeId inode, bool durable) {
    auto call = std::make_shared<Call>();
    write_back->flush(inode, durable, into(call));
    EXPECT_FALSE(call->is_done()) << "answered inside the call";
    return call;
  }
  ErrorCode flush(InodeId inode, bool durable = true) {
    return finish(start_flush(inode, durable));
  }
  CallPtr start_flush_all(bool durable = true) {
    auto call = std::make_shared<Call>();
    write_back->flush_all(durable, into(call));
    return call;
  }
  CallPtr start_cut(InodeId inode, std::uint64_t size) {
    auto call = std::make_shared<Call>();
    last_wait = write_back->cut(inode, size, [done = into(call)](const Result<bool>& forgot) {
      done(forgot ? Status(ok()) : Status(forgot.error()));
    });
    return call;
  }
  ErrorCode finish(const CallPtr& call) {
    EXPECT_TRUE(run_until([&] { return call->is_done(); })) << "never answered";
    return call->is_done() ? call->code() : ErrorCode::kInternal;
  }

  // What a reader sees: committed bytes under dirty ones.
  std::string visible(InodeId inode) const {
    std::string text = cluster.contents(inode);
    for (const DirtyRange& range : write_back->dirty_ranges(inode, 0, ~std::uint64_t{0})) {
      text.resize(std::max<std::size_t>(text.size(), range.file_offset + range.data.size()));
      text.replace(range.file_offset, range.data.size(), range.data.text());
    }
    return text;
  }

  FakeCluster cluster;
  FakeHost host{cluster.events, cluster.network, "client", 7};
  WriteBackOptions options;
  std::unique_ptr<MemoryBudget> memory;
  std::unique_ptr<ChunkLinks> links;
  std::unique_ptr<MasterLink> master;
  std::unique_ptr<WriteBack> write_back;
  WriteBack::WaitId last_wait;
  std::size_t committed_extents = 0;
  std::size_t reads = 0;
  bool has_leases = false;  // before start()
  std::uint64_t write_epoch = 5;
  bool may_write = true;
  bool is_open = true;
  std::vector<InodeId> wanted_leases;
  std::vector<InodeId> lost_leases;
  Duration read_delay = std::chrono::milliseconds(1);
};

// Bytes that differ from place to place.
inline std::string pattern(std::size_t size_bytes, std::uint64_t seed) {
  sim::SimRandom random(seed);
  std::string text(size_bytes, '\0');
  for (std::size_t i = 0; i < size_bytes; ++i) {
    text[i] = static_cast<char>(i % 8 == 0 ? random.next_u64() : text[i - 1] + 1);
  }
  return text;
}

}  // namespace dfs::client
