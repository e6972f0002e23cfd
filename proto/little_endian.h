// Little-endian numbers in the formats on disk. Callers have checked that the bytes are there.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace dfs {

static_assert(std::endian::native == std::endian::little, "stored formats are little-endian");

template <class Number>
Number load_little_endian(const void* from) {
  Number number;
  std::memcpy(&number, from, sizeof number);
  return number;
}

template <class Number>
void store_little_endian(void* to, Number number) {
  std::memcpy(to, &number, sizeof number);
}

}  // namespace dfs
