// Reading through a whole Client, over chunkservers that misbehave.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "fuse-client/core/client.h"
#include "proto/block.h"
#include "tests/unit/client/fake_cluster.h"
#include "tests/unit/client/write_back_rig.h"

namespace dfs::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const InodeId kFile{7};

class ReaderTest : public testing::Test {
 protected:
  ReaderTest() {
    cluster_.on_other = [this](RpcServer& server, const RpcRequest& request) {
      return answer(server, request);
    };
    cluster_.files[kFile].attributes.policy = {.replicas = 2, .min_replicas = 2};
    client_ = std::make_unique<Client>(
        host_.world(),
        ClientOptions{.master = kFakeMaster, .name = "test", .write_wait = seconds(20)},
        ClientEvents{});
    std::optional<Status> started;
    client_->start([&](Status status) { started = std::move(status); });
    run_until([&] { return started.has_value(); });
    EXPECT_TRUE(started->has_value());
    std::optional<Result<OpenedFile>> opened;
    client_->open(kFile, {.write = true}, [&](Result<OpenedFile> file) { opened = file; });
    run_until([&] { return opened.has_value(); });
    handle_ = (*opened)->handle;
  }

  bool answer(RpcServer& server, const RpcRequest& request) {
    const ReplyAddress to = request.reply_address();
    if (request.envelope.type == MessageType::kReportBadReplica) {
      reports_.push_back(*decode_body<ReportBadReplicaRequest>(request.body));
      server.reply(to, EmptyReply{});
      return true;
    }
    if (request.envelope.type != MessageType::kRead) {
      return false;
    }
    ++reads_[server.address()];
    if (silent_.contains(server.address())) {
      return true;
    }
    const auto body = *decode_body<ReadRequest>(request.body);
    ranges_read_ += body.ranges.size();
    std::string bulk;
    ReadReply reply;
    for (const ReadRange& range : body.ranges) {
      reply.ranges.push_back(read(server.address(), body.chunk, range, bulk));
    }
    bulk += neighbours(server.address(), body);
    server.reply(to, reply, Buffer::copy_of(bulk));
    return true;
  }

  ReadRangeResult read(const Address& server, ChunkId chunk, const ReadRange& range,
                       std::string& bulk) {
    ReadRangeResult result;
    if (const auto error = errors_.find(server); error != errors_.end()) {
      if (const auto act = std::exchange(on_error_, nullptr)) {
        act();
      }
      result.code = static_cast<std::uint16_t>(error->second);
      return result;
    }
    const std::string& bytes = cluster_.chunks.at(chunk).bytes;
    result.first_cell = range.payload_offset / kChecksumCellBytes;
    const std::uint32_t begin = result.first_cell * kChecksumCellBytes;
    const std::uint32_t end = std::min(
        range.block_bytes,
        begin + cell_count(range.payload_offset + range.length_bytes - begin) * kChecksumCellBytes);
    std::string payload = bytes.substr(
        range.block_offset + block_prefix_bytes(range.block_bytes) + begin, end - begin);
    result.size_bytes = end - begin;
    result.checksums = cell_checksums(std::as_bytes(std::span(payload)));
    if (flipping_.contains(server)) {
      payload[payload.size() / 2] ^= 1;
    }
    bulk += payload;
    bytes_read_ += payload.size();
    return result;
  }

  std::string neighbours(const Address& server, const ReadRequest& request) {
    if (request.neighbours_until == 0) {
      return {};
    }
    EXPECT_EQ(request.ranges.size(), 1u);
    const ReadRange& range = request.ranges.front();
    const std::uint32_t end = range.block_offset + block_total_bytes(range.block_bytes);
    const std::string& chunk = cluster_.chunks.at(request.chunk).bytes;
    std::string bytes = chunk.substr(end, request.neighbours_until - end);
    if (damaged_neighbours_.contains(server) && !bytes.empty()) {
      bytes[bytes.size() / 2] ^= 1;
    }
    return bytes;
  }

  std::size_t requests() const {
    std::size_t all = 0;
    for (const auto& [server, count] : reads_) {
      all += count;
    }
    return all;
  }

