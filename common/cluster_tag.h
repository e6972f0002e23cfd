// What messages name their cluster by: the first half of its id. Where another cluster got the
// address of a server, nobody's chunks are read, cut or deleted in place of its own; both count
// their chunks from 1.
#pragma once

#include <cstdint>
#include <string_view>

#include "common/ids.h"

namespace dfs {

using ClusterTag = StrongId<struct ClusterTagTag, std::uint64_t>;  // 0: of any cluster

// Of an id of 32 hex digits; 0 of anything else, "" for a cluster not known yet among it.
ClusterTag cluster_tag(std::string_view cluster_id);

}  // namespace dfs
