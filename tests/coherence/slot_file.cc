// SlotFile: what the contents of a file of a few slots answer.
#include <algorithm>
#include <set>

#include "tests/coherence/model.h"

namespace dfs::coherence {
namespace {

struct Slots {
  std::uint64_t size = 0;
  std::vector<std::uint64_t> ids;
  friend bool operator==(const Slots&, const Slots&) = default;
};

}  // namespace

// A state, unpacked.
class SlotFile::Unpacked {
 public:
  struct Before {
    std::uint64_t slot = 0, id = 0;
    friend bool operator==(const Before&, const Before&) = default;
  };

  Unpacked(const State& state, std::uint32_t slots, std::uint32_t slot_bytes);
  State pack() const;

  bool is_dirty() const { return mount != 0; }
  // Whoever asks but the mount that buffers, and its own sync, has all stored first.
  bool is_stored_by(const Operation& op) const {
    return is_dirty() && op.kind != Kind::kLose && op.kind != Kind::kHide &&
           (op.kind == Kind::kSync) == (op.mount == mount);
  }
  bool may_show_hidden(const Operation& op) const { return hidden && hidden_mount == op.mount; }

  void store();
  // The same of a change that is stored at once.
  void changes();
  void put(std::uint64_t slot, std::uint64_t id);
  void cut(std::uint64_t size);
  void note_before(std::uint64_t slot, std::uint64_t id);
  // Of each slot what was stored is left, or anything written since.
  std::vector<Unpacked> losses() const;
  void show_hidden();

  Slots now;
  // What may be lost: the mount that has it, or 0; the size that is stored; and what was there
  // before in slots written to.
  std::uint64_t mount = 0;
  std::uint64_t stored_size = 0;
  std::vector<Before> before;
  // What that mount, or 0, had buffered when its session was over. Not there any more: others
  // changed the file since, so it never will be stored.
  std::uint64_t hidden_mount = 0;
  std::optional<Slots> hidden;

