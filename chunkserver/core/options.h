// What a chunkserver is told at its start, and the bounds of what it does at once.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/transport.h"

namespace dfs::chunkserver {

// Kept free in each data directory unless set otherwise: the larger of the two.
inline constexpr std::uint64_t kReserveBytesDefault = 256ull << 20;
inline constexpr std::uint64_t kReserveShareDefault = 100;  // one part of so many: 1 %

struct Bounds {
  // Bulk bytes of appends not yet answered; beyond, appends are refused with kBusy.
  std::uint64_t append_bytes_in_progress_max = 256ull << 20;
  // Bytes of reads not yet answered; beyond, reads are refused with kBusy.
  std::uint64_t read_bytes_in_progress_max = 128ull << 20;
  // Appends of one chunk that came before the one they continue; beyond: kBusy.
  std::size_t held_appends_max = 64;
  // How long such an append waits for the gap to be filled; then kWrongOffset.
  Duration hold_time = std::chrono::seconds(1);
  // How long the next server of a chain, alive, may take for an append; then kTimedOut.
  Duration forward_timeout = std::chrono::seconds(30);
  std::size_t open_files_max = 512;         // of sealed chunks, kept open for reading
  std::size_t cached_prefixes_max = 4096;   // of blocks, so that a small read is one disk read
  std::size_t chain_links_max = 64;         // connections to other chunkservers
  std::size_t deleted_chunks_kept = 65536;  // ids for which a late append is refused
  std::size_t verifications_max = 256;      // waiting for their turn; beyond: kBusy
  Duration probe_interval = std::chrono::seconds(10);  // of each data directory
  Duration stop_time = std::chrono::seconds(10);       // for finishing what is in progress
};

struct ServerOptions {
  Address listen = "0.0.0.0:9421";
  Address advertise;  // what others reach; empty: where it listens. Port 0: the port it listens on.
  Address master = "127.0.0.1:9420";
  std::vector<std::string> data_directories;  // absolute; 1 … kNodeDirectoriesMax
  std::string zone;
  std::optional<std::uint64_t> reserve_bytes;  // of each directory
  Bounds bounds;
};

}  // namespace dfs::chunkserver