  bool run_until(const std::function<bool()>& predicate) {
    return cluster_.events.run_until(predicate, std::chrono::minutes(5));
  }
  void write(std::uint64_t offset, const std::string& text) {
    std::optional<Status> done;
    client_->write(handle_, {.offset = offset}, Buffer::copy_of(text),
                   [&](Result<std::uint64_t> at) {
                     done = at ? Status(ok()) : Status(std::move(at).error());
                   });
    ASSERT_TRUE(run_until([&] { return done.has_value(); }));
    ASSERT_TRUE(done->has_value());
  }
  void sync() {
    std::optional<Status> done;
    client_->sync(handle_, [&](Status status) { done = status; });
    ASSERT_TRUE(run_until([&] { return done.has_value(); }));
    ASSERT_TRUE(done->has_value());
  }
  std::string read(std::uint64_t offset, std::uint32_t size) {
    std::optional<Result<std::vector<Buffer>>> done;
    client_->read(handle_, offset, size,
                  [&](Result<std::vector<Buffer>> bytes) { done = std::move(bytes); });
    EXPECT_FALSE(done.has_value()) << "answered inside the call";
    EXPECT_TRUE(run_until([&] { return done.has_value(); }));
    code_ = done->code();
    std::string text;
    for (const Buffer& buffer : done->has_value() ? **done : std::vector<Buffer>{}) {
      text += buffer.text();
    }
    return text;
  }
  std::vector<Address> replicas() const {
    std::vector<Address> all;
    for (const NodeId node : cluster_.chunks.begin()->second.nodes) {
      all.push_back(FakeCluster::address_of(node));
    }
    return all;
  }

  FakeCluster cluster_;
  FakeHost host_{cluster_.events, cluster_.network, "client", 7};
  std::map<Address, std::size_t> reads_;
  std::map<Address, ErrorCode> errors_;
  std::function<void()> on_error_;  // once, before the first of these is answered
  std::set<Address> silent_;
  std::set<Address> flipping_;
  std::set<Address> damaged_neighbours_;
  std::vector<ReportBadReplicaRequest> reports_;
  std::size_t ranges_read_ = 0;
  std::uint64_t bytes_read_ = 0;
  ErrorCode code_ = ErrorCode::kOk;
  HandleId handle_;
  std::unique_ptr<Client> client_;
};

