#include "master/core/chunk_manager.h"
#include "master/core/chunk_sealer.h"
#include "master/core/operations.h"

namespace dfs::master {

Result<SealChunkReply> apply(OpContext& context, const SealChunkRequest& request) {
  DFS_TRY(const auto row, context.store.chunk(request.chunk));
  if (!row) {
    // Sealed, found to hold nothing and deleted: a repeated request must not fail for that.
    return SealChunkReply{};
  }
  if (row->owner != context.session) {
    return make_error(ErrorCode::kNoSuchChunk, "the chunk was not opened by this session");
  }
  if (row->state == ChunkState::kSealed) {
    return SealChunkReply{row->length_bytes};
  }
  if (row->state == ChunkState::kOpen && request.failed_node.is_set()) {
    Log& log = context.chunks.world().log;
    context.after_commit([&log, request] {
      log.warning("An append failed; the chunk is being sealed. chunk=" +
                  std::to_string(request.chunk.value) +
                  " node=" + std::to_string(request.failed_node.value) +
                  " error=" + error_code_name(error_code_from_wire(request.failure)));
    });
  }
  DFS_CHECK_OK(context.chunks.sealer().begin(context, request.chunk, request.failed_node));
  return SealChunkReply{};
}

}  // namespace dfs::master
