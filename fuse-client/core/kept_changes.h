// The changes that the master answered and may still lose with the power of its machine. As long
// as this client lives it can say them again.
//
// Bookkeeping only: MasterLink fills it, asks the master to sync when it grows large or old, and
// bounds it. Ordered by the index the master gave.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/ids.h"
#include "proto/codec.h"
#include "proto/lease_messages.h"
#include "proto/session_messages.h"

namespace dfs::client {

// What a request changes, as others would be told, as far as the request says it.
template <class Request>
std::vector<LeaseChange> lease_changes_of(const Request& request) {
  std::vector<LeaseChange> changes;
  const auto add_file = [&](InodeId inode) {
    changes.push_back({.inode = inode, .contents = true, .names = {}, .new_names = {}});
  };
  const auto add_name = [&](InodeId directory, const std::string& name) {
    changes.push_back({.inode = directory, .contents = false, .names = {name}, .new_names = {}});
  };
  if constexpr (requires { request.inode; }) {
    add_file(request.inode);
  }
  if constexpr (requires { request.destination; }) {
    add_file(request.destination);
  }
  if constexpr (requires { request.parent; }) {
    add_name(request.parent, request.name);
  }
  if constexpr (requires { request.new_parent; }) {
    add_name(request.new_parent, request.new_name);
  }
  return changes;
}

// A request that can be said again, whatever its type.
class KeptRequest {
 public:
  virtual ~KeptRequest() = default;
  virtual MessageType type() const = 0;
  virtual Buffer encode(const Envelope& envelope) const = 0;
  // What it changes: whose fsync must fail if it is lost.
  virtual std::vector<InodeId> inodes(const ChangeStamp& stamp) const = 0;
  virtual std::vector<LeaseChange> lease_changes() const = 0;
  virtual std::size_t size_bytes() const = 0;  // roughly, encoded or in memory
};

template <class Request>
class KeptRequestOf final : public KeptRequest {
 public:
  explicit KeptRequestOf(Request what) : request(std::move(what)) {}

  MessageType type() const override { return Request::kType; }
  Buffer encode(const Envelope& envelope) const override {
    return encode_message(envelope, request);
  }
  std::vector<InodeId> inodes(const ChangeStamp& stamp) const override {
    std::vector<InodeId> changed;
    if (stamp.inode.is_set()) {
      changed.push_back(stamp.inode);
    }
    if constexpr (requires { request.inode; }) {
      changed.push_back(request.inode);
    }
    if constexpr (requires { request.destination; }) {
      changed.push_back(request.destination);
    }
    if constexpr (requires { request.parent; }) {
      changed.push_back(request.parent);
    }
    if constexpr (requires { request.new_parent; }) {
      changed.push_back(request.new_parent);
    }
    return changed;
  }
  std::vector<LeaseChange> lease_changes() const override { return lease_changes_of(request); }
  std::size_t size_bytes() const override {
    std::size_t bytes = sizeof(*this);
    if constexpr (requires { request.name; }) {
      bytes += request.name.size();
    }
    if constexpr (requires { request.new_name; }) {
      bytes += request.new_name.size();
    }
    if constexpr (requires { request.symlink_target; }) {
      bytes += request.symlink_target.size();
    }
    if constexpr (requires { request.value; }) {
      bytes += request.value.size();
    }
    return bytes;
  }

  const Request request;
};

struct KeptChange {
  std::uint64_t sequence = 0;
  ChangeStamp stamp;
  MonoTime answered{};
  std::shared_ptr<const KeptRequest> request;
};

class KeptChanges {
 public:
  struct Page {
    ReplayChangesRequest request;
    std::vector<KeptChange> changes;  // in the order of request.changes
  };

  void add(KeptChange change);
  // Forgets those up to `durable_index` and returns their sequences.
  std::vector<std::uint64_t> settle(std::uint64_t durable_index);
  void clear() { changes_.clear(); }

  bool empty() const { return changes_.empty(); }
  std::size_t count() const { return changes_.size(); }
  // When the oldest was answered. Precondition: not empty.
  MonoTime oldest() const;
  std::vector<KeptChange> all() const;
  // Everything, for the master of that incarnation: at least one page.
  std::vector<Page> pages(SessionId session, std::uint64_t incarnation) const;

 private:
  std::map<std::uint64_t, KeptChange> changes_;  // by index
};

}  // namespace dfs::client
