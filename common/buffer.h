// Buffer: an immutable, reference-counted range of bytes.
//
// Bulk data travels as Buffers from the socket to the disk and back without being copied: the owner
// may be a heap block, a message of the transport, or a mapped file. Copying a Buffer and taking
// a slice share the owner. The bytes never change after construction. Not tied to a thread.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/assert.h"

namespace dfs {

class Buffer {
 public:
  Buffer() = default;

  // Keeps `owner` alive as long as any slice of the range is.
  Buffer(std::shared_ptr<const void> owner, const std::byte* data, std::size_t size_bytes)
      : owner_(std::move(owner)), data_(data), size_(size_bytes) {}

  static Buffer copy_of(std::span<const std::byte> bytes) {
    auto block = std::make_shared<std::vector<std::byte>>(bytes.begin(), bytes.end());
    return adopt(std::move(block));
  }
  static Buffer copy_of(std::string_view text) {
    return copy_of(std::as_bytes(std::span(text.data(), text.size())));
  }
  static Buffer adopt(std::vector<std::byte> bytes) {
    return adopt(std::make_shared<std::vector<std::byte>>(std::move(bytes)));
  }
  static Buffer adopt(std::string text) {
    auto block = std::make_shared<std::string>(std::move(text));
    const auto* data = reinterpret_cast<const std::byte*>(block->data());
    const std::size_t size = block->size();
    return Buffer(std::move(block), data, size);
  }

  const std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

  // Precondition: offset + size_bytes <= size().
  Buffer slice(std::size_t offset, std::size_t size_bytes) const {
    DFS_ASSERT(offset <= size_ && size_bytes <= size_ - offset);
    return Buffer(owner_, data_ + offset, size_bytes);
  }

 private:
  static Buffer adopt(std::shared_ptr<std::vector<std::byte>> block) {
    const std::byte* data = block->data();
    const std::size_t size = block->size();
    return Buffer(std::move(block), data, size);
  }

  std::shared_ptr<const void> owner_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace dfs
