#include "master/core/chunk_manager.h"
#include "master/core/namespace_rows.h"
#include "master/core/node_table.h"
#include "master/core/operations.h"

namespace dfs::master {
namespace {

// Inodes are rows: the master's disk is their only bound. df wants a figure.
constexpr std::uint64_t kInodesShownMax = std::uint64_t{1} << 32;

}  // namespace

Result<StatFilesystemReply> apply(OpContext& context, const StatFilesystemRequest& request) {
  DFS_TRY(const InodeRow row, require_inode(context, request.inode));
  const UsableSpace space = context.chunks.usable_space(row.attributes.policy);
  DFS_TRY(const std::uint64_t inodes, context.store.counter(Counter::kInodes));
  return StatFilesystemReply{.total_bytes = space.total_bytes,
                             .available_bytes = space.available_bytes,
                             .inodes_used = inodes,
                             .inodes_max = kInodesShownMax,
                             .is_preliminary = context.chunks.nodes().awaits_any()};
}

}  // namespace dfs::master
