// SlotFile, AppendFile, Lock: what one file's contents and one lock answer.
#include <algorithm>
#include <cerrno>

#include "tests/coherence/model.h"

namespace dfs::coherence {

// --- SlotFile ------------------------------------------------------------------------------------

Stage SlotFile::observe(const State& state, const Operation& op, Stage stage) const {
  if (stage == kDone || !op.is_made()) {
    return stage;
  }
  const std::uint64_t size = state[0];
  if (op.kind == Kind::kStat || op.kind == Kind::kFstat) {
    return size == op.size ? kDone : stage;
  }
  if (op.kind != Kind::kRead) {
    return stage;
  }
  const bool is_end = std::uint64_t{op.slot} * bytes_ >= size;
  if (op.ids.empty()) {
    return is_end ? kDone : stage;
  }
  for (std::size_t i = 0; i < op.ids.size(); ++i) {
    const bool is_true = !is_end && state[1 + op.slot] == op.ids[i];
    stage |= is_true ? std::uint64_t{1} << i : 0;
  }
  return stage == (std::uint64_t{1} << op.ids.size()) - 1 ? kDone : stage;
}

void SlotFile::steps(const State& state, const Operation& op, Stage,
                     std::vector<Step>& steps) const {
  if (op.error != 0 || (op.kind != Kind::kWrite && op.kind != Kind::kTruncate)) {
    return;
  }
  steps.push_back({.state = state});
  State& after = steps.back().state;
  if (op.kind == Kind::kWrite) {
    after[1 + op.slot] = op.value;
    after[0] = std::max(after[0], (std::uint64_t{op.slot} + 1) * bytes_);
    return;
  }
  after[0] = op.value;
  for (std::uint32_t i = 0; i < slots_; ++i) {
    after[1 + i] = std::uint64_t{i} * bytes_ >= op.value ? 0 : after[1 + i];
  }
}

std::string SlotFile::describe(const State& state) const {
  std::string text = "size " + std::to_string(state[0]) + ":";
  for (std::uint32_t i = 0; i < slots_ && std::uint64_t{i} * bytes_ < state[0]; ++i) {
    text += " " + describe_id(state[1 + i]);
  }
  return text;
}

// --- AppendFile ----------------------------------------------------------------------------------

Stage AppendFile::observe(const State& state, const Operation& op, Stage stage) const {
  if (stage == kDone || !op.is_made()) {
    return stage;
  }
  switch (op.kind) {
    case Kind::kStat:
    case Kind::kFstat: return state.size() * bytes_ == op.size ? kDone : stage;
    case Kind::kReadAll: return state == op.ids ? kDone : stage;
    default: return stage;
  }
}

void AppendFile::steps(const State& state, const Operation& op, Stage,
                       std::vector<Step>& steps) const {
  if (op.error == 0 && op.kind == Kind::kAppend) {
    steps.push_back({.state = state});
    steps.back().state.push_back(op.value);
  }
}

std::string AppendFile::describe(const State& state) const {
  std::string text = "size " + std::to_string(state.size() * bytes_) + ":";
  for (const std::uint64_t id : state) {
    text += " " + describe_id(id);
  }
  return text;
}

// --- Lock ----------------------------------------------------------------------------------------

Stage Lock::observe(const State& state, const Operation& op, Stage stage) const {
  const bool is_refused =
      op.is_known() && op.kind == Kind::kTryLock && (op.error == EAGAIN || op.error == EACCES);
  const bool is_held_by_other = state[0] != 0 && state[0] != std::uint64_t{op.process} + 1;
  return is_refused && is_held_by_other ? kDone : stage;
}

void Lock::steps(const State& state, const Operation& op, Stage, std::vector<Step>& steps) const {
  const std::uint64_t self = std::uint64_t{op.process} + 1;
  if (op.error != 0) {
    return;
  }
  if (op.kind == Kind::kUnlock && state[0] == self) {
    steps.push_back({.state = {0}});
  } else if (op.kind != Kind::kUnlock && (state[0] == 0 || state[0] == self)) {
    steps.push_back({.state = {self}});
  }
}

std::string Lock::describe(const State& state) const {
  return state[0] == 0 ? "free" : "held by process " + std::to_string(state[0] - 1);
}

}  // namespace dfs::coherence
