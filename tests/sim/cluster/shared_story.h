// What all sharers (sharer.h) did and were told in their shared directory, and the check of that.
//
// The record is a history of tests/coherence, in virtual time. It is one history as long as nothing
// that was answered can be lost but what a dead client had buffered. When more can be (the power of
// the master's machine, and a client that cannot tell its changes again), the history is checked as
// far as it goes, and another begins in a new, empty directory: a new era.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/coherence/history.h"
#include "tests/sim/cluster/walker.h"
#include "tests/sim/sim_events.h"

namespace dfs::sim {

class SharedStory {
 public:
  // An operation in the history of an era; void when that is over.
  struct Ticket {
    std::uint64_t era = 0;
    std::size_t index = 0;
  };

  static constexpr std::uint32_t kSlots = 4;
  static constexpr std::uint32_t kRecordBytes = 104;

  SharedStory(const SimEvents& events, std::size_t clients, std::uint32_t slot_bytes,
              std::function<void(const std::string&)> contradict);

  std::uint64_t era() const { return era_; }
  std::string directory() const { return directory(era_); }
  static std::string directory(std::uint64_t era) { return "shared" + std::to_string(era); }
  std::uint32_t slot_bytes() const { return slot_bytes_; }
  std::uint32_t new_process() { return next_process_++; }

  // --- Operations ---
  // `op` says who asks for what.
  Ticket begin(coherence::Operation op, std::size_t client);
  void complete(Ticket ticket, const coherence::Operation& answered);
  // It was surely not made, and told nothing.
  void drop(Ticket ticket);
  // The same of a lock: it may have been taken for a while, until the master hears that nobody
  // wants it any more.
  void drop_lock(Ticket ticket);
  // It was made by now, or never will be.
  void settle(Ticket ticket);

  // --- Clients ---
  void died(std::size_t client);
  // The master ended a session of it, or of one before it. It may not know yet.
  void session_is_over(std::size_t client);
  // Whose session it had ended when it died is not known.
  void master_started();
  // It has a new session, the old one was over. `open`: its files that are open.
  void lost_session(std::size_t client, const std::set<std::uint64_t>& open);
  // It said that writes of this file are lost.
  void told_loss(std::size_t client, std::uint64_t inode);
  // Whatever of its writes was lost is lost by now.
  void losses_are_over(std::size_t client);
  // All that was answered to it or to one before it is on stable storage.
  void is_sure(std::size_t client);
  // The master answered what was asked at that time.
  void answered(std::size_t client, MonoTime asked_at);
  void master_lost_power();
  bool has_lost_session(std::size_t client) const { return clients_.at(client).has_lost_session; }

  // --- Checks ---
  // At the end a new client found this in the directory of this era.
  void found(const ObservedTree& tree);
  // The same of an earlier era: nothing in it may be what nobody wrote.
  void found_earlier(std::uint64_t era, const ObservedTree& tree);
  void check();
  // Parts of histories in which too much was possible at once to judge them.
  std::size_t undecided() const { return undecided_; }
  std::size_t operations_count() const { return operations_; }

 private:
  struct Client {
    std::uint32_t mount = 0;
    MonoTime mounted_at{};
    bool is_sure = false;
    bool has_lost_session = false;
    // The master lost power and has not been seen at work since by this client.
    std::optional<MonoTime> in_doubt_since;
    // When its session was over, if it was; what it had buffered may be lost since.
    std::optional<MonoTime> over_since;
    std::optional<MonoTime> may_be_over_since;
    MonoTime lost_since{};  // the same of its last one
  };

  std::int64_t now_ns() const { return ns(events_.now()); }
  static std::int64_t ns(MonoTime time);
  void add_loss(const Client& client, coherence::Kind kind, std::uint64_t inode, MonoTime from);
  MonoTime lost_since(const Client& client) const;
  void repeat_locks(const Client& client);
  void release_locks(const Client& client);
  bool is_change_under_way() const;
  // What happened from then on is no part of this history.
  void begin_era(MonoTime from);
  void add_found(coherence::Operation op);
  void add_found_file(std::uint64_t inode, const std::string& name, const ObservedNode& node);

  const SimEvents& events_;
  const std::uint32_t slot_bytes_;
  std::function<void(const std::string&)> contradict_;
  std::uint64_t era_ = 1;
  std::uint32_t next_mount_ = 1;
  std::uint32_t next_process_ = 1;
  std::size_t operations_ = 0;
  std::size_t undecided_ = 0;
  std::vector<Client> clients_;
  coherence::History history_;
  std::set<std::uint64_t> written_;  // in any era
};

// The values in `bytes` of a slot or record: one unless it is torn.
std::vector<std::uint64_t> values_in(std::string_view bytes);
std::string bytes_of(std::uint64_t value, std::size_t size_bytes);
// Of an extended attribute.
std::string xattr_of(std::uint64_t value);
std::vector<std::uint64_t> xattr_values(const std::string& text);
inline constexpr const char* kSharedXattr = "user.shared";
// Files of this name are only appended to, and all others not.
inline constexpr const char* kAppendedName = "log";
inline constexpr const char* kSharedLockName = "lock";  // not in the history

}  // namespace dfs::sim
