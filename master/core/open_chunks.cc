#include "master/core/open_chunks.h"

#include <algorithm>

#include "common/assert.h"

namespace dfs::master {

void OpenChunks::clear() {
  chunks_.clear();
  by_session_.clear();
  by_node_.clear();
}

void OpenChunks::add(OpenChunk chunk) {
  DFS_ASSERT(!chunks_.contains(chunk.chunk));
  by_session_[chunk.owner].insert(chunk.chunk);
  for (const NodeId node : chunk.nodes) {
    Use& use = by_node_[node];
    use.unused_bytes += chunk.unused_bytes();
    ++use.chunks;
  }
  chunks_.emplace(chunk.chunk, std::move(chunk));
}

const OpenChunk* OpenChunks::grow(ChunkId chunk, std::uint32_t length_bytes) {
  const auto found = chunks_.find(chunk);
  if (found == chunks_.end()) {
    return nullptr;
  }
  OpenChunk& open = found->second;
  const std::uint32_t unused_before = open.unused_bytes();
  open.length_bytes = std::max(open.length_bytes, length_bytes);
  for (const NodeId node : open.nodes) {
    by_node_[node].unused_bytes -= unused_before - open.unused_bytes();
  }
  return &open;
}

void OpenChunks::remove(ChunkId chunk) {
  const auto found = chunks_.find(chunk);
  if (found == chunks_.end()) {
    return;
  }
  for (const NodeId node : found->second.nodes) {
    Use& use = by_node_[node];
    DFS_ASSERT(use.chunks > 0 && use.unused_bytes >= found->second.unused_bytes());
    use.unused_bytes -= found->second.unused_bytes();
    --use.chunks;
  }
  const auto session = by_session_.find(found->second.owner);
  session->second.erase(chunk);
  if (session->second.empty()) {
    by_session_.erase(session);
  }
  chunks_.erase(found);
}

const OpenChunk* OpenChunks::find(ChunkId chunk) const {
  const auto found = chunks_.find(chunk);
  return found == chunks_.end() ? nullptr : &found->second;
}

std::vector<ChunkId> OpenChunks::of_session(SessionId session) const {
  const auto found = by_session_.find(session);
  if (found == by_session_.end()) {
    return {};
  }
  return {found->second.begin(), found->second.end()};
}

std::size_t OpenChunks::count_of(SessionId session) const {
  const auto found = by_session_.find(session);
  return found == by_session_.end() ? 0 : found->second.size();
}

std::uint64_t OpenChunks::unused_bytes_on(NodeId node) const {
  const auto found = by_node_.find(node);
  return found == by_node_.end() ? 0 : found->second.unused_bytes;
}

std::uint32_t OpenChunks::count_on(NodeId node) const {
  const auto found = by_node_.find(node);
  return found == by_node_.end() ? 0 : found->second.chunks;
}

}  // namespace dfs::master
