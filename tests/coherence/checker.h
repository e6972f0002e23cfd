// Is there an order of these operations, each somewhere between its call and its answer, in which
// the object gives just these answers? (Linearizability.)
//
// The search goes through time once: Wing and Gong's, in the just-in-time form of Lowe ("Testing
// for linearizability", 2017). At every moment it has the set of configurations that are possible:
// a state of the object, and how far each operation under way has come. A call adds one to these;
// an answer leaves only those configurations in which the operation is done, after trying the
// effects of all others under way, in any order. None left: contradiction. So the cost grows with
// how much happens at once and not with the length of the history.
//
// An operation that never completed stays under way: it may take effect at any later moment, or
// never. Of those that were called forget_after before, no more is expected: else long runs with
// many deaths could not be checked.
#pragma once

#include <chrono>
#include <optional>
#include <set>
#include <vector>

#include "tests/coherence/model.h"

namespace dfs::coherence {

struct CheckOptions {
  std::chrono::nanoseconds forget_after = std::chrono::minutes(1);
  std::size_t configurations_max = 1'000'000;
};

struct Contradiction {
  bool is_undecided = false;  // too many configurations: nothing is known
  Operation operation;        // nothing explains it
  History window;             // it, what ran beside it, and the newest before it that concern it
  std::vector<State> states;  // that were possible while it was under way
};

// Operations of one object, in any order; those that changed nothing and never completed have no
// place here (see parts.h).
std::optional<Contradiction> check(Object& object, const History& history,
                                   const CheckOptions& options = {});

}  // namespace dfs::coherence
