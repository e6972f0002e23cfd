#include "common/real/system_random.h"

#include <sys/random.h>

#include <cerrno>

#include "common/assert.h"

namespace dfs::real {

std::uint64_t SystemRandom::next_u64() {
  if (used_ == numbers_.size()) {
    refill();
  }
  return numbers_[used_++];
}

void SystemRandom::refill() {
  ssize_t count = -1;
  do {
    count = ::getrandom(numbers_.data(), sizeof(numbers_), 0);
  } while (count < 0 && errno == EINTR);  // only while the machine is still booting
  DFS_ASSERT(count == static_cast<ssize_t>(sizeof(numbers_)));
  used_ = 0;
}

}  // namespace dfs::real
