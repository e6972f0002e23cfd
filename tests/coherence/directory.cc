// Directory: what one POSIX directory answers.
#include <algorithm>
#include <cerrno>

#include "common/assert.h"
#include "tests/coherence/model.h"

namespace dfs::coherence {
namespace {

// A file made by an operation that was never answered has no number until somebody sees it.
constexpr std::uint64_t kUnseen = std::uint64_t{1} << 63;

// Of a rename under way: the inode was found at the new name.
constexpr Stage kAtNewName = std::uint64_t{1} << 62;

std::uint64_t unseen_inode(const Operation& op) {
  return kUnseen | std::uint64_t{op.process} << 40 | op.sequence;
}

bool is_unseen(std::uint64_t inode) { return (inode & kUnseen) != 0; }

}  // namespace

std::size_t Directory::index_of(const std::string& name) const {
  const auto place = std::lower_bound(names_.begin(), names_.end(), name);
  DFS_ASSERT(place != names_.end() && *place == name);
  return static_cast<std::size_t>(place - names_.begin());
}

std::uint64_t Directory::at(const State& state, const std::string& name) const {
  return state[index_of(name)];
}

std::uint32_t Directory::links(const State& state, std::uint64_t inode) const {
  const auto end = state.begin() + static_cast<std::ptrdiff_t>(names_.size());
  return static_cast<std::uint32_t>(std::count(state.begin(), end, inode));
}

bool Directory::is_born(const State& state, std::uint64_t inode) const {
  const auto begin = state.begin() + static_cast<std::ptrdiff_t>(names_.size());
  return seen_.contains(inode) || std::binary_search(begin, state.end(), inode);
}

void Directory::bear(State& state, std::uint64_t inode) const {
  if (!is_unseen(inode)) {
    const auto begin = state.begin() + static_cast<std::ptrdiff_t>(names_.size());
    state.insert(std::lower_bound(begin, state.end(), inode), inode);
  }
}

void Directory::learn(const Operation& op) {
  // Not from listings: they do not bind, so a file may still be without the number they told.
  if (op.error == 0 && op.inode != 0) {
    seen_.insert(op.inode);
  }
}

void Directory::tidy(State& state) const {
  const auto begin = state.begin() + static_cast<std::ptrdiff_t>(names_.size());
  state.erase(std::remove_if(begin, state.end(),
                             [this](std::uint64_t inode) { return seen_.contains(inode); }),
              state.end());
}

// --- Answers that change nothing -----------------------------------------------------------------

Stage Directory::observe(const State& state, const Operation& op, Stage stage) const {
  if (stage == kDone || !op.is_known()) {
    return stage;
  }
  if (op.error != 0) {
    return observe_refusal(state, op, stage);
  }
  const bool is_it = op.inode != 0 && !op.name.empty() && at(state, op.name) == op.inode;
  switch (op.kind) {
    case Kind::kOpen:
    case Kind::kLookup: return is_it ? kDone : stage;
    case Kind::kStat:
      stage = is_it ? 1 : stage;
      return stage == 1 && links(state, op.inode) == op.links ? kDone : stage;
    case Kind::kFstat: return links(state, op.file) == op.links ? kDone : stage;
    case Kind::kList: return observe_listing(state, op, stage);
    default: return stage;
  }
}

Stage Directory::observe_refusal(const State& state, const Operation& op, Stage stage) const {
  if (op.kind == Kind::kLinkOpen) {
    const bool is_refused = op.error == ENOENT   ? links(state, op.file) == 0
                            : op.error == EEXIST ? at(state, op.other) != 0
                                                 : false;
    return is_refused ? kDone : stage;
  }
  if (op.name.empty()) {
    return stage;
  }
  const bool is_there = at(state, op.name) != 0;
  const bool is_other_there = !op.other.empty() && at(state, op.other) != 0;
  const bool can_lack = op.kind != Kind::kCreate && op.kind != Kind::kOpen;
  if (op.error == ENOENT && can_lack) {
    const bool lacks = !is_there || (op.kind == Kind::kExchange && !is_other_there);
    return lacks ? kDone : stage;
  }
  if (op.error == EEXIST && op.kind == Kind::kCreate) {
    return is_there ? kDone : stage;
  }
  // That the old name is there may have been so before the call, see README.md.
  if (op.error == EEXIST && (op.kind == Kind::kLink || op.kind == Kind::kRenameNoReplace)) {
    return is_other_there ? kDone : stage;
  }
  return stage;  // nothing explains any other error
}

Stage Directory::observe_listing(const State& state, const Operation& op, Stage stage) const {
  std::size_t bit = 0;
  const auto claim = [&](bool is_true) {
    stage |= is_true ? std::uint64_t{1} << bit : 0;
    ++bit;
  };
  for (const Entry& entry : op.listing) {
    const std::uint64_t inode = at(state, entry.name);
    claim(inode != 0 &&
          (inode == entry.inode || (is_unseen(inode) && !is_born(state, entry.inode))));
  }
  for (const std::string& name : names_) {
    const bool is_listed = std::any_of(op.listing.begin(), op.listing.end(),
                                       [&](const Entry& entry) { return entry.name == name; });
    if (!is_listed) {
      claim(at(state, name) == 0);
    }
  }
  return stage == (std::uint64_t{1} << bit) - 1 ? kDone : stage;
}

// --- Changes -------------------------------------------------------------------------------------

void Directory::steps(const State& state, const Operation& op, Stage stage,
                      std::vector<Step>& steps) const {
  bindings(state, op, stage, steps);
  if (op.error != 0 && op.kind != Kind::kLink) {
    return;
  }
  switch (op.kind) {
    case Kind::kCreate:
    case Kind::kOpen: creations(state, op, steps); break;
    case Kind::kUnlink:
      if (at(state, op.name) != 0) {
        steps.push_back({.state = state});
        steps.back().state[index_of(op.name)] = 0;
      }
      break;
    case Kind::kRename:
    case Kind::kRenameNoReplace:
    case Kind::kExchange: renames(state, op, stage, steps); break;
    case Kind::kLink: links_made(state, op, stage, steps); break;
    case Kind::kLinkOpen:
      if (at(state, op.other) == 0) {
        steps.push_back({.state = state});
        steps.back().state[index_of(op.other)] = op.file;
        if (!is_born(state, op.file)) {
          bear(steps.back().state, op.file);
        }
      }
      break;
    default: break;
  }
}

void Directory::creations(const State& state, const Operation& op, std::vector<Step>& steps) const {
  const std::uint64_t inode = op.inode != 0 ? op.inode : unseen_inode(op);
  if (at(state, op.name) == 0 && !is_born(state, inode)) {
    steps.push_back({.state = state});
    steps.back().state[index_of(op.name)] = inode;
    bear(steps.back().state, inode);
  }
}

void Directory::renames(const State& state, const Operation& op, Stage stage,
                        std::vector<Step>& steps) const {
  const std::size_t from = index_of(op.name);
  const std::size_t to = index_of(op.other);
  const bool is_plain = op.kind == Kind::kRename;
  // Two names of one file stay as they are. Kernels look at one name after the other; what they
  // keep of the second is not renewed while they ask for the first. Of one that was never answered
  // nobody knows that it did nothing.
  if (op.kind != Kind::kRenameNoReplace && op.is_known()) {
    const auto looked_at = [&](std::uint64_t inode, std::uint64_t where) {
      if (inode != 0 && stage != (inode | where)) {
        steps.push_back({.state = state, .stage = inode | where});
      }
    };
    if (stage != kBegun && (state[to] == stage || (state[from] | kAtNewName) == stage)) {
      steps.push_back({.state = state});
    }
    looked_at(state[from], 0);
    looked_at(state[to], kAtNewName);
  }
  if (state[from] == 0) {
    return;
  }
  const bool is_possible = is_plain || (op.kind == Kind::kExchange) == (state[to] != 0);
  if (is_possible && !(is_plain && state[to] == state[from])) {
    steps.push_back({.state = state});
    State& after = steps.back().state;
    after[to] = state[from];
    after[from] = op.kind == Kind::kExchange ? state[to] : 0;
  }
}

void Directory::links_made(const State& state, const Operation& op, Stage stage,
                           std::vector<Step>& steps) const {
  if (op.error != 0 && op.error != ENOENT) {
    return;
  }
  const std::uint64_t inode = at(state, op.name);
  if (inode != 0 && inode != stage) {
    steps.push_back({.state = state, .stage = inode});
  }
  if (stage == kBegun) {
    return;
  }
  const bool is_left = links(state, stage) > 0;
  if (op.error == ENOENT && !is_left) {
    steps.push_back({.state = state});
  } else if (op.error == 0 && is_left && at(state, op.other) == 0) {
    steps.push_back({.state = state});
    steps.back().state[index_of(op.other)] = stage;
  }
}

// The answer gives a number to a file that had none.
void Directory::bindings(const State& state, const Operation& op, Stage stage,
                         std::vector<Step>& steps) const {
  const bool tells = op.is_made() && stage == kBegun &&
                     (op.kind == Kind::kOpen || op.kind == Kind::kLookup || op.kind == Kind::kStat);
  const std::uint64_t unseen = tells ? at(state, op.name) : 0;
  if (!is_unseen(unseen) || is_born(state, op.inode)) {
    return;
  }
  steps.push_back({.state = state, .stage = stage, .bound_from = unseen, .bound_to = op.inode});
  State& after = steps.back().state;
  std::replace(after.begin(), after.begin() + static_cast<std::ptrdiff_t>(names_.size()), unseen,
               op.inode);
  bear(after, op.inode);
}

std::string Directory::describe(const State& state) const {
  std::string text;
  for (std::size_t i = 0; i < names_.size(); ++i) {
    text += (i == 0 ? "" : " ") + names_[i] + "=";
    text += state[i] == 0 ? "-" : is_unseen(state[i]) ? "(new)" : std::to_string(state[i]);
  }
  return text;
}

}  // namespace dfs::coherence
