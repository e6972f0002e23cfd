// What `why` says of each thing a call can wait for, from a master that answers what it is told.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "admin/commands.h"
#include "proto/rpc_server.h"
#include "proto/wait_messages.h"
#include "tests/sim/sim_log.h"
#include "tests/sim/sim_network.h"

namespace dfs::admin {
namespace {

class AdminWhy : public testing::Test {
 protected:
  AdminWhy() {
    auto created = RpcServer::create({scheduler, random, log, *transport}, "master:1", 1,
                                     [this](const RpcRequest& request) { answer(request); });
    EXPECT_TRUE(created);
    master = std::move(*created);
    clients = {
        {.session = SessionId{1}, .name = "a:/mnt (pid 1)", .silent_ms = 100, .ends_in_ms = 15'000},
        {.session = SessionId{2},
         .name = "b:/mnt\x1b (pid 2)",
         .silent_ms = 6000,
         .ends_in_ms = 9000}};
  }
  // Two waits a page.
  void answer(const RpcRequest& request) {
    const auto asked = decode_body<ListWaitsRequest>(request.body);
    ASSERT_TRUE(asked);
    ListWaitsReply reply;
    reply.clients = clients;
    reply.total = waits.size();
    for (std::size_t i = asked->skipped; i < waits.size() && reply.waits.size() < 2; ++i) {
      reply.waits.push_back(waits[i]);
    }
    reply.end = asked->skipped + reply.waits.size() == waits.size();
    master->reply(request.reply_address(), reply);
  }
  void add(WaitCause cause, std::vector<SessionId> others = {}, std::uint64_t ends_in_ms = 0) {
    ListedWait wait;
    wait.operation = "write";
    wait.inode = InodeId{7};
    wait.path = "/f\n";
    wait.session = SessionId{1};
    wait.pid = 42;
    wait.waited_ms = 12'300;
    wait.cause = static_cast<std::uint8_t>(cause);
    wait.others_total = static_cast<std::uint32_t>(others.size());
    wait.others = std::move(others);
    wait.ends_in_ms = ends_in_ms;
    waits.push_back(wait);
  }
  Output told(bool as_json = false) {
    auto output = why(calls, "", as_json);
    EXPECT_TRUE(output);
    return output ? *output : Output{};
  }
  void expect_words(const std::string& words) {
    const std::string text = told().text;
    EXPECT_NE(text.find(words), std::string::npos) << text;
    waits.clear();
  }

  sim::SimEvents events;
  sim::SimNetwork network{events, 1};
  sim::SimScheduler scheduler{events};
  sim::SimScheduler admin_scheduler{events};
  sim::SimRandom random{2};
  sim::SimLog log;
  std::unique_ptr<Transport> transport = network.transport(scheduler, "master");
  std::unique_ptr<Transport> admin_transport = network.transport(admin_scheduler, "admin");
  std::vector<ListedWait> waits;
  std::vector<WaitingClient> clients;
  std::unique_ptr<RpcServer> master;
  ClusterCalls calls{World{admin_scheduler, random, log, *admin_transport}, "master:1",
                     [this](const std::function<bool()>& done, Duration limit) {
                       return events.run_until(done, limit);
                     }};
};

TEST_F(AdminWhy, nothing_waits) {
  EXPECT_EQ(told().text, "nothing waits\n");
  EXPECT_EQ(told().exit_code, kExitOk);
  EXPECT_EQ(nlohmann::json::parse(told(true).text)["verdict"], "nothing_waits");
}

TEST_F(AdminWhy, silent_client_is_named_with_the_end_of_its_session) {
  add(WaitCause::kNotice, {SessionId{2}});
  const Output output = told();
  EXPECT_EQ(output.exit_code, kExitProblems);
  EXPECT_TRUE(output.text.starts_with("1 call waits, for 12 s\n")) << output.text;
  for (const char* words :
       {"/f\\x0a", "process 42 on a:/mnt (pid 1)", "b:/mnt\\x1b (pid 2), silent for 6 s",
        "end of its session in 9 s, unless it answers"}) {
    EXPECT_NE(output.text.find(words), std::string::npos) << output.text;
  }
}

TEST_F(AdminWhy, each_cause_has_its_words) {
  add(WaitCause::kWriter, {SessionId{1}});
  expect_words("what was written to be stored by a:/mnt (pid 1)");
  add(WaitCause::kLock, {SessionId{1}});
  expect_words("unlock, or a signal");
  add(WaitCause::kServers, {}, 40'000);
  expect_words("or EIO in 40 s (write_wait)");
  add(WaitCause::kSpace, {}, 40'000);
  expect_words("or ENOSPC in 40 s");
  add(WaitCause::kStart, {SessionId{1}, SessionId{3}});
  expect_words(
      "a master just started, to hear from a:/mnt (pid 1), a client whose session is over");
  add(WaitCause::kServer);
  waits[0].server = "10.0.0.1:9421";
  expect_words("the chunkserver at 10.0.0.1:9421  its answer; one silent for 2 s is given up\n");
  add(WaitCause::kServer);
  waits[0].server = "10.0.0.1:9421, 10.0.0.2:9421";
  expect_words("the chunkservers at 10.0.0.1:9421, 10.0.0.2:9421");
  add(WaitCause::kMemory);
  expect_words("mem_limit");
  add(static_cast<WaitCause>(99));
  expect_words("only a newer dfs-admin knows");
}

TEST_F(AdminWhy, all_pages_are_read_and_json_has_every_wait) {
  for (int i = 0; i < 5; ++i) {
    add(WaitCause::kNotice, {SessionId{2}});
  }
  const auto json = nlohmann::json::parse(told(true).text);
  ASSERT_EQ(json["waits"].size(), 5u);
  EXPECT_EQ(json["verdict"], "waiting");
  EXPECT_EQ(json["waits"][4]["cause"], "notice");
  EXPECT_EQ(json["waits"][4]["path"], "/f\\x0a");
  EXPECT_EQ(json["waits"][4]["others"][0]["session_ends_in_ms"], 9000);
}

TEST_F(AdminWhy, master_that_does_not_answer_is_said_in_one_line) {
  network.drop_host("master");
  const auto output = why(calls, "", false);
  ASSERT_FALSE(output);
  EXPECT_EQ(output.error().detail.find('\n'), std::string::npos);
  EXPECT_NE(output.error().detail.find("dfs.waiting"), std::string::npos);
}

}  // namespace
}  // namespace dfs::admin
