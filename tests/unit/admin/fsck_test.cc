// fsck against the real cores in simulation: quiet about a healthy cluster, however busy, and not
// about anything else.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "admin/commands.h"
#include "tests/sim/cluster/processes.h"

namespace dfs::admin {
namespace {

constexpr std::size_t kServers = 3;

class AdminFsck : public testing::Test {
 protected:
  AdminFsck() {
    master.start();
    for (std::size_t i = 0; i < kServers; ++i) {
      servers.push_back(std::make_unique<sim::ChunkserverProcess>(environment, i));
      servers.back()->start();
    }
    client.start();
    EXPECT_TRUE(run_until([&] { return client.client() != nullptr; }));
    run_for(std::chrono::seconds(15));
  }

  bool run_until(const std::function<bool()>& condition) {
    return events.run_until(condition, std::chrono::minutes(5));
  }
  void run_for(Duration duration) { events.run_for(duration); }

  // Runs what begins with a callback to its end.
  template <class T>
  Result<T> wait(const std::function<void(client::Done<T>)>& start) {
    std::optional<Result<T>> answer;
    start([&](Result<T> result) { answer = std::move(result); });
    EXPECT_TRUE(run_until([&] { return answer.has_value(); }));
    return std::move(*answer);
  }
  client::OpenedFile create(const std::string& name) {
    auto opened = wait<client::OpenedFile>([&](auto done) {
      client::CreateArguments arguments;
      arguments.parent = kRootInode;
      arguments.name = name;
      arguments.mode = kModeRegular | 0644;
      client.client()->create(arguments, {.write = true}, done);
    });
    EXPECT_TRUE(opened);
    return *opened;
  }
  // A file of some blocks on the servers.
  InodeId make_file(const std::string& name, std::size_t size_bytes) {
    const client::OpenedFile file = create(name);
    EXPECT_TRUE(wait<std::uint64_t>([&](auto done) {
      client.client()->write(file.handle, {.offset = 0},
                             Buffer::copy_of(std::string(size_bytes, 'x')), done);
    }));
    EXPECT_TRUE(wait<Unit>([&](auto done) { client.client()->sync(file.handle, done); }));
    client.client()->release(file.handle);
    return file.attributes.inode;
  }

  nlohmann::json check(bool checksums = false) {
    const auto output = fsck(calls, checksums, true, [](const std::string&) {});
    EXPECT_TRUE(output) << output.error().detail;
    if (!output) {
      return nlohmann::json::object();
    }
    const auto json = nlohmann::json::parse(output->text);
    EXPECT_EQ(output->exit_code, json["problem_count"] == 0 ? kExitOk : kExitProblems);
    return json;
  }
  static bool has(const nlohmann::json& found, const std::string& kind, const std::string& words) {
    const auto& problems = found["problems"];
    return std::any_of(problems.begin(), problems.end(), [&](const auto& problem) {
      return problem["kind"] == kind &&
             problem["problem"].template get<std::string>().find(words) != std::string::npos;
    });
  }

  // A stored replica on server `index`, its largest file.
  std::string replica_path(std::size_t index) {
    std::string largest;
    std::size_t size = 0;
    for (const std::string& path : servers[index]->disk().all_files()) {
      const auto file = servers[index]->disk().open(path, OpenMode::kRead);
      if (path.find("/chunks/") != std::string::npos && file && (*file)->bytes().size() > size) {
        size = (*file)->bytes().size();
        largest = path;
      }
    }
    EXPECT_FALSE(largest.empty());
    return largest;
  }
  template <class Change>
  void change_disk_while_down(std::size_t index, Change change) {
    servers[index]->kill();
    servers[index]->reap();
    change(servers[index]->disk());
    servers[index]->start();
    run_for(std::chrono::seconds(30));
  }

