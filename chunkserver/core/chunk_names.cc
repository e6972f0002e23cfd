#include "chunkserver/core/chunk_names.h"

#include <cstdint>

#include "common/assert.h"

namespace dfs::chunkserver {

namespace {

constexpr std::size_t kIdDigits = 16;

std::string hex(std::uint64_t number, std::size_t digits) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text(digits, '0');
  for (std::size_t i = digits; i > 0; --i) {
    text[i - 1] = kDigits[number & 15];
    number >>= 4;
  }
  return text;
}

// Lower case only: each number has one name.
std::optional<std::uint64_t> from_hex(std::string_view digits) {
  std::uint64_t number = 0;
  for (const char digit : digits) {
    if (digit >= '0' && digit <= '9') {
      number = number << 4 | static_cast<std::uint64_t>(digit - '0');
    } else if (digit >= 'a' && digit <= 'f') {
      number = number << 4 | static_cast<std::uint64_t>(digit - 'a' + 10);
    } else {
      return std::nullopt;
    }
  }
  return number;
}

const char* suffix(FileKind kind) {
  switch (kind) {
    case FileKind::kOpen: return ".open";
    case FileKind::kSealed: return ".sealed";
    case FileKind::kFence: return ".fence";
    case FileKind::kFenceNew: return ".fence-new";
  }
  DFS_ASSERT(false);
}

}  // namespace

std::string chunk_text(ChunkId chunk) { return hex(chunk.value, kIdDigits); }

std::string folder_name(unsigned folder) {
  DFS_ASSERT(folder < kFoldersMax);
  return hex(folder, 2);
}

unsigned folder_of(ChunkId chunk) { return static_cast<unsigned>(chunk.value % kFoldersMax); }

std::string file_name(ChunkId chunk, FileKind kind) { return chunk_text(chunk) + suffix(kind); }

std::optional<ParsedName> parse_file_name(std::string_view name) {
  if (name.size() <= kIdDigits) {
    return std::nullopt;
  }
  const auto number = from_hex(name.substr(0, kIdDigits));
  if (!number || *number == 0) {
    return std::nullopt;
  }
  for (const FileKind kind :
       {FileKind::kOpen, FileKind::kSealed, FileKind::kFence, FileKind::kFenceNew}) {
    if (name.substr(kIdDigits) == suffix(kind)) {
      return ParsedName{ChunkId{*number}, kind};
    }
  }
  return std::nullopt;
}

}  // namespace dfs::chunkserver