 private:
  std::uint32_t bytes_;
};

SlotFile::Unpacked::Unpacked(const State& state, std::uint32_t slots, std::uint32_t slot_bytes)
    : bytes_(slot_bytes) {
  auto at = state.begin();
  const auto take = [&] { return at == state.end() ? 0 : *at++; };
  const auto take_slots = [&] {
    Slots taken{.size = take(), .ids = {}};
    for (std::uint32_t i = 0; i < slots; ++i) {
      taken.ids.push_back(take());
    }
    return taken;
  };
  now = take_slots();
  mount = take();
  stored_size = take();
  hidden_mount = take();
  if (take() != 0) {
    hidden = take_slots();
  }
  while (at != state.end()) {
    const std::uint64_t slot = take();
    before.push_back({.slot = slot, .id = take()});
  }
}

State SlotFile::Unpacked::pack() const {
  State state{now.size};
  state.insert(state.end(), now.ids.begin(), now.ids.end());
  if (mount == 0 && hidden_mount == 0) {
    return state;
  }
  state.insert(state.end(), {mount, stored_size, hidden_mount, hidden ? 1U : 0U});
  if (hidden) {
    state.push_back(hidden->size);
    state.insert(state.end(), hidden->ids.begin(), hidden->ids.end());
  }
  for (const Before& one : before) {
    state.insert(state.end(), {one.slot, one.id});
  }
  return state;
}

void SlotFile::Unpacked::store() {
  if (is_dirty() && (!before.empty() || stored_size != now.size)) {
    hidden.reset();
  }
  mount = stored_size = 0;
  before.clear();
}

void SlotFile::Unpacked::changes() {
  store();
  hidden.reset();
}

void SlotFile::Unpacked::put(std::uint64_t slot, std::uint64_t id) {
  now.ids[slot] = id;
  now.size = std::max(now.size, (slot + 1) * bytes_);
}

void SlotFile::Unpacked::cut(std::uint64_t size) {
  now.size = size;
  for (std::uint64_t slot = 0; slot < now.ids.size(); ++slot) {
    now.ids[slot] = slot * bytes_ >= size ? 0 : now.ids[slot];
  }
  std::erase_if(before, [&](const Before& one) { return one.slot * bytes_ >= size; });
}

// By slot; of each the stored one first and then the others by id, so that equal states look equal.
void SlotFile::Unpacked::note_before(std::uint64_t slot, std::uint64_t id) {
  const auto begin = std::find_if(before.begin(), before.end(),
                                  [&](const Before& one) { return one.slot >= slot; });
  if (begin == before.end() || begin->slot > slot) {
    before.insert(begin, {.slot = slot, .id = id});
    return;
  }
  const auto place = std::find_if(
      begin + 1, before.end(), [&](const Before& one) { return one.slot > slot || one.id >= id; });
  const bool is_noted = begin->id == id || (place != before.end() && *place == Before{slot, id});
  if (!is_noted) {
    before.insert(place, {.slot = slot, .id = id});
  }
}

std::vector<SlotFile::Unpacked> SlotFile::Unpacked::losses() const {
  std::vector<Unpacked> left = {*this};
  left.front().store();
  left.front().hidden = hidden;
  left.front().cut(stored_size);
  std::set<std::uint64_t> done;
  for (std::size_t i = 0; i < before.size(); ++i) {
    const std::uint64_t slot = before[i].slot;
    if (!done.insert(slot).second) {
      continue;
    }
    std::vector<Unpacked> next;
    for (const Unpacked& one : left) {
      next.push_back(one);
      next.back().now.ids[slot] = before[i].id;
      for (std::size_t j = i + 1; j < before.size(); ++j) {
        if (before[j].slot == slot) {
          next.emplace_back(one).put(slot, before[j].id);
        }
      }
      next.emplace_back(one).put(slot, now.ids[slot]);
    }
    left = std::move(next);
  }
  const Slots stored = left.front().now;
  for (Unpacked& one : left) {
    if (one.now != stored) {
      one.hidden.reset();  // some of it was stored, which is a change
    }
  }
  return left;
}

// It is buffered by the mount that hid it, as before.
void SlotFile::Unpacked::show_hidden() {
  store();
  if (!hidden) {
    return;
  }
  mount = hidden_mount;
  stored_size = now.size;
  for (std::uint64_t slot = 0; slot < now.ids.size(); ++slot) {
    if (now.ids[slot] != hidden->ids[slot]) {
      note_before(slot, now.ids[slot]);
    }
  }
  now = std::move(*hidden);
  hidden.reset();
  hidden_mount = 0;
}

// --- Operations ----------------------------------------------------------------------------------

Stage SlotFile::observe(const State& state, const Operation& op, Stage stage) const {
  if (stage == kDone || !op.is_made()) {
    return stage;
  }
  const Unpacked file(state, slots_, bytes_);
  return file.is_stored_by(op) ? stage : told_by(file, op, stage);
}

// A mount sees what it buffers, also after its session was over.
Stage SlotFile::told_by(const Unpacked& file, const Operation& op, Stage stage) const {
  if (op.kind == Kind::kSync && file.hidden_mount == op.mount) {
    return stage;  // not before it is stored, or lost
  }
  stage = told(file.now.size, file.now.ids, op, stage);
  return stage != kDone && file.may_show_hidden(op)
             ? told(file.hidden->size, file.hidden->ids, op, stage)
             : stage;
}

Stage SlotFile::told(std::uint64_t size, const std::vector<std::uint64_t>& ids, const Operation& op,
                     Stage stage) const {
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
    const bool is_true = !is_end && ids[op.slot] == op.ids[i];
    stage |= is_true ? std::uint64_t{1} << i : 0;
  }
  return stage == (std::uint64_t{1} << op.ids.size()) - 1 ? kDone : stage;
}

void SlotFile::steps(const State& state, const Operation& op, Stage stage,
                     std::vector<Step>& steps) const {
  if (op.error != 0) {
    return;
  }
  Unpacked file(state, slots_, bytes_);
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
  const bool is_stored = file.is_stored_by(op);
  if (is_stored) {
    file.store();
  }
  if (const Stage then = told_by(file, op, stage); then != stage) {
    steps.push_back({.state = file.pack(), .stage = then});
  }
  if (change(file, op, steps)) {
    steps.push_back({.state = file.pack()});
  }
}

