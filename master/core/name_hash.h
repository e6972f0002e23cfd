// Where a name stands in its directory: the cookie.
//
// A cookie is 59 bits of the name's hash and a 4-bit slot that tells names of the same hash apart,
// so one B-tree keyed by (parent, cookie) finds a name with one short range scan and lists a
// directory in an order that no insertion or removal changes. Cookies are part of the database
// format and of telldir(3): never 0, never above 2^63 - 1. Not keyed: a user who makes names
// collide on purpose gets kNoSpace for the 17th, in that directory only.
#pragma once

#include <cstdint>
#include <string_view>

namespace dfs::master {

inline constexpr std::uint64_t kCookieSlots = 16;
inline constexpr std::uint64_t kLastCookie = (std::uint64_t{1} << 63) - 1;

// FNV-1a over the bytes, then the finisher of splitmix64 so that every bit depends on all.
constexpr std::uint64_t hash_name(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char byte : name) {
    hash ^= static_cast<unsigned char>(byte);
    hash *= 0x100000001b3u;
  }
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9u;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebu;
  return hash ^ (hash >> 31);
}

// The first of the kCookieSlots cookies of a name. Bits 4 … 62 hold the hash; a hash of zero there
// becomes one, so that 0 stays "from the start".
constexpr std::uint64_t first_cookie(std::string_view name) {
  const std::uint64_t bits = hash_name(name) & ((std::uint64_t{1} << 59) - 1);
  return (bits == 0 ? 1 : bits) << 4;
}
constexpr std::uint64_t last_cookie(std::string_view name) {
  return first_cookie(name) + kCookieSlots - 1;
}

}  // namespace dfs::master
