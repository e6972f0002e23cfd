// A pipe that the kernel's requests go through, one at a time.
#pragma once

#include <cstddef>
#include <memory>

namespace dfs::fuse {

class TransitPipe {
 public:
  // Null: the system has none for us that holds so much, in pages, each of which may be part empty.
  static std::unique_ptr<TransitPipe> create(std::size_t size_bytes);
  ~TransitPipe();
  TransitPipe(const TransitPipe&) = delete;
  TransitPipe& operator=(const TransitPipe&) = delete;

  int in() const { return in_; }
  int out() const { return out_; }
  // Precondition: so many bytes are in it. They are pages in memory: nothing can fail or interrupt
  // reading those, nor give less of them.
  void read(char* to, std::size_t size_bytes);

 private:
  TransitPipe(int out, int in) : out_(out), in_(in) {}

  int out_;
  int in_;
};

}  // namespace dfs::fuse