  sim::SimEvents events;
  sim::SimRandom random{1};
  sim::SimNetwork network{events, 2};
  sim::SimEnvironment environment{events, network, random,
                                  [](const std::string& why) { ADD_FAILURE() << why; }};
  sim::MasterProcess master{environment};
  std::vector<std::unique_ptr<sim::ChunkserverProcess>> servers;
  sim::ClientProcess client{environment, "client"};
  sim::SimScheduler scheduler{events};
  sim::SimLog log{"admin", &events};
  sim::SimRandom admin_random{3};
  std::unique_ptr<Transport> transport = network.transport(scheduler, "admin");
  ClusterCalls calls{World{scheduler, admin_random, log, *transport}, sim::kMasterAddress,
                     [this](const std::function<bool()>& done, Duration limit) {
                       return events.run_until(done, limit);
                     }};
};

TEST_F(AdminFsck, healthy_cluster_has_no_problems) {
  for (int i = 0; i < 20; ++i) {
    make_file("f" + std::to_string(i), 5000);
  }
  const auto found = check(true);
  EXPECT_EQ(found["problem_count"], 0) << found.dump(1);
  EXPECT_EQ(found["servers_checked"], kServers);
  EXPECT_GT(found["blocks_checked"], 0);
  EXPECT_GT(found["chunks_checked"], 0);
}

TEST_F(AdminFsck, busy_cluster_has_no_problems) {
  // Files come and go, each step when the last is done, for as long as the checks last.
  int made = 0;
  bool is_stopping = false;
  std::function<void()> step = [&] {
    if (is_stopping) {
      return;
    }
    client::Client& core = *client.client();
    client::CreateArguments arguments;
    arguments.parent = kRootInode;
    arguments.name = "busy" + std::to_string(made++);
    arguments.mode = kModeRegular | 0644;
    core.create(arguments, {.write = true}, [&](Result<client::OpenedFile> file) {
      ASSERT_TRUE(file);
      const client::HandleId handle = file->handle;
      const auto text = Buffer::copy_of(std::string(20'000, 'b'));
      core.write(handle, {.offset = 0}, text, [&, handle](Result<std::uint64_t>) {
        core.sync(handle, [&, handle](Status) {
          core.release(handle);
          const int old = made - 3;
          core.unlink(kRootInode, "busy" + std::to_string(old), [&](Status) {
            events.run_at(events.now() + std::chrono::milliseconds(10), step);
          });
        });
      });
    });
  };
  step();
  for (int round = 0; round < 10; ++round) {
    const auto found = check(round % 2 == 0);
    EXPECT_EQ(found["problem_count"], 0) << found.dump(1);
    run_for(std::chrono::milliseconds(777));
  }
  is_stopping = true;
  run_for(std::chrono::seconds(5));
  EXPECT_GT(made, 100);
}

TEST_F(AdminFsck, missing_replica_is_found) {
  make_file("f", 100'000);
  change_disk_while_down(1, [&](sim::SimDiskState& disk) {
    const std::string path = replica_path(1);
    EXPECT_TRUE(disk.remove(path));
    EXPECT_TRUE(disk.sync_directory(path.substr(0, path.rfind('/'))));
  });
  const auto found = check();
  EXPECT_TRUE(has(found, "replica", "is missing")) << found.dump(1);
  EXPECT_TRUE(has(found, "degraded", "2 good replicas, its policy wants 3")) << found.dump(1);
}

TEST_F(AdminFsck, flipped_bit_is_found_by_checksums) {
  make_file("f", 100'000);
  ASSERT_TRUE(servers[0]->disk().flip_bit(replica_path(0), 50'000, 3));
  EXPECT_EQ(check(false)["problem_count"], 0);
  const auto found = check(true);
  EXPECT_TRUE(has(found, "checksum", "checksum of the block at")) << found.dump(1);
}

TEST_F(AdminFsck, truncated_replica_is_found) {
  make_file("f", 100'000);
  change_disk_while_down(2, [&](sim::SimDiskState& disk) {
    const auto file = disk.open(replica_path(2), OpenMode::kReadWrite);
    ASSERT_TRUE(file);
    EXPECT_TRUE(disk.truncate(**file, 10'000));
    EXPECT_TRUE(disk.sync(**file));
  });
  const auto found = check(true);
  EXPECT_GT(found["problem_count"], 0) << found.dump(1);
  EXPECT_TRUE(has(found, "replica", "on server2")) << found.dump(1);
}

TEST_F(AdminFsck, extent_in_a_chunk_that_is_not_there_is_found) {
  const InodeId inode = make_file("f", 100'000);
  master.kill();
  master.reap();
  master.edit([&](master::Store& store) {
    auto windows = store.windows(inode, 0, UINT64_MAX, 10);
    ASSERT_TRUE(windows && windows->size() == 1);
    master::WindowRow row = (*windows)[0];
    row.extents[0].chunk = ChunkId{987'654};
    ASSERT_TRUE(store.put_window(inode, row));
  });
  master.start();
  run_for(std::chrono::seconds(10));
  const auto found = check();
  const auto& problems = found["problems"];
  EXPECT_TRUE(std::any_of(problems.begin(), problems.end(), [&](const auto& problem) {
    return problem["kind"] == "metadata" && problem["inode"] == inode.value;
  })) << found.dump(1);
}

TEST_F(AdminFsck, server_that_is_down_is_said) {
  make_file("f", 1000);
  servers[2]->kill();
  servers[2]->reap();
  run_for(std::chrono::minutes(2));
  const auto found = check();
  EXPECT_TRUE(has(found, "server", "server2:9421 is down")) << found.dump(1);
  EXPECT_EQ(found["servers_checked"], kServers - 1);
}

TEST_F(AdminFsck, people_get_a_count_and_sentences) {
  make_file("f", 1000);
  const auto output = fsck(calls, true, false, [](const std::string&) {});
  ASSERT_TRUE(output);
  EXPECT_NE(output->text.find("no problems found\n"), std::string::npos) << output->text;
  EXPECT_NE(output->text.find("on 3 servers checked, checksums of "), std::string::npos);
}

}  // namespace
}  // namespace dfs::admin
