#include "master/core/placement.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "tests/sim/sim_random.h"

namespace dfs::master {
namespace {

constexpr std::uint64_t kMiB = 1u << 20;
constexpr std::uint64_t kGiB = 1u << 30;

PlacementNode node(std::uint32_t id, std::string zone, std::uint64_t room, std::uint32_t load = 0,
                   bool avoid = false) {
  return {NodeId{id}, std::move(zone), room, load, avoid};
}

std::size_t zones_of(const std::vector<PlacementNode>& nodes, const std::vector<NodeId>& chosen) {
  std::set<std::string> zones;
  for (const PlacementNode& candidate : nodes) {
    if (std::find(chosen.begin(), chosen.end(), candidate.node) != chosen.end()) {
      zones.insert(candidate.zone);
    }
  }
  return zones.size();
}

TEST(Placement, too_few_servers_and_too_little_room_are_told_apart) {
  sim::SimRandom random(1);
  const std::vector<PlacementNode> one{node(1, "", kGiB)};
  EXPECT_EQ(place_chunk(one, {3, 2}, random).code(), ErrorCode::kNotEnoughServers);
  EXPECT_EQ(place_chunk({}, {1, 1}, random).code(), ErrorCode::kNotEnoughServers);
  const std::vector<PlacementNode> full{node(1, "", kGiB), node(2, "", kMiB - 1)};
  EXPECT_EQ(place_chunk(full, {2, 2}, random).code(), ErrorCode::kNoSpace);
  EXPECT_EQ(place_chunk(full, {3, 3}, random).code(), ErrorCode::kNotEnoughServers);
}

TEST(Placement, a_full_server_is_one_copy_less_as_one_that_is_away) {
  sim::SimRandom random(1);
  std::vector<PlacementNode> nodes{node(1, "", kGiB), node(2, "", kMiB - 1), node(3, "", kGiB)};
  const auto placed = place_chunk(nodes, {3, 2}, random);
  ASSERT_TRUE(placed);
  EXPECT_EQ(std::set<NodeId>(placed->nodes.begin(), placed->nodes.end()),
            (std::set<NodeId>{NodeId{1}, NodeId{3}}));
  EXPECT_EQ(placed->capacity_bytes, kChunkBytesMax);  // the full one sets no bound
  EXPECT_EQ(place_chunk(nodes, {3, 3}, random).code(), ErrorCode::kNoSpace);
  nodes.front().avoid = true;
  EXPECT_EQ(place_chunk(nodes, {3, 2}, random)->nodes.size(), 2u);  // rather than a full one
}

TEST(Placement, fewer_live_servers_than_replicas_still_take_chunks) {
  sim::SimRandom random(1);
  const std::vector<PlacementNode> two{node(1, "", kGiB), node(2, "", kGiB)};
  const auto placed = place_chunk(two, {3, 2}, random);
  ASSERT_TRUE(placed);
  EXPECT_EQ(placed->nodes.size(), 2u);
}

TEST(Placement, avoided_servers_are_used_only_to_reach_the_minimum) {
  sim::SimRandom random(1);
  const std::vector<PlacementNode> nodes{node(1, "", kGiB, 0, true), node(2, "", kGiB),
                                         node(3, "", kGiB)};
  for (int i = 0; i < 50; ++i) {
    const auto placed = place_chunk(nodes, {3, 2}, random);
    ASSERT_TRUE(placed);
    EXPECT_EQ(placed->nodes.size(), 2u);
    EXPECT_EQ(std::count(placed->nodes.begin(), placed->nodes.end(), NodeId{1}), 0);
  }
  const auto all = place_chunk(nodes, {3, 3}, random);
  ASSERT_TRUE(all);
  EXPECT_EQ(all->nodes.size(), 3u);
}

TEST(Placement, capacity_is_a_share_of_the_room_within_its_bounds) {
  sim::SimRandom random(1);
  EXPECT_EQ(place_chunk({node(1, "", kGiB)}, {1, 1}, random)->capacity_bytes, kChunkBytesMax);
  EXPECT_EQ(place_chunk({node(1, "", 80 * kMiB)}, {1, 1}, random)->capacity_bytes, 10 * kMiB);
  EXPECT_EQ(place_chunk({node(1, "", 3 * kMiB)}, {1, 1}, random)->capacity_bytes,
            kChunkCapacityBytesMin);
}

TEST(Placement, equal_servers_are_chosen_about_equally_and_an_empty_one_is_preferred) {
  sim::SimRandom random(5);
  std::vector<PlacementNode> nodes;
  for (std::uint32_t id = 1; id <= 5; ++id) {
    nodes.push_back(node(id, "", 100 * kGiB));
  }
  std::map<NodeId, int> first;
  for (int i = 0; i < 5000; ++i) {
    ++first[place_chunk(nodes, {1, 1}, random)->nodes.front()];
  }
  for (const auto& [id, count] : first) {
    EXPECT_NEAR(count, 1000, 150) << id.value;
  }
  nodes.push_back(node(6, "", 1000 * kGiB));
  EXPECT_EQ(place_chunk(nodes, {1, 1}, random)->nodes.front(), NodeId{6});
  nodes.back().load = 100;
  EXPECT_NE(place_chunk(nodes, {1, 1}, random)->nodes.front(), NodeId{6});
}

// Whatever the servers: what is promised in placement.h.
TEST(Placement, holds_its_promises_for_random_servers) {
  sim::SimRandom random(42);
  for (int round = 0; round < 3000; ++round) {
    std::vector<PlacementNode> nodes;
    std::set<std::string> roomy_zones;
    std::size_t roomy = 0;
    const auto count = random.below(8);
    for (std::uint32_t id = 1; id <= count; ++id) {
      nodes.push_back(node(id, std::to_string(random.below(4)), random.below(40) * kMiB / 2,
                           static_cast<std::uint32_t>(random.below(9))));
      if (nodes.back().room_bytes >= kChunkCapacityBytesMin) {
        ++roomy;
        roomy_zones.insert(nodes.back().zone);
      }
    }
    StoragePolicy policy;
    policy.replicas = static_cast<std::uint32_t>(1 + random.below(4));
    policy.min_replicas = static_cast<std::uint32_t>(1 + random.below(policy.replicas));
    const std::size_t wanted = std::min<std::size_t>(policy.replicas, roomy);
    const auto placed = place_chunk(nodes, policy, random);
    if (nodes.size() < policy.min_replicas) {
      EXPECT_EQ(placed.code(), ErrorCode::kNotEnoughServers);
      continue;
    }
    if (roomy < policy.min_replicas) {
      EXPECT_EQ(placed.code(), ErrorCode::kNoSpace);
      continue;
    }
    ASSERT_TRUE(placed);
    EXPECT_EQ(placed->nodes.size(), wanted);
    EXPECT_EQ(std::set<NodeId>(placed->nodes.begin(), placed->nodes.end()).size(), wanted);
    EXPECT_EQ(zones_of(nodes, placed->nodes), std::min(wanted, roomy_zones.size()));
    for (const NodeId chosen : placed->nodes) {
      EXPECT_LE(placed->capacity_bytes, nodes[chosen.value - 1].room_bytes);
    }
  }
}

}  // namespace
}  // namespace dfs::master
