#include "tests/sim/cluster/sharer.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/assert.h"

namespace dfs::sim {
namespace {

using coherence::Kind;
using coherence::Operation;
using std::chrono::microseconds;
using std::chrono::milliseconds;

// After this long no message of what was given up is under way any more.
constexpr milliseconds kDoubtWait{1500};
constexpr milliseconds kRetryDelay{100};
constexpr std::uint64_t kInterruptOneOf = 15;
constexpr std::uint64_t kUnlockOneOf = 4;

int errno_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kOk: return 0;
    case ErrorCode::kNotFound: return ENOENT;
    case ErrorCode::kExists: return EEXIST;
    case ErrorCode::kLockConflict: return EAGAIN;
    case ErrorCode::kNoAttribute: return ENODATA;
    case ErrorCode::kNoSpace: return ENOSPC;
    case ErrorCode::kStale: return ESTALE;
    default: return EIO;
  }
}

bool is_locking(Kind kind) { return kind == Kind::kLock || kind == Kind::kTryLock; }

bool is_change_of_master(Kind kind) {
  switch (kind) {
    case Kind::kUnlink:
    case Kind::kRename:
    case Kind::kLink:
    case Kind::kLinkOpen:
    case Kind::kTruncate:
    case Kind::kSetXattr: return true;
    default: return false;
  }
}

}  // namespace

Sharer::Sharer(ActorHost& host, SharedStory& story, SimRandom random, Options options)
    : host_(host), story_(story), random_(random), options_(options) {}

void Sharer::after(Duration delay, Task task) {
  host_.events().run_at(host_.events().now() + delay, [this, turn = turn_, run = std::move(task)] {
    if (turn == turn_) {
      run();
    }
  });
}

void Sharer::in_client(std::function<void(client::Client&)> task) {
  host_.in_client([this, epoch = epoch_, run = std::move(task)] {
    if (epoch == epoch_ && host_.client() != nullptr) {
      run(*host_.client());
    }
  });
}

void Sharer::ask_client(Call call) {
  in_client([this, run = std::move(call), operation = operations_begun_](client::Client& client) {
    const client::OperationId id = run(client);
    if (operation == operations_begun_) {
      client_operation_ = id;
    }
  });
}

std::optional<MonoTime> Sharer::waiting_since() const {
  return state_ == State::kWaiting || state_ == State::kEntering ? std::optional(issued_at_)
                                                                 : std::nullopt;
}

std::set<std::uint64_t> Sharer::open_inodes() const {
  std::set<std::uint64_t> inodes;
  for (const OpenFile& file : files_) {
    inodes.insert(file.inode);
  }
  return inodes;
}

// --- In and out ----------------------------------------------------------------------------------

void Sharer::enter() {
  state_ = State::kEntering;
  ++turn_;
  era_ = story_.era();
  is_in_doubt_ = true;
  issued_at_ = host_.events().now();
  current_ = "entering " + story_.directory();
  after(kDoubtWait, [this] { make_directory(); });
}

bool Sharer::is_refused(ErrorCode code) {
  if (code == ErrorCode::kOk && era_ == story_.era() && !has_lost_session_) {
    return false;
  }
  host_.events().trace(static_cast<std::uint64_t>(code));
  ++turn_;
  after(kRetryDelay, [this] { has_lost_session_ || era_ != story_.era() ? leave() : enter(); });
  return true;
}

void Sharer::make_directory() {
  client::CreateArguments arguments;
  arguments.parent = kRootInode;
  arguments.name = story_.directory();
  arguments.mode = kModeDirectory | 0755;
  in_client([this, arguments](client::Client& client) {
    client.make(arguments, answer<Attributes>([this](Result<Attributes> made) {
                  const bool is_there = made || made.code() == ErrorCode::kExists;
                  if (!is_refused(is_there ? ErrorCode::kOk : made.code())) {
                    look_up_directory();
                  }
                }));
  });
}

void Sharer::look_up_directory() {
  in_client([this](client::Client& client) {
    client.lookup(kRootInode, story_.directory(),
                  answer<Attributes>([this](Result<Attributes> found) {
                    if (!is_refused(found.code())) {
                      directory_ = found->inode;
                      make_sure();
                    }
                  }));
  });
}

void Sharer::make_sure() {
  in_client([this, asked_at = host_.events().now()](client::Client& client) {
    client.sync_directory(directory_, answer<Unit>([this, asked_at](Result<Unit> synced) {
                            if (!is_refused(synced.code())) {
                              story_.answered(options_.client, asked_at);
                              story_.is_sure(options_.client);
                              lock_file_ ? entered() : open_lock_file();
                            }
                          }));
  });
}

