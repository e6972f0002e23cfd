// What libfuse and fusermount3 say on stderr while they mount, kept as text for an error.
#pragma once

#include <string>

namespace dfs::fuse {

// From construction until text() or destruction, whatever this process or its children write to
// stderr is kept instead. If that cannot be arranged, it is not, and text() is empty.
class CapturedStderr {
 public:
  CapturedStderr();
  ~CapturedStderr() { restore(); }
  CapturedStderr(const CapturedStderr&) = delete;
  CapturedStderr& operator=(const CapturedStderr&) = delete;

  // Gives stderr back. One line, the lines that were written joined by "; "; at most kTextBytesMax.
  std::string text();

 private:
  static constexpr std::size_t kTextBytesMax = 1000;
  void restore();

  int kept_ = -1;      // what is written
  int original_ = -1;  // stderr as it was
};

}  // namespace dfs::fuse
