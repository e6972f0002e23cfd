// AppendFile: what the contents of a file that is only appended to answer.
#include <algorithm>

#include "tests/coherence/model.h"

namespace dfs::coherence {

// A state, unpacked.
class AppendFile::Unpacked {
 public:
  using Ids = std::vector<std::uint64_t>;

  explicit Unpacked(const State& state);
  State pack() const;

  bool is_stored_by(const Operation& op) const {
    return mount != 0 && op.kind != Kind::kLose && op.kind != Kind::kHide &&
           (op.kind == Kind::kSync) == (op.mount == mount);
  }
  bool may_show_hidden(const Operation& op) const {
    return !hidden.empty() && hidden_mount == op.mount;
  }
  void store();
  void show_hidden();
  // Only the first `left` are.
  Unpacked cut(std::size_t left) const;

  Ids ids;
  std::uint64_t mount = 0;   // that may lose some of it, or 0
  std::uint64_t stored = 0;  // how many it does not lose
  // What that mount, or 0, had buffered when its session was over. Empty: others changed the file
  // since, so it never will be stored.
  std::uint64_t hidden_mount = 0;
  Ids hidden;
};

AppendFile::Unpacked::Unpacked(const State& state)
    : mount(state[0]), stored(state[1]), hidden_mount(state[2]) {
  const auto begin_hidden = state.begin() + kHeadWords;
  const auto begin = begin_hidden + static_cast<std::ptrdiff_t>(state[3]);
  hidden.assign(begin_hidden, begin);
  ids.assign(begin, state.end());
}

State AppendFile::Unpacked::pack() const {
  State state{mount, stored, hidden_mount, hidden.size()};
  state.insert(state.end(), hidden.begin(), hidden.end());
  state.insert(state.end(), ids.begin(), ids.end());
  return state;
}

void AppendFile::Unpacked::store() {
  if (mount != 0 && stored != ids.size()) {
    hidden.clear();
  }
  mount = stored = 0;
}

// It is buffered by the mount that hid it, as before.
void AppendFile::Unpacked::show_hidden() {
  store();
  if (hidden.empty()) {
    return;
  }
  mount = hidden_mount;
  stored = ids.size();
  ids.insert(ids.end(), hidden.begin(), hidden.end());
  hidden.clear();
  hidden_mount = 0;
}

AppendFile::Unpacked AppendFile::Unpacked::cut(std::size_t left) const {
  Unpacked one = *this;
  if (left != stored) {
    one.hidden.clear();  // some of it was stored, which is a change
  }
  one.ids.resize(left);
  one.mount = one.stored = 0;
  return one;
}

// --- Operations ----------------------------------------------------------------------------------

Stage AppendFile::observe(const State& state, const Operation& op, Stage stage) const {
  if (stage == kDone || !op.is_made()) {
    return stage;
  }
  const Unpacked file(state);
  return file.is_stored_by(op) ? stage : told_by(file, op, stage);
}

// A mount sees what it buffers, also after its session was over.
Stage AppendFile::told_by(const Unpacked& file, const Operation& op, Stage stage) const {
  if (op.kind == Kind::kSync && file.hidden_mount == op.mount) {
    return stage;  // not before it is stored, or lost
  }
  if (told(file.ids, op, stage) == kDone || !file.may_show_hidden(op)) {
    return told(file.ids, op, stage);
  }
  Unpacked shown = file;
  shown.show_hidden();
  return told(shown.ids, op, stage);
}

Stage AppendFile::told(const std::vector<std::uint64_t>& ids, const Operation& op,
                       Stage stage) const {
  switch (op.kind) {
    case Kind::kStat:
    case Kind::kFstat: return ids.size() * bytes_ == op.size ? kDone : stage;
    case Kind::kReadAll: return ids == op.ids ? kDone : stage;
    case Kind::kSync: return kDone;
    default: return stage;
  }
}

void AppendFile::steps(const State& state, const Operation& op, Stage stage,
                       std::vector<Step>& steps) const {
  if (op.error != 0) {
    return;
  }
  Unpacked file(state);
  if (op.kind == Kind::kLose) {
    lose(std::move(file), op, steps);
    return;
  }
  if (op.kind == Kind::kHide) {
    hide(std::move(file), op, stage, steps);
    return;
  }
  if (file.may_show_hidden(op)) {
    file.show_hidden();
  }
  if (file.is_stored_by(op)) {
    file.store();
  }
  if (const Stage then = told_by(file, op, stage); then != stage) {
    steps.push_back({.state = file.pack(), .stage = then});
  }
  if (op.kind == Kind::kAppend) {
    if (!losing_.contains(op.mount)) {
      file.hidden.clear();
    } else if (file.mount == 0) {
      file.mount = op.mount;
      file.stored = file.ids.size();
    }
    file.ids.push_back(op.value);
    steps.push_back({.state = file.pack()});
  }
}

void AppendFile::lose(Unpacked file, const Operation& op, std::vector<Step>& steps) const {
  if (file.hidden_mount == op.mount) {
    Unpacked without = file;
    without.hidden.clear();
    without.hidden_mount = 0;
    steps.push_back({.state = without.pack()});
    file.show_hidden();
  }
  if (file.mount == op.mount) {
    for (std::size_t left = file.stored; left <= file.ids.size(); ++left) {
      steps.push_back({.state = file.cut(left).pack()});
    }
  }
}

// First what it buffers is not there any more, later it is again.
void AppendFile::hide(Unpacked file, const Operation& op, Stage stage,
                      std::vector<Step>& steps) const {
  constexpr Stage kHidden = 1;
  if (stage == kHidden) {
    if (file.may_show_hidden(op)) {
      file.show_hidden();
      steps.push_back({.state = file.pack()});
    }
    return;
  }
  for (std::size_t left = file.stored; file.mount == op.mount && left < file.ids.size(); ++left) {
    Unpacked one = file.cut(left);
    one.hidden_mount = op.mount;
    one.hidden.assign(file.ids.begin() + static_cast<std::ptrdiff_t>(left), file.ids.end());
    steps.push_back({.state = one.pack(), .stage = kHidden});
  }
}

std::string AppendFile::describe(const State& state) const {
  const Unpacked file(state);
  std::string text = "size " + std::to_string(file.ids.size() * bytes_) + ":";
  for (const std::uint64_t id : file.ids) {
    text += " " + describe_id(id);
  }
  if (file.mount != 0) {
    text += "; stored " + std::to_string(file.stored);
  }
  if (file.hidden_mount != 0) {
    text += file.hidden.empty() ? "; lost by a client" : "; kept by a client";
  }
  for (const std::uint64_t id : file.hidden) {
    text += " " + describe_id(id);
  }
  return text;
}

}  // namespace dfs::coherence
