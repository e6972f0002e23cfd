// Hand-written histories: each line is one operation with its moments, its process and its answer.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tests/coherence/history.h"

namespace dfs::coherence {

constexpr std::uint32_t kSlotBytes = 512;
constexpr std::uint32_t kRecordBytes = 104;

// Operations of a process of its own each, unless `by` says otherwise: from `from` to `to`.
class Story {
 public:
  Operation& add(std::int64_t from, std::int64_t to, Kind kind, std::string name = {},
                 std::string other = {}) {
    Operation& op = history_.emplace_back();
    op.process = static_cast<std::uint32_t>(history_.size());
    op.sequence = history_.size();
    op.invoked_ns = from;
    op.completed_ns = to;
    op.kind = kind;
    op.name = std::move(name);
    op.other = std::move(other);
    return op;
  }
  void fails(std::int64_t from, std::int64_t to, Kind kind, int error, std::string name,
             std::string other = {}) {
    add(from, to, kind, std::move(name), std::move(other)).error = error;
  }
  void opens(std::int64_t from, std::int64_t to, Kind kind, std::string name, std::uint64_t inode) {
    add(from, to, kind, std::move(name)).inode = inode;
  }
  void stats(std::int64_t from, std::int64_t to, std::string name, std::uint64_t inode,
             std::uint32_t links) {
    Operation& op = add(from, to, Kind::kStat, std::move(name));
    op.inode = inode;
    op.links = links;
  }
  void lists(std::int64_t from, std::int64_t to, std::vector<Entry> listing) {
    add(from, to, Kind::kList).listing = std::move(listing);
  }
  void writes(std::int64_t from, std::int64_t to, std::uint32_t slot, std::uint64_t id) {
    Operation& op = on_file(from, to, Kind::kWrite, kSlotBytes);
    op.slot = slot;
    op.value = id;
  }
  void reads(std::int64_t from, std::int64_t to, std::uint32_t slot,
             std::vector<std::uint64_t> ids) {
    Operation& op = on_file(from, to, Kind::kRead, kSlotBytes);
    op.slot = slot;
    op.ids = std::move(ids);
  }
  void truncates(std::int64_t from, std::int64_t to, std::uint64_t size) {
    on_file(from, to, Kind::kTruncate, kSlotBytes).value = size;
  }
  void appends(std::int64_t from, std::int64_t to, std::uint64_t id) {
    on_file(from, to, Kind::kAppend, kRecordBytes).value = id;
  }
  void reads_all(std::int64_t from, std::int64_t to, std::vector<std::uint64_t> ids) {
    on_file(from, to, Kind::kReadAll, kRecordBytes).ids = std::move(ids);
  }
  void sees_size(std::int64_t from, std::int64_t to, std::uint64_t size) {
    on_file(from, to, Kind::kFstat, 0).size = size;
  }
  // What the last operation asked for was asked on this mount.
  void on_mount(std::uint32_t mount) { history_.back().mount = mount; }
  void settle_last(std::int64_t at) { history_.back().settled_ns = at; }
  void syncs(std::int64_t from, std::int64_t to) { on_file(from, to, Kind::kSync, kSlotBytes); }
  void loses(std::int64_t from, std::uint32_t mount) {
    add(from, kNever, Kind::kLose).mount = mount;
  }
  void hides(std::int64_t from, std::uint32_t mount) {
    add(from, kNever, Kind::kHide).mount = mount;
  }
  void copies(std::int64_t from, std::int64_t to, std::uint32_t slot, std::uint32_t to_slot,
              std::uint64_t bytes) {
    Operation& op = on_file(from, to, Kind::kCopy, kSlotBytes);
    op.slot = slot;
    op.value = to_slot;
    op.size = bytes;
  }
  void locks(std::int64_t from, std::int64_t to, Kind kind, std::uint32_t by, int error = 0) {
    Operation& op = add(from, to, kind);
    op.process = by;
    op.error = error;
  }

  const History& history() const { return history_; }

 private:
  Operation& on_file(std::int64_t from, std::int64_t to, Kind kind, std::uint32_t bytes) {
    Operation& op = add(from, to, kind);
    op.file = 7;
    op.bytes = bytes;
    return op;
  }

  History history_;
};

}  // namespace dfs::coherence
