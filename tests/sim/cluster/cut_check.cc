#include "tests/sim/cluster/cut_check.h"

namespace dfs::sim {

bool CutCheck::contradicts(const Cut& survivor, std::size_t other, const Cut& cut) {
  return other < survivor.known.size() && survivor.known[other] > cut.position_max;
}

std::optional<std::string> CutCheck::add(std::size_t actor, const Cut& cut) {
  cuts_[actor] = cut;
  for (const auto& [other, other_cut] : cuts_) {
    if (other != actor &&
        (contradicts(cut, other, other_cut) || contradicts(other_cut, actor, cut))) {
      return "actors " + std::to_string(actor) + " and " + std::to_string(other) +
             " were cut at different moments";
    }
  }
  return std::nullopt;
}

}  // namespace dfs::sim
