// After a power loss of the master, all applications whose client was dead then must have been cut
// at one moment: what one of them lost, no other of them can have built on. (Those of clients that
// lived lost nothing, or, if the client died a little later, nothing or the same.)
//
// Each reports where its log was cut. If a change that survived was asked for when another
// application already had so many answers, those must have survived too.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "tests/sim/cluster/model.h"

namespace dfs::sim {

class CutCheck {
 public:
  // Power was lost (again): reports from before are not to be compared with those that follow.
  void begin() { cuts_.clear(); }
  // Why the cut contradicts an earlier one; nothing if it does not.
  std::optional<std::string> add(std::size_t actor, const Cut& cut);

 private:
  static bool contradicts(const Cut& survivor, std::size_t other, const Cut& cut);

  std::map<std::size_t, Cut> cuts_;
};

}  // namespace dfs::sim
