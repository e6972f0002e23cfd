// A contradiction as a table for people: the operation that nothing explains, what ran beside it
// and shortly before, and what could have been.
#pragma once

#include <string>

#include "tests/coherence/checker.h"
#include "tests/coherence/parts.h"

namespace dfs::coherence {

std::string report(const Part& part, const Contradiction& found);

}  // namespace dfs::coherence
