#include "common/assert.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace dfs {
namespace {

// Written once at start of a process or a simulation, read only when it is about to abort.
std::string& assert_context() {
  static std::string context;
  return context;
}

}  // namespace

void set_assert_context(std::string context) { assert_context() = std::move(context); }

void assert_failed(const char* expression, const char* file, int line,
                   const char* detail) noexcept {
  std::fprintf(stderr, "assertion failed: %s at %s:%d %s [%s]\n", expression, file, line, detail,
               assert_context().c_str());
  std::abort();
}

}  // namespace dfs