TEST_F(ReaderTest, committed_bytes_dirty_bytes_and_holes_make_one_answer) {
  std::string expected = pattern(300'000, 1);
  write(0, expected);
  sync();
  write(100'000, "dirty");
  write(400'000, "end");
  expected.replace(100'000, 5, "dirty");
  expected.resize(400'000);
  expected += "end";
  EXPECT_EQ(read(0, 1u << 20), expected);
  EXPECT_EQ(read(99'990, 20), expected.substr(99'990, 20));
  EXPECT_EQ(read(399'990, 100), expected.substr(399'990));
  EXPECT_EQ(read(500'000, 100), "");
}

TEST_F(ReaderTest, what_was_read_is_not_fetched_again) {
  write(0, pattern(200'000, 2));
  sync();
  read(0, 200'000);
  const std::uint64_t before = bytes_read_;
  read(0, 200'000);
  read(12'345, 1000);
  EXPECT_EQ(bytes_read_, before);
}

TEST_F(ReaderTest, small_reads_at_random_fetch_little) {
  write(0, pattern(4u << 20, 3));
  sync();
  read(3'000'000, 4096);
  EXPECT_LE(bytes_read_, 64u * 1024);
}

TEST_F(ReaderTest, small_blocks_that_lie_together_come_together) {
  for (std::uint64_t at = 0; at < 5; ++at) {
    write(at * 1'000'000, pattern(5000, 20 + at));
  }
  sync();
  EXPECT_EQ(read(0, 5000), pattern(5000, 20));
  EXPECT_EQ(requests(), 1u);
  for (std::uint64_t at = 1; at < 5; ++at) {
    EXPECT_EQ(read(at * 1'000'000, 5000), pattern(5000, 20 + at));
  }
  EXPECT_EQ(requests(), 1u);
}

TEST_F(ReaderTest, a_damaged_neighbour_is_asked_for_when_it_is_wanted) {
  write(0, pattern(5000, 20));
  write(1'000'000, pattern(5000, 21));
  sync();
  // The block that is read is sound at first, the one that comes along is not.
  const Address first = replicas().front();
  const Address second = replicas().back();
  damaged_neighbours_ = {first, second};
  EXPECT_EQ(read(0, 5000), pattern(5000, 20));
  EXPECT_EQ(read(1'000'000, 5000), pattern(5000, 21));
  EXPECT_EQ(requests(), 2u);
}

TEST_F(ReaderTest, reading_in_a_row_runs_ahead) {
  const std::string expected = pattern(6u << 20, 4);
  write(0, expected);
  sync();
  for (std::uint64_t at = 0; at < 1u << 20; at += 131'072) {
    EXPECT_EQ(read(at, 131'072), expected.substr(at, 131'072));
  }
  cluster_.events.run_for(milliseconds(50));
  EXPECT_GE(bytes_read_, 4u << 20);
}

TEST_F(ReaderTest, a_silent_server_costs_one_pause_and_is_avoided_then) {
  const std::string expected = pattern(4u << 20, 5);
  write(0, expected);
  sync();
  cluster_.network.drop_host("node1");
  silent_.insert(replicas().front());
  cluster_.network.partition("client", "node1");
  const MonoTime begin = cluster_.events.now();
  for (std::uint64_t at = 3u << 20; at > 2u << 20; at -= 65'536) {
    EXPECT_EQ(read(at, 4096), expected.substr(at, 4096));
  }
  EXPECT_LE(cluster_.events.now() - begin, seconds(4));
}

TEST_F(ReaderTest, a_bad_checksum_means_the_other_replica_and_one_report) {
  const std::string expected = pattern(1u << 20, 6);
  write(0, expected);
  sync();
  flipping_.insert(replicas().front());
  for (std::uint64_t at = 0; at < 1u << 20; at += 32'768) {
    const std::uint64_t place = (at * 7) % (1u << 20);
    EXPECT_EQ(read(place, 4096), expected.substr(place, 4096));
  }
  ASSERT_EQ(reports_.size(), 1u);
  EXPECT_EQ(reports_[0].failure, static_cast<std::uint16_t>(ErrorCode::kCorrupt));
}

TEST_F(ReaderTest, no_good_replica_is_an_error_and_never_zeros) {
  write(0, pattern(10'000, 7));
  sync();
  for (const Address& server : replicas()) {
    flipping_.insert(server);
  }
  EXPECT_EQ(read(0, 10'000), "");
  EXPECT_EQ(code_, ErrorCode::kIo);
  EXPECT_TRUE(host_.log.contains("inode=7"));
  EXPECT_EQ(reports_.size(), 2u);
}

TEST_F(ReaderTest, unreachable_servers_are_waited_for) {
  const std::string expected = pattern(10'000, 8);
  write(0, expected);
  sync();
  for (const Address& server : replicas()) {
    silent_.insert(server);
    cluster_.network.partition("client", server.substr(0, server.find(':')));
  }
  cluster_.events.run_at(cluster_.events.now() + seconds(7), [this] {
    silent_.clear();
    cluster_.network.heal_all();
  });
  EXPECT_EQ(read(0, 10'000), expected);
}

// Another client changed the file while the servers were away, and what was there was deleted.
TEST_F(ReaderTest, a_chunk_that_is_gone_because_the_file_changed_is_no_error) {
  write(0, pattern(10'000, 8));
  sync();
  for (const Address& server : replicas()) {
    silent_.insert(server);
    errors_[server] = ErrorCode::kNoSuchChunk;
    cluster_.network.partition("client", server.substr(0, server.find(':')));
  }
  on_error_ = [this] {
    cluster_.files[kFile].extents.remove(0, 10'000);
    ++cluster_.files[kFile].attributes.data_version;
  };
  cluster_.events.run_at(cluster_.events.now() + seconds(7), [this] {
    silent_.clear();
    cluster_.network.heal_all();
  });
  EXPECT_EQ(read(0, 10'000), std::string(10'000, '\0'));
}

TEST_F(ReaderTest, a_read_that_waits_can_be_interrupted) {
  write(0, pattern(10'000, 9));
  sync();
  for (const Address& server : replicas()) {
    silent_.insert(server);
  }
  std::optional<ErrorCode> code;
  const OperationId id = client_->read(
      handle_, 0, 100, [&](Result<std::vector<Buffer>> bytes) { code = bytes.code(); });
  cluster_.events.run_for(milliseconds(100));
  client_->interrupt(id);
  ASSERT_TRUE(run_until([&] { return code.has_value(); }));
  EXPECT_EQ(*code, ErrorCode::kInterrupted);
}

TEST_F(ReaderTest, memory_stays_under_the_cap_and_is_given_back) {
  write(0, pattern(2u << 20, 10));
  sync();
  for (std::uint64_t at = 0; at < 2u << 20; at += 262'144) {
    read(at, 262'144);
  }
  cluster_.events.run_for(seconds(1));
  const ClientUsage usage = client_->usage();
  EXPECT_EQ(usage.in_flight_bytes, 0u);
  EXPECT_GT(usage.cached_bytes, 0u);
  EXPECT_LE(usage.cached_bytes + usage.dirty_bytes, 256u << 20);
}

}  // namespace
}  // namespace dfs::client
