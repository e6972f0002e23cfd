// Sizes and times as people write them in settings.
#pragma once

#include <cstdint>
#include <string>

#include "common/ids.h"
#include "common/result.h"

namespace dfs::real {

// "4096", "64KiB" or "64K" or "64k", "256MiB", "1GiB", "2TiB" (powers of 1024); "1kB", "1MB",
// "1GB", "1TB" (powers of 1000). kInvalidArgument, saying what is wrong, for anything else.
Result<std::uint64_t> parse_size(const std::string& text);
// A number and its unit: "500us", "500ms", "5s", "2min", "1h", "7d"; or "0".
Result<Duration> parse_duration(const std::string& text);

// The shortest exact form that parse_size and parse_duration read: "64MiB", "5s".
std::string format_size(std::uint64_t size_bytes);
std::string format_duration(Duration duration);

}  // namespace dfs::real
