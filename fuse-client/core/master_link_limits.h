// How much MasterLink lets be under way, keeps and waits.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "proto/limits.h"
#include "proto/rpc_client.h"

namespace dfs::client {

inline constexpr std::chrono::milliseconds kPinDelay{50};
inline constexpr std::chrono::milliseconds kUnpinDelay{1000};
inline constexpr std::size_t kPinsPerMessageMax = 32'768;
// Half of what the master keeps for repeating: it learns of acknowledgements a little late.
inline constexpr std::size_t kUnsettledMax = kKeptRepliesMax / 2;
// When the master is asked to sync: so many changes are kept, or bytes, or one for so long. Below
// the bounds, so that changes need not wait for it.
inline constexpr std::size_t kKeptChangesSync = kUnsettledMax / 2;
inline constexpr std::size_t kKeptBytesSync = 1u << 20;
inline constexpr std::size_t kKeptBytesMax = 4u << 20;
inline constexpr std::chrono::milliseconds kKeptChangeAge{1000};
static_assert(kKeptBytesMax + kHeadBytesMax < kReplayBytesMax);
// Calls under way at once: the connection takes a few more, so that a keep-alive or a replay never
// waits behind calls that the master does not answer before it.
inline constexpr std::size_t kCallsSentMax = kCallsInFlightMax - 64;
// How often a call refused with kBusy is made again, kBusyDelay apart, before that is the answer.
inline constexpr std::uint32_t kBusyRetriesMax = 100;
inline constexpr std::chrono::milliseconds kBusyDelay{100};

}  // namespace dfs::client