void Sharer::open_lock_file() {
  create_or_open(kSharedLockName, [this](const Result<client::OpenedFile>& file) {
    if (file) {
      lock_file_ = file->handle;
    }
    if (!is_refused(file.code())) {
      process_ = story_.new_process();
      entered();
    }
  });
}

void Sharer::entered() {
  for (const SharedStory::Ticket ticket : std::exchange(unsettled_, {})) {
    story_.settle(ticket);
  }
  is_in_doubt_ = false;
  rest();
}

void Sharer::rest() {
  state_ = State::kResting;
  if (operations_done_ >= options_.operations) {
    if (files_.empty() && !lock_file_) {
      state_ = State::kDone;
    } else {
      leave();
    }
    return;
  }
  const std::uint64_t kind = random_.below(100);
  const std::uint64_t milliseconds_max = kind < 70 ? 2 : kind < 97 ? 60 : 2000;
  after(milliseconds(random_.below(milliseconds_max)) + microseconds(random_.below(1000)),
        [this] { next_operation(); });
}

void Sharer::client_died() {
  ++epoch_;
  ++turn_;
  files_.clear();
  lock_file_.reset();
  locked_byte_.reset();
  has_lost_session_ = false;
  unsettled_.insert(unsettled_.end(), tickets_.begin(), tickets_.end());
  tickets_.clear();
  ops_.clear();
  state_ = State::kNoClient;
}

void Sharer::session_lost() {
  has_lost_session_ = true;
  if (state_ == State::kResting) {
    leave();
  }
}

// Every file that is open says what it has lost, if it is asked.
void Sharer::leave() {
  state_ = State::kEntering;
  ++turn_;
  current_ = "leaving";
  issued_at_ = host_.events().now();
  if (era_ == story_.era()) {
    sync_next(files_);
  } else {
    release_all();
  }
}

void Sharer::sync_next(std::vector<OpenFile> files) {
  if (files.empty()) {
    in_client([this](client::Client& client) {
      client.sync_all(answer<Unit>([this](const Result<Unit>&) {
        story_.losses_are_over(options_.client);
        release_all();
      }));
    });
    return;
  }
  const OpenFile file = files.back();
  files.pop_back();
  const Operation sync = make_on(Kind::kSync, file);
  const SharedStory::Ticket ticket = story_.begin(sync, options_.client);
  in_client([this, file, sync, ticket, files = std::move(files)](client::Client& client) {
    client.sync(file.handle, answer<Unit>([this, file, sync, ticket, files](Result<Unit> synced) {
                  host_.events().trace(static_cast<std::uint64_t>(synced.code()));
                  synced ? story_.complete(ticket, sync) : story_.drop(ticket);
                  if (!synced && story_.has_lost_session(options_.client)) {
                    story_.told_loss(options_.client, file.inode);
                  } else if (!synced && era_ == story_.era()) {
                    host_.fail("sync of what was written: " + synced.error().detail);
                  }
                  sync_next(files);
                }));
  });
}

void Sharer::release_all() {
  in_client([this](client::Client& client) {
    for (const OpenFile& file : std::exchange(files_, {})) {
      client.release(file.handle);
    }
    if (lock_file_) {
      client.release(*std::exchange(lock_file_, std::nullopt));
    }
    locked_byte_.reset();
    has_lost_session_ = false;
    operations_done_ < options_.operations ? enter() : rest();
  });
}

// --- Operations ----------------------------------------------------------------------------------

Operation Sharer::make(Kind kind, const std::string& name, const std::string& other) const {
  Operation op;
  op.process = process_;
  op.kind = kind;
  op.name = name;
  op.other = other;
  return op;
}

Operation Sharer::make_on(Kind kind, const OpenFile& file) const {
  Operation op = make(kind);
  op.file = file.inode;
  op.bytes = file.is_appended ? SharedStory::kRecordBytes : story_.slot_bytes();
  return op;
}

void Sharer::begin(std::vector<Operation> ops) {
  state_ = State::kWaiting;
  ++operations_begun_;
  issued_at_ = host_.events().now();
  ops_ = std::move(ops);
  current_ = describe_request(ops_.front());
  host_.events().trace(current_);
  host_.say("sharer " + std::to_string(options_.index) + " " + current_ +
            (ops_.size() > 1 ? " and " + std::to_string(ops_.size() - 1) + " more" : ""));
  for (const Operation& op : ops_) {
    tickets_.push_back(story_.begin(op, options_.client));
  }
  plan_interrupt();
}

