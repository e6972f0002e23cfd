// Identities and small value types shared by every component. Each identity is a type of its own,
// so that an InodeId passed for a ChunkId does not compile.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <functional>

namespace dfs {

template <class Tag, class Number>
struct StrongId {
  using Rep = Number;
  Number value = 0;

  constexpr StrongId() = default;
  constexpr explicit StrongId(Number v) : value(v) {}
  friend constexpr auto operator<=>(StrongId, StrongId) = default;  // NOLINT(modernize-use-nullptr)
  constexpr bool is_set() const { return value != 0; }
};

using InodeId = StrongId<struct InodeTag, std::uint64_t>;      // never reused; 0 is "none"
using ChunkId = StrongId<struct ChunkTag, std::uint64_t>;      // never reused; 0 is "none"
using NodeId = StrongId<struct NodeTag, std::uint32_t>;        // a chunkserver; 0 is "none"
using SessionId = StrongId<struct SessionTag, std::uint64_t>;  // never reused; 0 is "none"
using Epoch = StrongId<struct EpochTag, std::uint64_t>;        // fencing number of a chunk

inline constexpr InodeId kRootInode{1};

// Monotonic time. Only the Scheduler port hands it out; it has no `now` on purpose.
struct MonoClock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<MonoClock>;
  static constexpr bool is_steady = true;
};
using MonoTime = MonoClock::time_point;
using Duration = MonoClock::duration;

// Wall-clock time as files carry it: any 64-bit second, so before 1970 and after 2262 too.
struct Timestamp {
  std::int64_t seconds = 0;
  std::uint32_t nanoseconds = 0;  // below 1'000'000'000
  friend constexpr auto operator<=>(const Timestamp&, const Timestamp&) = default;
};

}  // namespace dfs

template <class Tag, class Number>
struct std::hash<dfs::StrongId<Tag, Number>> {
  std::size_t operator()(dfs::StrongId<Tag, Number> id) const noexcept {
    return std::hash<Number>{}(id.value);
  }
};
