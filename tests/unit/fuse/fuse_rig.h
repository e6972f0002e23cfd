// A FuseServer between a fake kernel and a client core, whose master and chunkservers are real
// cores in simulation.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "fuse-client/fuse/fuse_server.h"
#include "fuse-client/fuse/umount_report.h"
#include "tests/sim/cluster/processes.h"
#include "tests/unit/fuse/fake_kernel.h"

namespace dfs::fuse {

struct Opened {
  std::uint64_t inode = 0;
  std::uint64_t handle = 0;
  fuse_open_out reply{};
};

inline constexpr std::chrono::seconds kUmountWait{7};

class FuseRig : public testing::Test {
 protected:
  FuseRig();
  ~FuseRig() override;

  // Brings the client up and has the kernel shake hands.
  void start(client::ClientOptions options = {}, InodeId root = kRootInode);
  // Another server for the same client, with another root.
  void serve(InodeId root);

  bool run_until(const std::function<bool()>& condition, Duration limit = std::chrono::minutes(5));
  void run_for(Duration duration);
  // A request and its answer.
  Answer call(std::uint32_t opcode, std::uint64_t node, const std::string& payload = "");
  int error_of(std::uint32_t opcode, std::uint64_t node, const std::string& payload = "") {
    return call(opcode, node, payload).error;
  }

  fuse_entry_out lookup(std::uint64_t parent, const std::string& name);
  fuse_attr attributes(std::uint64_t node);
  std::uint64_t make_directory(std::uint64_t parent, const std::string& name);
  Opened create(std::uint64_t parent, const std::string& name);
  Opened open(std::uint64_t node, int flags);
  std::uint64_t open_directory(std::uint64_t node);
  int write(const Opened& file, std::uint64_t offset, const std::string& text, int flags = 0,
            std::uint32_t write_flags = 0);
  std::string read(const Opened& file, std::uint64_t offset, std::uint32_t size);
  void release(const Opened& file);
  void forget(std::uint64_t node, std::uint64_t count);
  std::vector<ListedEntry> list(std::uint64_t node, std::uint64_t handle, std::uint64_t position,
                                std::uint32_t size, bool with_attributes = false);
  // What umount.fuse.dfs would be told, and how long that took.
  UmountReport umount_report();
  Duration umount_report_took{};
  Answer get_xattr(std::uint64_t node, const std::string& name, std::uint32_t size);
  int set_xattr(std::uint64_t node, const std::string& name, const std::string& value,
                std::uint32_t flags = 0);

  sim::SimEvents events;
  sim::SimRandom random{1};
  sim::SimNetwork network{events, 2};
  sim::SimEnvironment environment{events, network, random,
                                  [](const std::string& why) { ADD_FAILURE() << why; }};
  std::unique_ptr<sim::MasterProcess> master;
  std::vector<std::unique_ptr<sim::ChunkserverProcess>> servers;
  sim::SimScheduler scheduler{events};
  sim::SimRandom client_random{3};
  sim::SimLog log{"client", &events};
  std::unique_ptr<Transport> transport;
  std::unique_ptr<client::Client> client;
  std::unique_ptr<FakeKernel> kernel;
  std::unique_ptr<FuseServer> server;
  bool kernel_maps_direct = false;  // Linux 6.6
  fuse_init_out negotiated{};

 private:
  void run_from_threads();

  bool is_connected_ = false;
  std::mutex from_threads_mutex_;
  std::vector<Task> from_threads_;  // what the notifier's threads posted
};

}  // namespace dfs::fuse
