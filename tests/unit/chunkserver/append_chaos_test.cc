// Appends under random loss, repetition, reordering, kills and power losses: what was answered is
// there, and the replicas agree once they are sealed.
#include <algorithm>

#include "tests/unit/chunkserver/chunkserver_rig.h"

namespace dfs::chunkserver {
namespace {

constexpr std::uint32_t kStart = kChunkHeaderBytes;

enum class Nuisance { kNone, kKill, kPowerLoss };

class AppendChaosTest : public ChunkserverRig, public testing::WithParamInterface<int> {
 protected:
  struct Sent {
    std::uint32_t end = 0;
    bool sync = false;
    Pending<AppendRequest> outcome;
    bool is_ok() const { return outcome->has_value() && outcome_of(outcome) == ErrorCode::kOk; }
  };

  // Sends appends, some of them before earlier ones are answered; something happens half-way.
  void run_writer(sim::SimRandom& random, Nuisance nuisance) {
    const std::size_t count = 5 + random.below(30);
    const std::size_t nuisance_at = random.below(count);
    std::uint32_t at = kStart;
    for (std::size_t i = 0; i < count; ++i) {
      const auto payload_bytes = static_cast<std::uint32_t>(1 + random.below(30'000));
      const std::string frame = blocks(at, {payload_bytes, 1 + payload_bytes / 7});
      const bool is_synced = random.below(4) == 0;
      const AppendRequest request = append_request(at, is_synced, {1, 2});
      at += static_cast<std::uint32_t>(frame.size());
      sent_.push_back({at, is_synced, send(0, request, frame)});
      events_.run_for(std::chrono::microseconds(random.below(3000)));
      if (i == nuisance_at && nuisance != Nuisance::kNone) {
        victim_ = random.below(kNodes);
        nuisance == Nuisance::kKill ? kill(victim_) : crash(victim_);
        start(victim_);
      }
    }
    const auto all_answered = [this] {
      return std::all_of(sent_.begin(), sent_.end(),
                         [](const Sent& sent) { return sent.outcome->has_value(); });
    };
    ASSERT_TRUE(events_.run_until(all_answered, seconds(120)));
  }

  // The end of what must be on `index` by the answers that were given.
  std::uint32_t promised_end(std::size_t index, Nuisance nuisance) const {
    std::uint32_t end = 0;
    for (const Sent& sent : sent_) {
      const bool is_lost = nuisance == Nuisance::kPowerLoss && index == victim_ && !sent.sync;
      if (sent.is_ok() && !is_lost) {
        end = sent.end;
      }
    }
    return end;
  }

  void seal_and_compare(Nuisance nuisance) {
    std::uint32_t length_bytes = kChunkBytesMax;
    std::uint32_t promised = 0;
    for (std::size_t i = 0; i < kNodes; ++i) {
      const auto fenced = fence(i, Epoch{2});
      ASSERT_TRUE(fenced);
      EXPECT_GE(fenced->body.replica.length_bytes, promised_end(i, nuisance)) << "node " << i;
      length_bytes = std::min(length_bytes, fenced->body.replica.length_bytes);
      promised = std::max(promised, promised_end(victim_, nuisance));
    }
    std::string contents;
    for (std::size_t i = 0; i < kNodes; ++i) {
      ASSERT_EQ(seal(i, length_bytes, Epoch{2}), ErrorCode::kOk) << "node " << i;
      if (length_bytes == 0) {
        EXPECT_TRUE(list(i).empty());
        continue;
      }
      const auto verified = call(i, VerifyReplicaRequest{kChunk});
      ASSERT_TRUE(verified);
      for (const std::uint32_t bad : verified->body.bad_block_offsets) {
        EXPECT_GE(bad, promised);
      }
      const auto file = node(i).state.open(chunk_path(".sealed"), OpenMode::kRead);
      ASSERT_TRUE(file);
      EXPECT_EQ((*file)->bytes().size(), length_bytes);
      const std::string head = (*file)->bytes().substr(0, promised);
      EXPECT_TRUE(i == 0 || head == contents);
      contents = head;
    }
  }

  std::vector<Sent> sent_;
  std::size_t victim_ = 0;
};

TEST_P(AppendChaosTest, what_was_answered_is_there_and_replicas_agree) {
  sim::SimRandom random(static_cast<std::uint64_t>(GetParam()));
  start_all();
  const auto nuisance = static_cast<Nuisance>(random.below(3));
  sim::SimNetworkFaults faults = network_.faults();
  faults.loss_per_million = static_cast<std::uint32_t>(random.below(3)) * 5'000;
  faults.duplicate_per_million = 20'000;
  faults.reorder_per_million = 50'000;
  network_.set_faults(faults);
  run_writer(random, nuisance);
  if (nuisance == Nuisance::kNone && faults.loss_per_million == 0) {
    EXPECT_TRUE(
        std::all_of(sent_.begin(), sent_.end(), [](const Sent& sent) { return sent.is_ok(); }));
  }
  network_.set_faults({});
  seal_and_compare(nuisance);
  for (std::size_t i = 0; i < kNodes; ++i) {
    const auto before = list(i);
    crash(i);
    start(i);
    const auto after = list(i);
    ASSERT_EQ(after.size(), before.size());
    EXPECT_TRUE(after.empty() ||
                (after[0].sealed && after[0].length_bytes == before[0].length_bytes));
  }
}

INSTANTIATE_TEST_SUITE_P(seeds, AppendChaosTest, testing::Range(1, 61));

}  // namespace
}  // namespace dfs::chunkserver
