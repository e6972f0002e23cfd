#include "tests/coherence/parts.h"

#include <algorithm>
#include <map>
#include <set>

namespace dfs::coherence {
namespace {

bool is_locking(Kind kind) {
  return kind == Kind::kLock || kind == Kind::kTryLock || kind == Kind::kUnlock;
}

bool is_of_contents(Kind kind) {
  switch (kind) {
    case Kind::kWrite:
    case Kind::kRead:
    case Kind::kTruncate:
    case Kind::kAppend:
    case Kind::kReadAll:
    case Kind::kPunch:
    case Kind::kAllocate:
    case Kind::kCopy:
    case Kind::kSync:
    case Kind::kLose:
    case Kind::kHide: return true;
    default: return false;
  }
}

bool is_of_xattr(Kind kind) { return kind == Kind::kSetXattr || kind == Kind::kGetXattr; }

bool is_paused(const Operation& op, const std::vector<Pause>& pauses) {
  return std::any_of(pauses.begin(), pauses.end(), [&](const Pause& pause) {
    return pause.mount == op.mount && op.invoked_ns <= pause.to_ns &&
           op.completed_ns >= pause.from_ns;
  });
}

Result<Part> directory_part(const History& history) {
  std::set<std::string> names;
  History of_directory;
  for (const Operation& op : history) {
    if (is_locking(op.kind) || is_of_contents(op.kind) || is_of_xattr(op.kind)) {
      continue;
    }
    for (const std::string& name : {op.name, op.other}) {
      if (!name.empty()) {
        names.insert(name);
      }
    }
    for (const Entry& entry : op.listing) {
      names.insert(entry.name);
    }
    of_directory.push_back(op);
  }
  if (names.size() > Directory::kNamesMax) {
    return make_error(ErrorCode::kInvalidArgument, "too many names for one directory");
  }
  return Part{
      .title = "the directory",
      .object = std::make_unique<Directory>(std::vector<std::string>(names.begin(), names.end())),
      .history = std::move(of_directory)};
}

// Operations on open files only say that they were on this one; stat has it in its answer.
std::uint64_t file_of(const Operation& op) {
  if (op.kind == Kind::kStat) {
    return op.is_made() ? op.inode : 0;
  }
  return op.kind == Kind::kLinkOpen ? 0 : op.file;
}

// Who buffers nothing of a file loses nothing of it.
void add_losses(const History& losses, std::uint64_t inode, History& history) {
  std::set<std::uint32_t> writers;
  for (const Operation& op : history) {
    if (op.kind == Kind::kWrite || op.kind == Kind::kAppend) {
      writers.insert(op.mount);
    }
  }
  for (const Operation& loss : losses) {
    if (writers.contains(loss.mount) && (loss.file == 0 || loss.file == inode)) {
      history.push_back(loss);
    }
  }
}

Part file_part(std::uint64_t inode, History history) {
  std::uint32_t slots = 1, bytes = 1;
  bool is_appended = false;
  std::set<std::uint32_t> losing;
  for (const Operation& op : history) {
    is_appended = is_appended || op.kind == Kind::kAppend || op.kind == Kind::kReadAll;
    slots = std::max(slots, op.slot + 1);
    if (op.kind == Kind::kCopy) {
      slots = std::max(slots, static_cast<std::uint32_t>(op.value) + 1);
    }
    bytes = std::max(bytes, op.bytes);
    if (op.kind == Kind::kLose || op.kind == Kind::kHide) {
      losing.insert(op.mount);
    }
  }
  std::unique_ptr<Object> object;
  if (is_appended) {
    object = std::make_unique<AppendFile>(bytes, std::move(losing));
  } else {
    object = std::make_unique<SlotFile>(slots, bytes, std::move(losing));
  }
  return {.title = "the contents of inode " + std::to_string(inode),
          .object = std::move(object),
          .history = std::move(history)};
}

Part lock_part(std::uint32_t byte, History history) {
  std::map<std::uint32_t, Operation> newest;
  for (const Operation& op : history) {
    Operation& known = newest[op.process];
    // The end of a session that had the lock stands for itself.
    const bool is_end = op.kind == Kind::kUnlock && op.settled_ns != kNever;
    if (!is_end && op.invoked_ns >= known.invoked_ns) {
      known = op;
    }
  }
  for (auto& [process, op] : newest) {
    if (op.kind == Kind::kUnlock && op.is_made()) {
      continue;
    }
    Operation end = op;
    end.kind = Kind::kUnlock;
    end.invoked_ns = op.is_known() ? op.completed_ns : op.invoked_ns;
    end.completed_ns = kNever;
    end.error = 0;
    history.push_back(end);
  }
  return {.title = "the lock of byte " + std::to_string(byte),
          .object = std::make_unique<Lock>(),
          .history = std::move(history)};
}

}  // namespace

History excuse(History history, const std::vector<Pause>& pauses) {
  for (Operation& op : history) {
    if (is_paused(op, pauses) && !is_locking(op.kind)) {
      op.completed_ns = kNever;
    }
  }
  std::erase_if(history, [](const Operation& op) {
    return !op.is_known() && (is_reading(op.kind) || op.error != 0);
  });
  return history;
}

Result<std::vector<Part>> take_apart(const History& history) {
  const History rest = excuse(history, {});
  std::vector<Part> parts;
  DFS_TRY(parts.emplace_back(), directory_part(rest));
  std::map<std::uint64_t, History> files;
  std::map<std::uint32_t, History> locks;
  std::map<std::uint64_t, History> xattrs;
  History losses;
  for (const Operation& op : rest) {
    if (is_locking(op.kind)) {
      locks[op.slot].push_back(op);
    } else if (is_of_xattr(op.kind)) {
      xattrs[op.file].push_back(op);
    } else if (op.kind == Kind::kLose || op.kind == Kind::kHide) {
      losses.push_back(op);
    } else if (const std::uint64_t file = file_of(op); file != 0) {
      files[file].push_back(op);
    }
  }
  for (auto& [inode, its_history] : files) {
    add_losses(losses, inode, its_history);
    parts.push_back(file_part(inode, std::move(its_history)));
  }
  for (auto& [inode, its_history] : xattrs) {
    parts.push_back({.title = "the attribute of inode " + std::to_string(inode),
                     .object = std::make_unique<Register>(),
                     .history = std::move(its_history)});
  }
  for (auto& [byte, its_history] : locks) {
    parts.push_back(lock_part(byte, std::move(its_history)));
  }
  return parts;
}

}  // namespace dfs::coherence