// False: the operation changes nothing. Other ways in which it may have done it go to `steps`.
bool SlotFile::change(Unpacked& file, const Operation& op, std::vector<Step>& steps) const {
  const bool is_end = std::uint64_t{op.slot} * bytes_ >= file.now.size;
  switch (op.kind) {
    case Kind::kWrite: write(file, op); return true;
    case Kind::kTruncate: {
      // What is left of what was written need not be stored by that.
      const bool is_dirty = file.is_dirty();
      const bool is_same = file.now.size == op.value;
      file.hidden.reset();
      file.cut(op.value);
      if (is_dirty && is_same && file.stored_size != op.value) {
        steps.push_back({.state = file.pack()});  // nor a size that does not change
      }
      file.stored_size = is_dirty ? op.value : 0;
      return true;
    }
    case Kind::kPunch:
      file.changes();
      file.now.ids[op.slot] = 0;
      return true;
    case Kind::kAllocate:
      file.changes();
      file.now.size = std::max(file.now.size, (std::uint64_t{op.slot} + 1) * bytes_);
      return true;
    case Kind::kCopy:
      if (is_end || (op.is_known() && op.size == 0)) {
        return false;
      }
      file.changes();
      file.put(op.value, file.now.ids[op.slot]);
      return true;
    default: return false;
  }
}

// What was there before may come back, if the writer is one that loses.
void SlotFile::write(Unpacked& file, const Operation& op) const {
  if (!losing_.contains(op.mount)) {
    file.hidden.reset();
  } else {
    if (!file.is_dirty()) {
      file.mount = op.mount;
      file.stored_size = file.now.size;
    }
    file.note_before(op.slot, file.now.ids[op.slot]);
  }
  file.put(op.slot, op.value);
}

void SlotFile::lose(Unpacked file, const Operation& op, std::vector<Step>& steps) const {
  if (file.hidden_mount == op.mount) {
    Unpacked without = file;
    without.hidden.reset();
    without.hidden_mount = 0;
    steps.push_back({.state = without.pack()});
    file.show_hidden();
  }
  if (file.mount == op.mount) {
    for (const Unpacked& one : file.losses()) {
      steps.push_back({.state = one.pack()});
    }
  }
}

// First what it buffers is not there any more, later it is again.
void SlotFile::hide(Unpacked file, const Operation& op, Stage stage,
                    std::vector<Step>& steps) const {
  constexpr Stage kHidden = 1;
  if (stage == kHidden) {
    if (file.may_show_hidden(op)) {
      file.show_hidden();
      steps.push_back({.state = file.pack()});
    }
    return;
  }
  if (file.mount != op.mount) {
    return;
  }
  for (Unpacked& one : file.losses()) {
    if (one.now != file.now) {
      one.hidden_mount = op.mount;
      one.hidden = file.now;
      steps.push_back({.state = one.pack(), .stage = kHidden});
    }
  }
}

std::string SlotFile::describe(const State& state) const {
  const Unpacked file(state, slots_, bytes_);
  const auto text_of = [&](const Slots& slots) {
    std::string text = "size " + std::to_string(slots.size) + ":";
    for (std::uint32_t i = 0; i < slots_ && std::uint64_t{i} * bytes_ < slots.size; ++i) {
      text += " " + describe_id(slots.ids[i]);
    }
    return text;
  };
  std::string text = text_of(file.now);
  if (file.is_dirty()) {
    text += "; stored size " + std::to_string(file.stored_size);
  }
  for (const Unpacked::Before& one : file.before) {
    text += ", before slot " + std::to_string(one.slot) + " " + describe_id(one.id);
  }
  if (file.hidden_mount != 0) {
    text += file.hidden ? "; kept by a client " + text_of(*file.hidden) : "; lost by a client";
  }
  return text;
}

}  // namespace dfs::coherence
