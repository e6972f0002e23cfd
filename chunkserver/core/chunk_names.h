// The names of a chunkserver's files (docs/FORMATS.md), and back from a name.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/ids.h"

namespace dfs::chunkserver {

inline constexpr const char* kFormatFile = "format";
inline constexpr const char* kChunksFolder = "chunks";
inline constexpr unsigned kFoldersMax = 256;

enum class FileKind { kOpen, kSealed, kFence, kFenceNew };

// 16 hex digits.
std::string chunk_text(ChunkId chunk);

// The folder's name below `chunks`: two hex digits.
std::string folder_name(unsigned folder);
unsigned folder_of(ChunkId chunk);

// "000000000000002a.open" and so on.
std::string file_name(ChunkId chunk, FileKind kind);

struct ParsedName {
  ChunkId chunk;
  FileKind kind = FileKind::kOpen;
};
// Nothing for a name that is none of ours.
std::optional<ParsedName> parse_file_name(std::string_view name);

}  // namespace dfs::chunkserver
