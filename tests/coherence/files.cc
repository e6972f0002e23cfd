// SlotFile, AppendFile, Register, Lock: what one file's contents, an attribute and one
// lock answer.
#include <algorithm>
#include <cerrno>

#include "tests/coherence/model.h"

namespace dfs::coherence {

// --- SlotFile ------------------------------------------------------------------------------------

// Whether `op` can only be answered when nothing can be lost any more of what may be in `state`.
bool SlotFile::is_stored_by(const State& state, const Operation& op) const {
  return state.size() > 1 + slots_ && op.kind != Kind::kLose &&
         (op.kind == Kind::kSync) == (op.mount == state[1 + slots_]);
}

State SlotFile::stored(const State& state) const {
  return {state.begin(), state.begin() + 1 + slots_};
}

Stage SlotFile::observe(const State& state, const Operation& op, Stage stage) const {
  if (stage == kDone || !op.is_made() || is_stored_by(state, op)) {
    return stage;
  }
  return told(state, op, stage);
}

Stage SlotFile::told(const State& state, const Operation& op, Stage stage) const {
  const std::uint64_t size = state[0];
  const bool is_end = std::uint64_t{op.slot} * bytes_ >= size;
  switch (op.kind) {
    case Kind::kStat:
    case Kind::kFstat: return size == op.size ? kDone : stage;
    case Kind::kCopy: return op.size == 0 && is_end ? kDone : stage;
    case Kind::kSync: return kDone;
    case Kind::kRead: break;
    default: return stage;
  }
  if (op.ids.empty()) {
    return is_end ? kDone : stage;
  }
  for (std::size_t i = 0; i < op.ids.size(); ++i) {
    const bool is_true = !is_end && state[1 + op.slot] == op.ids[i];
    stage |= is_true ? std::uint64_t{1} << i : 0;
  }
  return stage == (std::uint64_t{1} << op.ids.size()) - 1 ? kDone : stage;
}

void SlotFile::steps(const State& state, const Operation& op, Stage stage,
                     std::vector<Step>& steps) const {
  if (op.error != 0) {
    return;
  }
  if (op.kind == Kind::kLose) {
    if (state.size() > 1 + slots_ && state[1 + slots_] == op.mount) {
      lose(state, steps);
    }
    return;
  }
  State after = is_stored_by(state, op) ? stored(state) : state;
  const Stage then = told(after, op, stage);
  if (is_stored_by(state, op) && then != stage) {
    steps.push_back({.state = after, .stage = then});
  }
  const bool is_end = std::uint64_t{op.slot} * bytes_ >= state[0];
  switch (op.kind) {
    case Kind::kWrite: write(after, op); break;
    case Kind::kTruncate: truncate(after, op.value); break;
    case Kind::kPunch:
      after = stored(after);
      after[1 + op.slot] = 0;
      break;
    case Kind::kAllocate:
      after = stored(after);
      after[0] = std::max(after[0], (std::uint64_t{op.slot} + 1) * bytes_);
      break;
    case Kind::kCopy:
      if (is_end || (op.is_known() && op.size == 0)) {
        return;
      }
      after = stored(after);
      put(after, op.value, after[1 + op.slot]);
      break;
    default: return;
  }
  steps.push_back({.state = std::move(after)});
}

void SlotFile::put(State& state, std::uint64_t slot, std::uint64_t id) const {
  state[1 + slot] = id;
  state[0] = std::max(state[0], (slot + 1) * bytes_);
}

void SlotFile::cut(State& state, std::uint64_t size) const {
  state[0] = size;
  for (std::uint32_t i = 0; i < slots_; ++i) {
    state[1 + i] = std::uint64_t{i} * bytes_ >= size ? 0 : state[1 + i];
  }
}

// What is left of what was written need not be stored by that, nor a size that does not change.
void SlotFile::truncate(State& state, std::uint64_t size) const {
  if (state.size() > 1 + slots_) {
    std::uint64_t& stored_size = state[2 + slots_];
    stored_size = size == state[0] ? stored_size : size;
    for (std::size_t i = 3 + slots_; i < state.size();) {
      const auto place = state.begin() + static_cast<std::ptrdiff_t>(i);
      const bool is_cut = state[i] * bytes_ >= size;
      is_cut ? static_cast<void>(state.erase(place, place + 2)) : static_cast<void>(i += 2);
    }
  }
  cut(state, size);
}

// What was there before may come back, if the writer is one that loses.
void SlotFile::write(State& state, const Operation& op) const {
  if (losing_.contains(op.mount)) {
    if (state.size() == 1 + slots_) {
      state.insert(state.end(), {op.mount, state[0]});
    }
    const std::uint64_t before = state[1 + op.slot];
    bool is_noted = false;
    for (std::size_t i = 3 + slots_; i < state.size(); i += 2) {
      is_noted = is_noted || (state[i] == op.slot && state[i + 1] == before);
    }
    if (!is_noted) {
      state.insert(state.end(), {op.slot, before});
    }
  }
  put(state, op.slot, op.value);
}

// Of each slot what was stored is left, or anything written since.
void SlotFile::lose(const State& state, std::vector<Step>& steps) const {
  std::vector<State> left = {stored(state)};
  cut(left.front(), state[2 + slots_]);
  std::set<std::uint64_t> done;
  for (std::size_t i = 3 + slots_; i < state.size(); i += 2) {
    const std::uint64_t slot = state[i];
    if (!done.insert(slot).second) {
      continue;
    }
    std::vector<State> next;
    for (const State& one : left) {
      next.push_back(one);
      next.back()[1 + slot] = state[i + 1];
      for (std::size_t j = i + 2; j < state.size(); j += 2) {
        if (state[j] == slot) {
          put(next.emplace_back(one), slot, state[j + 1]);
        }
      }
      put(next.emplace_back(one), slot, state[1 + slot]);
    }
    left = std::move(next);
  }
  for (State& one : left) {
    steps.push_back({.state = std::move(one)});
  }
}

std::string SlotFile::describe(const State& state) const {
  std::string text = "size " + std::to_string(state[0]) + ":";
  for (std::uint32_t i = 0; i < slots_ && std::uint64_t{i} * bytes_ < state[0]; ++i) {
    text += " " + describe_id(state[1 + i]);
  }
  for (std::size_t i = 3 + slots_; i < state.size(); i += 2) {
    text += i == 3 + slots_ ? "; stored size " + std::to_string(state[i - 1]) + ", before" : ",";
    text += " slot " + std::to_string(state[i]) + " " + describe_id(state[i + 1]);
  }
  return text;
}

// --- AppendFile ----------------------------------------------------------------------------------

bool AppendFile::is_stored_by(const State& state, const Operation& op) const {
  return state[0] != 0 && op.kind != Kind::kLose &&
         (op.kind == Kind::kSync) == (op.mount == state[0]);
}

Stage AppendFile::observe(const State& state, const Operation& op, Stage stage) const {
  if (stage == kDone || !op.is_made() || is_stored_by(state, op)) {
    return stage;
  }
  return told(state, op, stage);
}

Stage AppendFile::told(const State& state, const Operation& op, Stage stage) const {
  switch (op.kind) {
    case Kind::kStat:
    case Kind::kFstat: return (state.size() - kIds) * bytes_ == op.size ? kDone : stage;
    case Kind::kReadAll:
      return std::equal(state.begin() + kIds, state.end(), op.ids.begin(), op.ids.end()) ? kDone
                                                                                         : stage;
    case Kind::kSync: return kDone;
    default: return stage;
  }
}

void AppendFile::steps(const State& state, const Operation& op, Stage stage,
                       std::vector<Step>& steps) const {
  if (op.error != 0) {
    return;
  }
  if (op.kind == Kind::kLose) {
    for (std::size_t left = state[1]; state[0] == op.mount && left + kIds <= state.size(); ++left) {
      steps.push_back({.state = state});
      State& after = steps.back().state;
      after.resize(kIds + left);
      after[0] = after[1] = 0;
    }
    return;
  }
  State after = state;
  if (is_stored_by(state, op)) {
    after[0] = after[1] = 0;
    if (const Stage then = told(after, op, stage); then != stage) {
      steps.push_back({.state = after, .stage = then});
    }
  }
  if (op.kind == Kind::kAppend) {
    if (after[0] == 0 && losing_.contains(op.mount)) {
      after[0] = op.mount;
      after[1] = after.size() - kIds;
    }
    after.push_back(op.value);
    steps.push_back({.state = std::move(after)});
  }
}

std::string AppendFile::describe(const State& state) const {
  std::string text = "size " + std::to_string((state.size() - kIds) * bytes_) + ":";
  for (std::size_t i = kIds; i < state.size(); ++i) {
    text += " " + describe_id(state[i]);
  }
  return text + (state[0] == 0 ? "" : "; stored " + std::to_string(state[1]));
}

// --- Register ------------------------------------------------------------------------------------

Stage Register::observe(const State& state, const Operation& op, Stage stage) const {
  if (stage == kDone || !op.is_known()) {
    return stage;
  }
  const bool is_absent = state[0] == 0;
  if (op.error != 0) {
    const bool is_refused = op.kind == Kind::kSetXattr && op.value == 0 && op.error == ENODATA;
    return is_refused && is_absent ? kDone : stage;
  }
  const bool is_told = op.kind == Kind::kGetXattr &&
                       (op.ids.empty() ? is_absent : op.ids == State{state[0]} && !is_absent);
  return is_told ? kDone : stage;
}

void Register::steps(const State& state, const Operation& op, Stage,
                     std::vector<Step>& steps) const {
  const bool can_be = op.value != 0 || state[0] != 0;
  if (op.error == 0 && op.kind == Kind::kSetXattr && can_be) {
    steps.push_back({.state = {op.value}});
  }
}

std::string Register::describe(const State& state) const {
  return state[0] == 0 ? "none" : describe_id(state[0]);
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