// What a session that is over leaves behind is refused in many ways.
bool Sharer::is_excused(ErrorCode code) const {
  const bool may_be = has_lost_session_ || era_ != story_.era();
  return code == ErrorCode::kSessionExpired ||
         (may_be && (code == ErrorCode::kIo || code == ErrorCode::kStale ||
                     code == ErrorCode::kLeaseLost || code == ErrorCode::kNotFound));
}

bool Sharer::is_not_made(const Operation& op, ErrorCode code) const {
  const bool is_buffered = op.kind == Kind::kWrite || op.kind == Kind::kAppend;
  const bool is_full = code == ErrorCode::kNoSpace && host_.may_be_full(issued_at_);
  // fallocate(2) says so while servers are away, too: their room is not counted.
  const bool may_lack_servers = code == ErrorCode::kNoSpace && host_.has_nuisances();
  return (is_full && is_buffered) || (may_lack_servers && op.kind == Kind::kAllocate) ||
         (code == ErrorCode::kNotSupported && op.kind == Kind::kCopy) ||
         (is_interrupted_ && code == ErrorCode::kInterrupted &&
          (is_buffered || is_locking(op.kind) || is_reading(op.kind)));
}

void Sharer::finish(ErrorCode code) {
  host_.events().trace(static_cast<std::uint64_t>(code));
  // What it found is gone when its answer comes late: open(2) walks the path again then.
  const Kind kind = ops_.front().kind;
  const bool is_late = code == ErrorCode::kStale && (kind == Kind::kOpen || kind == Kind::kCreate);
  const bool is_unknown =
      is_excused(code) || is_late || (is_interrupted_ && code == ErrorCode::kInterrupted);
  for (std::size_t i = 0; i < tickets_.size(); ++i) {
    Operation& op = ops_[i];
    op.error = errno_of(code);
    if (is_not_made(op, code)) {
      is_locking(op.kind) ? story_.drop_lock(tickets_[i]) : story_.drop(tickets_[i]);
    } else if (is_unknown) {
      is_in_doubt_ = is_in_doubt_ || !is_reading(op.kind);
      unsettled_.push_back(tickets_[i]);
    } else {
      story_.complete(tickets_[i], op);
      if (code == ErrorCode::kOk && is_change_of_master(op.kind)) {
        story_.answered(options_.client, issued_at_);
      }
    }
  }
  tickets_.clear();
  ops_.clear();
  if (!is_unknown && errno_of(code) == EIO) {
    host_.fail("sharer " + std::to_string(options_.index) + " (" + current_ + "): failed with " +
               error_code_name(code));
  }
  end_operation();
}

void Sharer::end_operation() {
  ++operations_done_;
  if (has_lost_session_ || era_ != story_.era()) {
    leave();
  } else if (is_in_doubt_) {
    enter();
  } else {
    rest();
  }
}

void Sharer::plan_interrupt() {
  is_interrupted_ = false;
  client_operation_ = {};
  if (!host_.has_nuisances() || random_.below(kInterruptOneOf) != 0 ||
      ops_.front().kind == Kind::kUnlock) {
    return;
  }
  const std::uint64_t kind = random_.below(10);
  const std::uint64_t microseconds_max = kind < 5 ? 500 : kind < 8 ? 100'000 : 3'000'000;
  after(microseconds(random_.below(microseconds_max)), [this, operation = operations_begun_] {
    if (operation == operations_begun_ && state_ == State::kWaiting) {
      interrupt(operation);
    }
  });
}

void Sharer::interrupt(std::uint64_t operation) {
  in_client([this, operation](client::Client& client) {
    if (operation == operations_begun_ && state_ == State::kWaiting) {
      host_.say("sharer " + std::to_string(options_.index) + " interrupts");
      is_interrupted_ = true;
      client.interrupt(client_operation_);
    }
  });
}

void Sharer::next_operation() {
  if (has_lost_session_ || era_ != story_.era()) {
    leave();
    return;
  }
  const std::uint64_t begun = operations_begun_;
  const std::uint64_t dice = random_.below(100);
  if (locked_byte_ && random_.below(kUnlockOneOf) == 0) {
    op_unlock();
  } else if (dice < 40) {
    on_names();
  } else if (dice < 80) {
    on_contents();
  } else if (dice < 92) {
    on_appended();
  } else {
    on_locks();
  }
  if (operations_begun_ == begun) {  // it found nothing to do
    rest();
  }
}

std::string Sharer::random_name() { return "n" + std::to_string(random_.below(3)); }

std::uint64_t Sharer::next_value() { return coherence::make_id(process_, ++written_); }

}  // namespace dfs::sim
