#include "tests/sim/cluster/shared_story.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "tests/coherence/checker.h"
#include "tests/coherence/parts.h"
#include "tests/coherence/report.h"

namespace dfs::sim {
namespace {

using coherence::History;
using coherence::Kind;
using coherence::Operation;

constexpr std::size_t kTornValuesMax = 4;
// What is open at the end of a history need not be forgotten: every operation is settled.
constexpr std::chrono::hours kForgetAfter{24};
constexpr std::size_t kXattrBytes = 40;
// By then whoever gave up a lock has told the master, or has no session any more.
constexpr std::chrono::seconds kLockLinger{40};
constexpr std::size_t kConfigurationsMax = 300'000;

bool is_change_of_master(Kind kind) {
  switch (kind) {
    case Kind::kWrite:
    case Kind::kAppend:
    case Kind::kSync:
    case Kind::kLose:
    case Kind::kHide:
    case Kind::kLock:
    case Kind::kTryLock:
    case Kind::kUnlock: return false;
    default: return !is_reading(kind);
  }
}

}  // namespace

std::vector<std::uint64_t> values_in(std::string_view bytes) {
  std::vector<std::uint64_t> values;
  for (std::size_t at = 0; at + sizeof(std::uint64_t) <= bytes.size(); at += sizeof values[0]) {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    if (std::find(values.begin(), values.end(), value) == values.end()) {
      values.push_back(value);
    }
  }
  return values.size() > kTornValuesMax ? std::vector<std::uint64_t>{coherence::kGarbage} : values;
}

std::string bytes_of(std::uint64_t value, std::size_t size_bytes) {
  std::string bytes(size_bytes, '\0');
  for (std::size_t at = 0; at + sizeof value <= size_bytes; at += sizeof value) {
    std::memcpy(bytes.data() + at, &value, sizeof value);
  }
  return bytes;
}

std::string xattr_of(std::uint64_t value) {
  const std::string digits = std::to_string(value);
  return std::string(kXattrBytes - std::min(kXattrBytes, digits.size()), '0') + digits;
}

std::vector<std::uint64_t> xattr_values(const std::string& text) {
  std::uint64_t value = 0;
  for (const char digit : text) {
    value = value * 10 + static_cast<std::uint64_t>(digit - '0');
  }
  return {xattr_of(value) == text ? value : coherence::kGarbage};
}

SharedStory::SharedStory(const SimEvents& events, std::size_t clients, std::uint32_t slot_bytes,
                         std::function<void(const std::string&)> contradict)
    : events_(events),
      slot_bytes_(slot_bytes),
      contradict_(std::move(contradict)),
      clients_(clients) {
  for (Client& client : clients_) {
    client.mount = next_mount_++;
    client.mounted_at = events_.now();
  }
}

std::int64_t SharedStory::ns(MonoTime time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

// --- Operations ----------------------------------------------------------------------------------

SharedStory::Ticket SharedStory::begin(Operation op, std::size_t client) {
  op.mount = clients_.at(client).mount;
  op.sequence = ++operations_;
  op.invoked_ns = now_ns();
  if (op.kind == Kind::kWrite || op.kind == Kind::kAppend) {
    written_.insert(op.value);
  }
  history_.push_back(std::move(op));
  return {era_, history_.size() - 1};
}

void SharedStory::complete(Ticket ticket, const Operation& answered) {
  if (ticket.era != era_) {
    return;
  }
  Operation& op = history_.at(ticket.index);
  op.error = answered.error;
  op.inode = answered.inode;
  op.links = answered.links;
  op.size = answered.size;
  op.ids = answered.ids;
  op.listing = answered.listing;
  op.completed_ns = now_ns();
}

void SharedStory::drop(Ticket ticket) {
  if (ticket.era == era_) {
    history_.at(ticket.index).error = EINTR;  // never completed: left out
  }
}

void SharedStory::drop_lock(Ticket ticket) {
  if (ticket.era == era_) {
    Operation& op = history_.at(ticket.index);
    op.process = next_process_++;
    op.settled_ns = ns(events_.now() + kLockLinger);
  }
}

void SharedStory::settle(Ticket ticket) {
  if (ticket.era == era_) {
    history_.at(ticket.index).settled_ns = now_ns();
  }
}

// --- Clients -------------------------------------------------------------------------------------

void SharedStory::add_loss(const Client& client, Kind kind, std::uint64_t inode, MonoTime from) {
  Operation loss;
  loss.kind = kind;
  loss.mount = client.mount;
  loss.file = inode;
  loss.invoked_ns = ns(from);
  history_.push_back(loss);
}

// Since when what it buffers may be gone.
MonoTime SharedStory::lost_since(const Client& client) const {
  MonoTime since = client.over_since.value_or(client.may_be_over_since.value_or(events_.now()));
  for (const Operation& op : history_) {
    const bool is_open = op.kind == Kind::kHide && op.settled_ns == coherence::kNever;
    if (is_open && op.mount == client.mount) {
      since = std::min(since, MonoTime(std::chrono::nanoseconds(op.invoked_ns)));
    }
  }
  return since;
}

void SharedStory::died(std::size_t index) {
  Client& client = clients_.at(index);
  if (client.in_doubt_since) {
    begin_era(*client.in_doubt_since);
  } else {
    add_loss(client, Kind::kLose, 0, lost_since(client));
  }
  client = Client();
  client.mount = next_mount_++;
  client.mounted_at = events_.now();
}

void SharedStory::session_is_over(std::size_t index) {
  Client& client = clients_.at(index);
  if (!client.over_since) {
    client.over_since = events_.now();
  }
}

void SharedStory::master_started() {
  for (Client& client : clients_) {
    repeat_locks(client);
    if (!client.may_be_over_since) {
      client.may_be_over_since = events_.now();
    }
  }
}

// One whose answer was lost may have been given by a master that died, or in a session that is
// over: that is lost, and it is asked for again.
void SharedStory::repeat_locks(const Client& client) {
  History given;
  for (const Operation& op : history_) {
    const bool is_open =
        op.completed_ns == coherence::kNever && op.settled_ns == coherence::kNever && op.error == 0;
    const bool is_lock = op.kind == Kind::kLock || op.kind == Kind::kTryLock;
    if (is_open && is_lock && op.mount == client.mount) {
      given.push_back(op);
      given.back().process = next_process_++;
      given.back().settled_ns = now_ns();
    }
  }
  history_.insert(history_.end(), given.begin(), given.end());
}

// With the session.
void SharedStory::release_locks(const Client& client) {
  History released;
  for (const Operation& op : history_) {
    const bool is_lock = op.kind == Kind::kLock || op.kind == Kind::kTryLock;
    if (is_lock && op.mount == client.mount && op.is_made()) {
      Operation& unlock = released.emplace_back();
      unlock.kind = Kind::kUnlock;
      unlock.mount = op.mount;
      unlock.process = op.process;
      unlock.slot = op.slot;
      unlock.invoked_ns = ns(client.lost_since);
      unlock.settled_ns = now_ns();
    }
  }
  history_.insert(history_.end(), released.begin(), released.end());
}

// What is open says itself what it has lost.
void SharedStory::lost_session(std::size_t index, const std::set<std::uint64_t>& open) {
  Client& client = clients_.at(index);
  client.has_lost_session = true;
  client.is_sure = false;
  client.lost_since = lost_since(client);
  if (client.in_doubt_since) {
    begin_era(*client.in_doubt_since);
  }
  client.over_since.reset();
  client.may_be_over_since.reset();
  std::set<std::uint64_t> closed;
  for (const Operation& op : history_) {
    const bool is_write = op.kind == Kind::kWrite || op.kind == Kind::kAppend;
    if (is_write && op.mount == client.mount && !open.contains(op.file)) {
      closed.insert(op.file);
    }
  }
  repeat_locks(client);
  release_locks(client);
  add_loss(client, Kind::kHide, 0, client.lost_since);
  for (const std::uint64_t inode : closed) {
    add_loss(client, Kind::kLose, inode, client.lost_since);
  }
}

void SharedStory::told_loss(std::size_t index, std::uint64_t inode) {
  add_loss(clients_.at(index), Kind::kLose, inode, clients_.at(index).lost_since);
}

void SharedStory::losses_are_over(std::size_t index) {
  for (Operation& op : history_) {
    const bool is_loss = op.kind == Kind::kLose || op.kind == Kind::kHide;
    if (is_loss && op.mount == clients_.at(index).mount) {
      op.settled_ns = std::min(op.settled_ns, now_ns());
    }
  }
}

void SharedStory::is_sure(std::size_t client) { clients_.at(client).is_sure = true; }

void SharedStory::answered(std::size_t client, MonoTime asked_at) {
  auto& doubt = clients_.at(client).in_doubt_since;
  if (doubt && asked_at > *doubt) {
    doubt.reset();
  }
  auto& over = clients_.at(client).may_be_over_since;
  if (over && asked_at > *over) {
    over.reset();
  }
}

// Others may have seen what is lost now, and is made again in another way.
bool SharedStory::is_change_under_way() const {
  return std::any_of(history_.begin(), history_.end(), [](const Operation& op) {
    return op.completed_ns == coherence::kNever && op.settled_ns == coherence::kNever &&
           op.error == 0 && is_change_of_master(op.kind);
  });
}

void SharedStory::master_lost_power() {
  const bool are_sure = std::all_of(clients_.begin(), clients_.end(),
                                    [](const Client& client) { return client.is_sure; });
  if (!are_sure || is_change_under_way()) {
    begin_era(events_.now());
  }
  for (Client& client : clients_) {
    if (!client.in_doubt_since) {
      client.in_doubt_since = events_.now();
    }
  }
}

void SharedStory::begin_era(MonoTime from) {
  // Who has not heard since an earlier power loss that its session is over made nothing again.
  for (const Client& client : clients_) {
    if (client.in_doubt_since && client.over_since) {
      from = std::min(from, *client.in_doubt_since);
    }
  }
  std::erase_if(history_, [&](const Operation& op) { return op.invoked_ns >= ns(from); });
  for (Operation& op : history_) {
    if (op.completed_ns >= ns(from)) {
      op.completed_ns = coherence::kNever;
      op.error = 0;
    }
  }
  // Who has not heard yet that its session was over has not told yet what it lost.
  for (const Client& client : clients_) {
    if (lost_since(client) < from) {
      add_loss(client, Kind::kLose, 0, lost_since(client));
    }
  }
  check();
  history_.clear();
  ++era_;
  for (Client& client : clients_) {
    client.in_doubt_since.reset();
  }
}

// --- Checks --------------------------------------------------------------------------------------

void SharedStory::check() {
  auto parts = coherence::take_apart(history_);
  if (!parts) {
    contradict_("no history: " + parts.error().detail);
    return;
  }
  for (coherence::Part& part : *parts) {
    const auto found =
        coherence::check(*part.object, part.history,
                         {.forget_after = kForgetAfter, .configurations_max = kConfigurationsMax});
    if (found && found->is_undecided) {
      ++undecided_;
    } else if (found) {
      contradict_(coherence::report(part, *found));
      return;
    }
  }
}

void SharedStory::add_found(Operation op) {
  op.process = next_process_;
  op.mount = next_mount_;
  op.sequence = ++operations_;
  op.invoked_ns = now_ns() - 1;
  op.completed_ns = now_ns();
  history_.push_back(std::move(op));
}

void SharedStory::found(const ObservedTree& tree) {
  Operation listing;
  listing.kind = Kind::kList;
  std::set<std::uint64_t> files;
  for (const auto& [name, inode] : tree.nodes.at(tree.root).children) {
    if (name == kSharedLockName) {
      continue;
    }
    listing.listing.push_back({name, inode.value});
    const ObservedNode& node = tree.nodes.at(inode);
    Operation stat;
    stat.kind = Kind::kStat;
    stat.name = name;
    stat.inode = inode.value;
    stat.links = node.attributes.link_count;
    stat.size = node.attributes.size_bytes;
    add_found(stat);
    if (files.insert(inode.value).second) {
      add_found_file(inode.value, name, node);
    }
  }
  add_found(listing);
}

void SharedStory::add_found_file(std::uint64_t inode, const std::string& name,
                                 const ObservedNode& node) {
  const std::string_view contents = node.contents;
  Operation op;
  op.file = inode;
  const auto xattr = node.xattrs.find(kSharedXattr);
  op.kind = Kind::kGetXattr;
  op.ids = xattr == node.xattrs.end() ? std::vector<std::uint64_t>{} : xattr_values(xattr->second);
  add_found(op);
  if (name == kAppendedName) {
    op.kind = Kind::kReadAll;
    op.bytes = kRecordBytes;
    op.ids.clear();
    for (std::size_t at = 0; at < contents.size(); at += kRecordBytes) {
      const auto values = values_in(contents.substr(at, kRecordBytes));
      op.ids.push_back(values.size() == 1 ? values.front() : coherence::kGarbage);
    }
    add_found(op);
    return;
  }
  op.kind = Kind::kRead;
  op.bytes = slot_bytes_;
  for (op.slot = 0; op.slot < kSlots; ++op.slot) {
    const std::size_t at = std::size_t{op.slot} * slot_bytes_;
    op.ids = values_in(contents.substr(std::min(at, contents.size()), slot_bytes_));
    add_found(op);
  }
}

void SharedStory::found_earlier(std::uint64_t era, const ObservedTree& tree) {
  for (const auto& [name, inode] : tree.nodes.at(tree.root).children) {
    const std::string_view contents = tree.nodes.at(inode).contents;
    const std::size_t unit_bytes = name == kAppendedName ? kRecordBytes : slot_bytes_;
    for (std::size_t at = 0; at < contents.size(); at += unit_bytes) {
      const auto values = values_in(contents.substr(at, unit_bytes));
      const bool is_whole = values.size() == 1 && contents.size() - at >= unit_bytes;
      if (!is_whole || (values[0] != 0 && !written_.contains(values[0]))) {
        contradict_("nobody wrote what is in " + directory(era) + "/" + name + " at " +
                    std::to_string(at));
        return;
      }
    }
  }
}

}  // namespace dfs::sim
