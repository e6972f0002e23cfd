#include <algorithm>
#include <utility>
#include <vector>

#include "master/core/lease_table.h"
#include "master/core/name_hash.h"
#include "master/core/namespace_rows.h"
#include "master/core/operations.h"
#include "proto/limits.h"

namespace dfs::master {
namespace {

// Encoded bytes of an entry beside its name, at most.
constexpr std::size_t kEntryBytesMax = 160;

}  // namespace

Result<ReadDirectoryReply> apply(OpContext& context, const ReadDirectoryRequest& request) {
  DFS_TRY(const InodeRow directory, require_linked_directory(context, request.inode));
  ReadDirectoryReply reply;
  reply.parent = directory.parent;
  context.grant(directory.attributes);
  if (request.cookie >= kLastCookie) {
    reply.end = true;
    return reply;
  }
  std::size_t entries_max = kReaddirEntriesMax;
  if (request.entries_max > 0) {
    entries_max = std::min<std::size_t>(entries_max, request.entries_max);
  }
  // One more tells whether there is more.
  DFS_TRY(auto rows,
          context.store.entries_with_inodes(request.inode, request.cookie + 1, entries_max + 1));
  std::size_t bytes = 0;
  reply.entries.reserve(std::min(rows.size(), entries_max));
  for (auto& [entry, inode] : rows) {
    bytes += kEntryBytesMax + entry.name.size();
    if (reply.entries.size() == entries_max || bytes > kReaddirBytesMax) {
      return reply;
    }
    // Nobody is waited for here: whoever wants to know asks for that file.
    const bool is_written =
        context.leases.is_written_by_other(context.session, inode.attributes.inode);
    if (!is_written) {
      context.grant(inode.attributes);
    }
    reply.entries.push_back({.name = std::move(entry.name),
                             .cookie = entry.cookie,
                             .attributes = inode.attributes,
                             .is_written = is_written});
  }
  reply.end = true;
  return reply;
}

}  // namespace dfs::master
