// Replies that several requests share.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/ids.h"
#include "proto/attributes.h"
#include "proto/extent.h"
#include "proto/fields.h"

namespace dfs {

struct ChunkLocation {
  ChunkId chunk;
  std::vector<NodeId> nodes;           // good replicas, those on live servers first
  std::vector<std::string> addresses;  // one for each node
  DFS_FIELDS(chunk, nodes, addresses)
};

struct EntryReply {
  Attributes attributes;
  // For a small regular file its whole extent list rides along and saves the reader a round trip.
  bool has_extents = false;
  std::vector<Extent> extents;
  std::vector<ChunkLocation> locations;
  // After a change of names: the directory as it is now, since its owner is asked for it next.
  std::optional<Attributes> parent;
  std::uint64_t lease = 0;  // what is said may be kept: see lease_messages.h. 0: it may not
  // A new file: that lease is a write lease, and this its epoch. 0: it is not.
  std::uint64_t write_epoch = 0;
  DFS_FIELDS(attributes, has_extents, extents, locations, parent, lease, write_epoch)
};

struct AttributesReply {
  Attributes attributes;
  std::uint64_t data_version_before = 0;  // of SetAttributes: the file's before this change
  std::uint64_t lease = 0;                // as in EntryReply
  DFS_FIELDS(attributes, data_version_before, lease)
};

struct EmptyReply {
  DFS_NO_FIELDS
};

}  // namespace dfs
