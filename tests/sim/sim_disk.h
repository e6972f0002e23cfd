// The Disk port of one simulated process over a machine's SimDiskState.
//
// Operations take seeded virtual time and complete in any order. A write takes effect at once, at
// its completion, or in part at each, so that a process killed in between leaves any of these. A
// sync makes durable what had taken effect when it was asked for. Once the process is killed, or
// after the machine's crash(), every method fails or does nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/disk.h"
#include "tests/sim/sim_disk_state.h"
#include "tests/sim/sim_random.h"
#include "tests/sim/sim_scheduler.h"

namespace dfs::sim {

// Each operation takes its time, and up to twice as much.
struct SimDiskLatency {
  Duration read = std::chrono::microseconds(60);
  Duration write = std::chrono::microseconds(30);
  Duration sync = std::chrono::microseconds(500);
};

class SimDisk final : public Disk {
 public:
  // Both outlive it and its files. Every SimDisk over the same state draws other latencies.
  SimDisk(SimScheduler& scheduler, SimDiskState& state, SimDiskLatency latency = {});
  ~SimDisk() override;

  Result<std::shared_ptr<DiskFile>> open(const std::string& path, OpenMode mode) override;
  Status make_directory(const std::string& path) override;
  Result<std::vector<std::string>> list(const std::string& path) override;
  Status rename(const std::string& from, const std::string& to) override;
  Status remove(const std::string& path) override;
  Result<DiskSpace> space(const std::string& path) override;
  Result<std::string> read_file(const std::string& path) override;
  Status write_file(const std::string& path, const std::string& contents) override;
  void sync_directory(const std::string& path, std::function<void(Status)> done) override;

 private:
  friend class SimDiskFile;
  struct Shared;  // with the open files, which may outlive this object
  std::shared_ptr<Shared> shared_;
};

}  // namespace dfs::sim
