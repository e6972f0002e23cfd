// Assertions that stay on in release builds: they guard our own invariants, never input.
// A failed one prints the expression, the place and the process' context (the simulation seed,
// for example) to stderr and aborts: a server that is wrong about itself must stop before it
// writes.
#pragma once

#include <string>

namespace dfs {

// Text printed with every failed assertion of this process; the simulator sets its seed here.
void set_assert_context(std::string context);

[[noreturn]] void assert_failed(const char* expression, const char* file, int line,
                                const char* detail) noexcept;

}  // namespace dfs

#define DFS_ASSERT(expression)                                   \
  do {                                                           \
    if (!(expression)) [[unlikely]] {                            \
      ::dfs::assert_failed(#expression, __FILE__, __LINE__, ""); \
    }                                                            \
  } while (false)

// As DFS_ASSERT, with a std::string expression that is evaluated only on failure.
#define DFS_ASSERT_MSG(expression, message)                                     \
  do {                                                                          \
    if (!(expression)) [[unlikely]] {                                           \
      ::dfs::assert_failed(#expression, __FILE__, __LINE__, (message).c_str()); \
    }                                                                           \
  } while (false)
