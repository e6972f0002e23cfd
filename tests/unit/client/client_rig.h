// A whole Client, and a fake cluster in which a test answers for the master what the fakes do not
// know.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <optional>
#include <utility>

#include "fuse-client/core/client.h"
#include "tests/unit/client/fake_cluster.h"

namespace dfs::client {

class ClientRig : public testing::Test {
 protected:
  explicit ClientRig(ClientEvents events = {})
      : client_(host_.world(), {.master = kFakeMaster, .name = "test"}, std::move(events)) {
    cluster_.on_other = [this](RpcServer& master, const RpcRequest& request) {
      return answer(master, request);
    };
  }
  void SetUp() override {
    ASSERT_EQ(wait<Unit>([&](auto done) { client_.start(done); }), ErrorCode::kOk);
  }
  // False: it is not answered.
  virtual bool answer(RpcServer& master, const RpcRequest& request) = 0;

  // As `handle_`.
  void open_to_write(InodeId inode) {
    cluster_.files[inode].attributes.mode = kModeRegular | 0644;
    ASSERT_EQ(wait<OpenedFile>([&](auto done) {
                client_.open(inode, {.write = true, .no_atime = true},
                             [this, done](const Result<OpenedFile>& opened) {
                               handle_ = opened ? opened->handle : HandleId{};
                               done(opened);
                             });
              }),
              ErrorCode::kOk);
  }
  bool run_until(const std::function<bool()>& predicate, Duration limit = std::chrono::minutes(1)) {
    return cluster_.events.run_until(predicate, limit);
  }
  // What a call is answered.
  template <class T>
  ErrorCode wait(const std::function<void(Done<T>)>& call) {
    std::optional<ErrorCode> code;
    call([&](const Result<T>& result) { code = result.code(); });
    EXPECT_TRUE(run_until([&] { return code.has_value(); }));
    return code.value_or(ErrorCode::kTimedOut);
  }

  FakeCluster cluster_;
  FakeHost host_{cluster_.events, cluster_.network, "client", 7};
  Client client_;
  HandleId handle_;
};

}  // namespace dfs::client
