// How much can be written when each byte needs copies on distinct servers: a pure function.
//
// With R copies over servers that have room f_1 >= f_2 >= …, x bytes fit if and only if
//     sum over i of min(f_i, x) >= R * x
// (no server holds a byte twice, so it helps with at most x; and what satisfies this can be dealt
// out). As min(f_i, x) sums up to the least over k of k*x + f_{k+1} + f_{k+2} + …, the largest x is
//     min over k = 0 … R-1 of (f_{k+1} + f_{k+2} + …) / (R - k).
#pragma once

#include <cstdint>
#include <vector>

namespace dfs::master {

// In bytes of file contents. 0 when there are fewer servers than copies.
std::uint64_t usable_bytes(std::vector<std::uint64_t> room_bytes, std::uint32_t copies);

}  // namespace dfs::master
