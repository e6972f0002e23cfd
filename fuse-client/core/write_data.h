// The bytes of a write: at hand, or left where they are until the write is taken.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include "common/buffer.h"
#include "common/result.h"

namespace dfs::client {

class WriteData {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): whoever has the bytes just passes them.
  WriteData(Buffer bytes) : size_(bytes.size()), bytes_(std::move(bytes)) {}
  // `fetch` is called once, when the write is taken, and answers `size_bytes` bytes. What was not
  // fetched goes with it.
  WriteData(std::size_t size_bytes, std::function<Result<Buffer>()> fetch)
      : size_(size_bytes), fetch_(std::move(fetch)) {}

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // What they take of this process's memory.
  std::size_t held_bytes() const { return fetch_ ? 0 : size_; }
  Result<Buffer> bytes() const { return fetch_ ? fetch_() : bytes_; }
  // In memory of their own: they may be a small part of what their owner keeps alive.
  void detach() { bytes_ = Buffer::copy_of(bytes_.bytes()); }

 private:
  std::size_t size_;
  Buffer bytes_;
  std::function<Result<Buffer>()> fetch_;
};

}  // namespace dfs::client
