// Operations of a sharer on contents of files, and on locks.
#include <algorithm>

#include "tests/sim/cluster/sharer.h"

namespace dfs::sim {
namespace {

using coherence::Kind;
using coherence::Operation;

constexpr std::size_t kRecordsMax = 40;  // then the file is given up for another
constexpr std::uint32_t kReadRecordsMax = 400;
constexpr std::uint32_t kRangeBytes = 2;  // that are locked; the lock of the whole file is another
constexpr std::uint64_t kSlots = SharedStory::kSlots;

std::string text_of(const std::vector<Buffer>& pieces) {
  std::string text;
  for (const Buffer& piece : pieces) {
    text += piece.text();
  }
  return text;
}

}  // namespace

void Sharer::on_contents() {
  std::vector<OpenFile> found;
  std::copy_if(files_.begin(), files_.end(), std::back_inserter(found),
               [](const OpenFile& file) { return !file.is_appended; });
  const std::uint64_t dice = random_.below(100);
  if (found.empty() || dice < 6) {
    const std::string name = random_name();
    random_.below(3) == 0 ? op_create(Kind::kOpen, name) : op_lookup(name);
    return;
  }
  const OpenFile& file = found[random_.below(found.size())];
  if (dice < 34) {
    op_write(file);
  } else if (dice < 62) {
    op_read(file);
  } else if (dice < 69) {
    op_truncate(file);
  } else if (dice < 75) {
    op_allocate(file);
  } else if (dice < 79) {
    op_copy(file);
  } else if (dice < 85) {
    op_sync(file);
  } else if (dice < 91) {
    op_fstat(file);
  } else if (dice < 94) {
    op_set_xattr(file);
  } else if (dice < 97) {
    op_get_xattr(file);
  } else {
    op_release();
  }
}

void Sharer::on_appended() {
  const auto file = std::find_if(files_.begin(), files_.end(),
                                 [](const OpenFile& one) { return one.is_appended; });
  const std::uint64_t dice = random_.below(100);
  if (file == files_.end()) {
    op_create(Kind::kOpen, kAppendedName);
  } else if (dice < 45) {
    op_append(*file);
  } else if (dice < 80) {
    op_read_all(*file);
  } else if (dice < 87) {
    op_sync(*file);
  } else if (dice < 94) {
    op_fstat(*file);
  } else {
    op_stat(kAppendedName);
  }
}

// Several slots in one write are as many operations to the story, at one time.
void Sharer::op_write(const OpenFile& file) {
  const auto first = static_cast<std::uint32_t>(random_.below(kSlots));
  const auto count = static_cast<std::uint32_t>(1 + random_.below(kSlots - first));
  std::vector<Operation> ops;
  std::string data;
  for (std::uint32_t slot = first; slot < first + (random_.below(3) == 0 ? count : 1); ++slot) {
    Operation& op = ops.emplace_back(make_on(Kind::kWrite, file));
    op.slot = slot;
    op.value = next_value();
    data += bytes_of(op.value, op.bytes);
  }
  begin(std::move(ops));
  const std::uint64_t offset = std::uint64_t{first} * story_.slot_bytes();
  ask_client([this, handle = file.handle, offset, data](client::Client& client) {
    return client.write(
        handle, {.offset = offset}, Buffer::copy_of(data),
        answer<std::uint64_t>([this](Result<std::uint64_t> done) { finish(done.code()); }));
  });
}

void Sharer::op_read(const OpenFile& file) {
  const bool is_all = random_.below(3) == 0;
  const auto first = is_all ? 0 : static_cast<std::uint32_t>(random_.below(kSlots));
  std::vector<Operation> ops;
  for (std::uint32_t slot = first; slot < (is_all ? kSlots : first + 1); ++slot) {
    ops.push_back(make_on(Kind::kRead, file));
    ops.back().slot = slot;
  }
  const auto bytes = static_cast<std::uint32_t>(ops.size() * story_.slot_bytes());
  begin(std::move(ops));
  const std::uint64_t offset = std::uint64_t{first} * story_.slot_bytes();
  ask_client([this, handle = file.handle, offset, bytes](client::Client& client) {
    return client.read(handle, offset, bytes, answer<std::vector<Buffer>>([this](auto pieces) {
                         const std::string text = pieces ? text_of(*pieces) : std::string();
                         for (std::size_t i = 0; pieces && i < ops_.size(); ++i) {
                           const std::size_t at = std::min(text.size(), i * story_.slot_bytes());
                           const std::string slot = text.substr(at, story_.slot_bytes());
                           ops_[i].ids = values_in(slot);
                           if (!slot.empty() && slot.size() < story_.slot_bytes()) {
                             ops_[i].ids = {coherence::kGarbage};
                           }
                         }
                         finish(pieces.code());
                       }));
  });
}

void Sharer::op_truncate(const OpenFile& file) {
  Operation op = make_on(Kind::kTruncate, file);
  op.value = random_.below(kSlots + 1) * op.bytes;
  begin(op);
  client::AttributeChange change;
  change.inode = InodeId{file.inode};
  change.size_bytes = op.value;
  ask_client([this, change](client::Client& client) {
    return client.set_attributes(
        change, answer<Attributes>([this](Result<Attributes> done) { finish(done.code()); }));
  });
}

void Sharer::op_allocate(const OpenFile& file) {
  const bool is_punched = random_.below(2) == 0;
  Operation op = make_on(is_punched ? Kind::kPunch : Kind::kAllocate, file);
  op.slot = static_cast<std::uint32_t>(random_.below(kSlots));
  begin(op);
  AllocateRequest request;
  request.offset = std::uint64_t{op.slot} * op.bytes;
  request.length_bytes = op.bytes;
  request.remove = request.keep_size = is_punched;
  ask_client([this, request, handle = file.handle](client::Client& client) {
    return client.allocate(handle, request,
                           answer<Unit>([this](Result<Unit> done) { finish(done.code()); }));
  });
}

void Sharer::op_copy(const OpenFile& file) {
  Operation op = make_on(Kind::kCopy, file);
  op.slot = static_cast<std::uint32_t>(random_.below(kSlots));
  op.value = (op.slot + 1 + random_.below(kSlots - 1)) % kSlots;
  begin(op);
  ask_client([this, op, handle = file.handle](client::Client& client) {
    return client.copy_range(handle, std::uint64_t{op.slot} * op.bytes, handle, op.value * op.bytes,
                             op.bytes, answer<std::uint64_t>([this](Result<std::uint64_t> copied) {
                               if (copied) {
                                 ops_.front().size = *copied;
                               }
                               finish(copied.code());
                             }));
  });
}

void Sharer::op_append(const OpenFile& file) {
  Operation op = make_on(Kind::kAppend, file);
  op.value = next_value();
  begin(op);
  ask_client([this, op, handle = file.handle](client::Client& client) {
    return client.write(
        handle, {}, Buffer::copy_of(bytes_of(op.value, op.bytes)),
        answer<std::uint64_t>([this](Result<std::uint64_t> done) { finish(done.code()); }));
  });
}

void Sharer::op_read_all(const OpenFile& file) {
  begin(make_on(Kind::kReadAll, file));
  ask_client([this, handle = file.handle](client::Client& client) {
    return client.read(
        handle, 0, kReadRecordsMax * SharedStory::kRecordBytes,
        answer<std::vector<Buffer>>([this, handle](auto pieces) {
          const std::string text = pieces ? text_of(*pieces) : std::string();
          for (std::size_t at = 0; at < text.size(); at += SharedStory::kRecordBytes) {
            const std::string record = text.substr(at, SharedStory::kRecordBytes);
            const auto values = values_in(record);
            const bool is_whole = values.size() == 1 && record.size() == SharedStory::kRecordBytes;
            ops_.front().ids.push_back(is_whole ? values.front() : coherence::kGarbage);
          }
          const bool is_full = ops_.front().ids.size() > kRecordsMax;
          finish(pieces.code());
          if (is_full && state_ == State::kResting) {
            ++turn_;  // instead of what was planned
            std::erase_if(files_, [handle](const OpenFile& one) { return one.handle == handle; });
            in_client([handle](client::Client& again) { again.release(handle); });
            op_unlink(kAppendedName);
          }
        }));
  });
}

void Sharer::op_sync(const OpenFile& file) {
  begin(make_on(Kind::kSync, file));
  ask_client([this, file](client::Client& client) {
    return client.sync(file.handle, answer<Unit>([this, file](Result<Unit> synced) {
                         if (synced.code() == ErrorCode::kIo && has_lost_session_) {
                           story_.told_loss(options_.client, file.inode);
                         }
                         finish(synced.code());
                       }));
  });
}

void Sharer::op_release() {
  if (files_.empty()) {
    return;
  }
  const std::size_t index = random_.below(files_.size());
  in_client([handle = files_[index].handle](client::Client& client) { client.release(handle); });
  files_.erase(files_.begin() + static_cast<std::ptrdiff_t>(index));
}

// --- Locks ---------------------------------------------------------------------------------------

client::FileLock Sharer::lock_of(std::uint32_t byte, LockMode mode) const {
  client::FileLock lock;
  lock.kind = byte < kRangeBytes ? LockKind::kRange : LockKind::kFlock;
  lock.mode = mode;
  lock.owner = process_;
  if (byte < kRangeBytes) {
    lock.span = {byte, byte};
  }
  return lock;
}

// One at a time, so that nobody waits for ever.
void Sharer::on_locks() { locked_byte_ ? op_unlock() : op_lock(); }

void Sharer::op_lock() {
  Operation op = make(random_.below(3) == 0 ? Kind::kLock : Kind::kTryLock);
  op.slot = static_cast<std::uint32_t>(random_.below(kRangeBytes + 1));
  begin(op);
  ask_client([this, op](client::Client& client) {
    return client.set_lock(*lock_file_, lock_of(op.slot, LockMode::kExclusive),
                           op.kind == Kind::kLock, answer<Unit>([this, op](Result<Unit> taken) {
                             if (taken) {
                               locked_byte_ = op.slot;
                             }
                             finish(taken.code());
                           }));
  });
}

void Sharer::op_unlock() {
  Operation op = make(Kind::kUnlock);
  op.slot = *locked_byte_;
  begin(op);
  ask_client([this, op](client::Client& client) {
    return client.set_lock(*lock_file_, lock_of(op.slot, LockMode::kNone), false,
                           answer<Unit>([this](Result<Unit> given_up) {
                             if (given_up) {
                               locked_byte_.reset();
                             }
                             finish(given_up.code());
                           }));
  });
}

}  // namespace dfs::sim
