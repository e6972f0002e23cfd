#include "fuse-client/fuse/own_cuts.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace dfs::fuse {
namespace {

// Runs when called the first time.
Task once(const Task& task) {
  return [waiting = std::make_shared<Task>(task)] {
    if (const Task run = std::exchange(*waiting, nullptr)) {
      run();
    }
  };
}

}  // namespace

std::uint64_t OwnCuts::begin(InodeId file, std::uint64_t size_bytes, pid_t caller) {
  note_cut(file);
  return add(file, {.size_bytes = size_bytes, .caller = caller});
}

std::uint64_t OwnCuts::add(InodeId file, Cut cut) {
  cut.number = next_number_++;
  if (cuts_.size() < kCutsMax) {
    cuts_.emplace(file, cut);
  }
  return cut.number;
}

void OwnCuts::note_cut(InodeId file) {
  const MonoTime now = scheduler_.now();
  if (cut_at_.size() >= kCutsMax) {
    std::erase_if(cut_at_, [now](const auto& entry) { return now - entry.second >= kCutTime; });
  }
  if (cut_at_.size() < kCutsMax) {
    cut_at_[file] = now;
  }
}

std::uint64_t OwnCuts::begin_write(InodeId file, std::uint64_t end, pid_t caller) {
  const auto cut_at = cut_at_.find(file);
  if (cut_at == cut_at_.end()) {
    return 0;
  }
  if (scheduler_.now() - cut_at->second >= kCutTime) {
    cut_at_.erase(cut_at);
    return 0;
  }
  return add(file, {.size_bytes = end, .caller = caller, .is_write = true});
}

void OwnCuts::answered(InodeId file, std::uint64_t number) {
  const auto place = find(file, number);
  if (place == cuts_.end()) {
    return;
  }
  place->second.answered_at = scheduler_.now();
  scheduler_.run_after(kLookTime, lifetime_.guard([this, file, number] {
    if (const auto cut = find(file, number); cut != cuts_.end()) {
      looked_at(cut);
    }
  }));
}

void OwnCuts::asks(pid_t caller) {
  if (caller == 0) {
    return;
  }
  for (auto place = cuts_.begin(); place != cuts_.end();) {
    const auto cut = place++;
    if (cut->second.caller == caller && cut->second.answered_at) {
      looked_at(cut);
    }
  }
}

void OwnCuts::looked_at(Cuts::iterator cut) {
  for (Task& again : cut->second.held) {
    scheduler_.post(lifetime_.guard(std::move(again)));
  }
  cuts_.erase(cut);
}

bool OwnCuts::holds(InodeId file, FileEnd end, const Task& again) {
  const auto [first, last] = cuts_.equal_range(file);
  Cut* newest = nullptr;
  for (auto place = first; place != last; ++place) {
    Cut& cut = place->second;
    const bool is_told = end.at_least <= cut.size_bytes && cut.size_bytes <= end.at_most;
    if (cut.is_write ? is_told && !end.is_of_read : is_told || cut.answered_at) {
      newest = &cut;  // of one key they are in the order of their coming
    }
  }
  if (newest == nullptr) {
    return false;
  }
  const Task again_once = once(again);
  newest->held.push_back(again_once);
  if (!newest->answered_at) {
    scheduler_.run_after(kCutWait, lifetime_.guard(again_once));
  }
  return true;
}

OwnCuts::Cuts::iterator OwnCuts::find(InodeId file, std::uint64_t number) {
  const auto [first, last] = cuts_.equal_range(file);
  const auto place = std::find_if(
      first, last, [number](const auto& entry) { return entry.second.number == number; });
  return place == last ? cuts_.end() : place;
}

}  // namespace dfs::fuse
