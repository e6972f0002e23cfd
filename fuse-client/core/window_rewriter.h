// Rewrites windows of a file that hold too many pieces: their committed bytes are read and written
// again as dirty data, which the next flush makes into whole blocks.
//
// Newer data always wins: bytes that were dirty when the read began or were written since are left
// alone, and a cut or discard of the file ends the rewriting. Holes stay holes. Nothing changes the
// file's size or times. One window of a file at a time, at most kRewriteWindowsMax waiting.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <vector>

#include "fuse-client/core/file_state.h"
#include "fuse-client/core/lifetime.h"

namespace dfs::client {

inline constexpr std::size_t kRewriteWindowsMax = 16;

class WindowRewriter {
 public:
  struct Events {
    // Drops blocks in flight; what they held is dirty again in a moment.
    std::function<void(FileState&, const std::vector<FlightBlockPtr>&)> drop;
    // Old bytes became dirty again, and what was refused is to be flushed at once.
    std::function<void(FileState&)> filled;
    // A window whose commit the master refused could not be read.
    std::function<void(FileState&, const Error&)> failed;
  };

  WindowRewriter(FileTable& files, MemoryBudget& memory, const WriteBackEvents& write_back,
                 Events events);

  // The master counted many pieces in one of the windows these blocks touch.
  void suggest(FileState& file, const std::vector<FlightBlockPtr>& blocks);
  // It refused to commit these blocks: they wait, with the file's other commits, for the rewriting.
  void demand(FileState& file, const std::vector<FlightBlockPtr>& blocks);
  // A commit was answered or a window rewritten: goes on with the next window if it can.
  void advance(FileState& file);

  void wrote(InodeId inode, std::uint64_t begin, std::uint64_t end);
  void cancel(InodeId inode);
  // The file is about to be cut: nothing that nobody waits for is read back any more.
  void cancel_suggested(InodeId inode);

 private:
  struct Job {
    std::set<std::uint64_t> windows;  // numbers of those to do
    bool is_demanded = false;
    bool is_reading = false;
    std::uint64_t window = 0;  // being read
    std::uint64_t token = 0;   // of the read: an answer to an older one is ignored
    std::vector<std::pair<std::uint64_t, std::uint64_t>> newer;  // written since the read began
  };

  void start(FileState& file, Job& job, std::uint64_t window);
  void read(InodeId inode, std::uint64_t token, Result<std::vector<DirtyRange>> contents);
  bool fill(FileState& file, const Job& job, const std::vector<DirtyRange>& contents);
  void withdraw_window(FileState& file, std::uint64_t begin, std::vector<DirtyRange>& contents);
  void end(FileState& file);

  FileTable& files_;
  MemoryBudget& memory_;
  const WriteBackEvents& write_back_;
  Events events_;
  std::map<InodeId, Job> jobs_;
  std::uint64_t next_token_ = 1;
  Lifetime lifetime_;
};

}  // namespace dfs::client
