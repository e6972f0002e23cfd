// Register, Lock: what an attribute of a file and one lock answer.
#include <cerrno>

#include "tests/coherence/model.h"

namespace dfs::coherence {

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
