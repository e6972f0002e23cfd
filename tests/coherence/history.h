// The history of one run: what processes asked of a shared directory, when, and what they were
// told.
//
// A process does one operation at a time. It writes two lines to a file of its own: one before the
// operation, which is what is left of it when the process dies in the middle, and one after it. All
// times are CLOCK_MONOTONIC, so histories of one machine can be compared.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace dfs::coherence {

enum class Kind : std::uint8_t {
  kCreate,  // O_CREAT | O_EXCL
  kOpen,    // O_CREAT
  kLookup,  // open without O_CREAT
  kUnlink,
  kRename,
  kRenameNoReplace,
  kExchange,
  kLink,
  kStat,
  kList,
  kFstat,
  kWrite,     // one slot
  kRead,      // one slot
  kTruncate,  // to whole slots
  kAppend,    // one record, O_APPEND
  kReadAll,   // all records
  kLock,      // one byte for writing; waits for it
  kTryLock,
  kUnlock,
  kLinkOpen,  // an open file gets the name `other`; it may be one that never had a name
  kPunch,     // one slot becomes a hole; the size stays
  kAllocate,  // the file is at least as long as to the end of the slot
  kCopy,      // slot to slot `value` of the same file
  kSync,      // what the mount had written is kept, whatever dies
  kLose,      // not an operation: the client of the mount died, or told that it lost writes
  kSetXattr,  // value 0: it is removed
  kGetXattr,
  kHide,  // not an operation: the session of the mount was over, and its client goes on in another
};

std::string_view to_string(Kind kind);
std::optional<Kind> kind_from(std::string_view word);
// Changes nothing, whatever the answer.
bool is_reading(Kind kind);

constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
// Stands for bytes that no operation can have written.
constexpr std::uint64_t kGarbage = std::numeric_limits<std::uint64_t>::max();
constexpr std::size_t kListingEntriesMax = 40;

struct Entry {
  std::string name;
  std::uint64_t inode = 0;
  bool operator==(const Entry&) const = default;
};

struct Operation {
  std::uint32_t process = 0;
  std::uint32_t mount = 0;
  std::uint64_t sequence = 0;  // within its process
  std::int64_t invoked_ns = 0;
  std::int64_t completed_ns = kNever;  // never: it may take effect at any later time, or not at all
  // If never completed: by then it has taken effect, or never will. Not in files.
  std::int64_t settled_ns = kNever;
  Kind kind = Kind::kStat;

  // What was asked.
  std::string name, other;  // other: the new name of a rename or a link
  std::uint64_t file = 0;   // the inode of an open file
  std::uint32_t slot = 0;   // or the byte of a lock
  std::uint32_t bytes = 0;  // of a slot or record
  // What is written, unique in the history, or 0 for zeros; the length to truncate to.
  std::uint64_t value = 0;

  // What was answered.
  int error = 0;  // an errno
  std::uint64_t inode = 0;
  std::uint32_t links = 0;
  std::uint64_t size = 0;
  std::vector<std::uint64_t> ids;  // values read; of one slot several only if it was torn
  std::vector<Entry> listing;

  bool is_known() const { return completed_ns != kNever; }
  bool is_made() const { return is_known() && error == 0; }
  bool operator==(const Operation&) const = default;
};

using History = std::vector<Operation>;

// The id of the count-th write of a process; never 0, which stands for a hole.
std::uint64_t make_id(std::uint32_t process, std::uint32_t count);

// Lines of a history file, each ended by a newline.
std::string head_line(std::uint32_t process, std::uint32_t mount);
std::string begin_line(const Operation& operation);
std::string end_line(const Operation& operation);

// The operations of one file's text. A last line without its newline was cut off by a death and is
// left out. Fails with kInvalidArgument, naming the line.
Result<History> parse_history(std::string_view text);

// For people: what was asked, and what was answered.
std::string describe_request(const Operation& operation);
std::string describe_answer(const Operation& operation);
std::string describe_id(std::uint64_t id);

}  // namespace dfs::coherence
