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
  const std::uint64_t number = next_number_++;
  if (cuts_.size() < kCutsMax) {
    cuts_.emplace(file, Cut{.number = number,
                            .size_bytes = size_bytes,
                            .caller = caller,
                            .answered_at = std::nullopt,
                            .held = {}});
  }
  return number;
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
    if (cut.answered_at || (end.at_least <= cut.size_bytes && cut.size_bytes <= end.at_most)) {
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
