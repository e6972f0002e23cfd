// Reading files: what is dirty lies over the extents, what neither covers is zeros.
//
// A read needs a size and extents that are fresh (InodeCache), asks the master for what it lacks,
// and takes one snapshot of dirty ranges and extents in one turn, so that it never sees half of
// a commit. The blocks it then fetches never change. When no replica of a block can be used it asks
// once for new extents, and again when the file was changed, since the chunk may be gone for good
// reasons; servers that are merely unreachable are waited for until `wait_max` has passed.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "common/world.h"
#include "fuse-client/core/block_fetcher.h"
#include "fuse-client/core/inode_cache.h"
#include "fuse-client/core/lease_settler.h"
#include "fuse-client/core/lifetime.h"
#include "fuse-client/core/master_link.h"
#include "fuse-client/core/write_back.h"

namespace dfs::client {

class Reader {
 public:
  using ReadId = StrongId<struct ReadTag, std::uint64_t>;

  struct Request {
    InodeId inode;
    std::uint64_t offset = 0;
    std::uint32_t size_bytes = 0;
    std::uint32_t unit_bytes = 0;     // what is fetched around a missing piece
    std::uint32_t windows_ahead = 0;  // of extents, when some must be asked for
  };

  Reader(World world, MasterLink& master, WriteBack& write_back, InodeCache& inodes,
         LeaseSettler& settler, std::function<bool(InodeId)> is_fresh, BlockFetcher& blocks,
         Duration wait_max);
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  // Answers never inside the call; shorter than asked only at the end of the file. Fails with kIo,
  // kStale, kInterrupted.
  ReadId read(const Request& request, Done<std::vector<Buffer>> done);
  void interrupt(ReadId read);
  // What the read waits for; it may have been answered just now.
  Obstacle obstacle(ReadId read) const;
  // Fetches into the block cache what memory allows.
  void prefetch(InodeId inode, std::uint64_t begin, std::uint64_t end);
  // What is committed of a range within one window, asked of the master now: what is no hole, in
  // order. For rewriting a window.
  void read_committed(InodeId inode, std::uint64_t offset, std::uint64_t length_bytes,
                      Done<std::vector<DirtyRange>> done);

 private:
  struct Collection;
  struct Read {
    Request request;
    Done<std::vector<Buffer>> done;
    MonoTime started{};
    MonoTime asked_since{};                    // answers to questions from here on are new enough
    std::uint32_t rounds = 0;                  // questions to the master
    std::uint32_t failures = 0;                // snapshots whose blocks could not be read
    std::uint64_t version = 0;                 // of the data in the snapshot
    std::optional<std::uint64_t> bad_version;  // whose blocks cannot be read, servers being there
    std::vector<std::vector<Buffer>> pieces;
    std::size_t pieces_missing = 0;
    std::optional<Error> error;  // of the snapshot under way
  };
  using ReadPtr = std::shared_ptr<Read>;
  using Refreshed = std::function<void(Status)>;

  void step(ReadId id);
  // Before it looks at anything.
  bool must_wait(InodeId inode) const;
  void step_later(ReadId id, InodeId inode);
  bool has_fresh_data(const Read& read) const;
  void take_snapshot(ReadId id, std::uint64_t committed_end);
  void add_committed(Read& read, std::uint64_t begin, std::uint64_t end,
                     const std::vector<Extent>& extents, std::vector<BlockPart>& parts,
                     std::vector<std::size_t>& places);
  std::vector<Buffer> zeros(std::uint64_t size_bytes);
  void piece_read(ReadId id, std::size_t place, Result<std::vector<Buffer>> piece);
  void snapshot_failed(ReadId id);
  void finish(ReadId id, Result<std::vector<Buffer>> result);
  // Asks for attributes, and for extents from the window of `begin` on unless they are known.
  void refresh(InodeId inode, std::uint64_t begin, std::uint64_t end, Refreshed done);
  void refreshed(std::pair<InodeId, std::uint64_t> key, Status status);
  void collect(const std::shared_ptr<Collection>& collection, const std::vector<Extent>& extents);
  void prefetch_known(InodeId inode, std::uint64_t begin, std::uint64_t end);

  World world_;
  MasterLink& master_;
  WriteBack& write_back_;
  InodeCache& inodes_;
  LeaseSettler& settler_;
  std::function<bool(InodeId)> is_fresh_;  // what is known of it
  BlockFetcher& blocks_;
  Duration wait_max_;
  std::map<ReadId, ReadPtr> reads_;
  std::uint64_t next_read_ = 1;
  // Questions under way, by inode and first window (or kAttributesOnly), and who waits for them.
  struct Refresh {
    CallId call;
    std::vector<Refreshed> waiting;
  };
  std::map<std::pair<InodeId, std::uint64_t>, Refresh> refreshes_;
  Buffer zeros_;
  Lifetime lifetime_;
};

}  // namespace dfs::client
