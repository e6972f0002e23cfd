#include "proto/rpc_client.h"

#include <algorithm>

#include "tests/unit/proto/rpc_rig.h"

namespace dfs::test {
namespace {

using RpcClientTest = RpcRig;
using Results = std::vector<std::pair<std::string, ErrorCode>>;
using Names = std::vector<std::string>;

TEST_F(RpcClientTest, answers_reach_their_calls_in_any_order) {
  start_server();
  start_client();
  call("a");
  call("b");
  call("c");
  events.run_for(milliseconds(10));
  ASSERT_EQ(arrived_names(), (Names{"a", "b", "c"}));
  EXPECT_EQ(rpc_client->calls_pending(), 3u);
  rpc_server->fail(arrived[2].reply_address(), make_error(ErrorCode::kNotFound, "no c"));
  answer(arrived[0]);
  rpc_server->fail(arrived[1].reply_address(), make_error(ErrorCode::kStale));
  events.run_for(milliseconds(10));
  EXPECT_EQ(
      results,
      (Results{{"c", ErrorCode::kNotFound}, {"a", ErrorCode::kOk}, {"b", ErrorCode::kStale}}));
  EXPECT_EQ(rpc_client->calls_pending(), 0u);
}

TEST_F(RpcClientTest, bodies_bulk_and_error_details_travel_both_ways) {
  start_server();
  start_client();
  std::string got_bulk;
  EntryReply got;
  rpc_client->call(
      LookupRequest{.parent = kRootInode, .name = "x"}, CallOptions{},
      [&](Lookup result) {
        got = result->body;
        got_bulk = result->bulk.text();
      },
      Buffer::copy_of("up"));
  events.run_for(milliseconds(1));
  ASSERT_EQ(arrived.size(), 1u);
  EXPECT_EQ(arrived[0].bulk.text(), "up");
  EntryReply reply;
  reply.attributes.inode = InodeId{9};
  rpc_server->reply(arrived[0].reply_address(), reply, Buffer::copy_of("down"));
  events.run_for(milliseconds(1));
  EXPECT_EQ(got.attributes.inode, InodeId{9});
  EXPECT_EQ(got_bulk, "down");

  std::string detail;
  rpc_client->call(LookupRequest{}, CallOptions{},
                   [&](Lookup result) { detail = result.error().detail; });
  events.run_for(milliseconds(1));
  rpc_server->fail(arrived[1].reply_address(), make_error(ErrorCode::kIo, "disk gone"));
  events.run_for(milliseconds(1));
  EXPECT_EQ(detail, "disk gone");
}

TEST_F(RpcClientTest, envelope_carries_the_options) {
  start_server();
  start_client();
  CallOptions options;
  options.session = SessionId{4};
  options.sequence = 5;
  options.acknowledged = 3;
  options.timeout = std::chrono::microseconds(1'500'001);
  rpc_client->call(LookupRequest{}, options, [](Lookup) {});
  call("without a timeout");
  const MonoTime before = events.now();
  events.run_for(milliseconds(1));
  ASSERT_EQ(arrived.size(), 2u);
  EXPECT_EQ(arrived[0].envelope.session, SessionId{4});
  EXPECT_EQ(arrived[0].envelope.sequence, 5u);
  EXPECT_EQ(arrived[0].envelope.acknowledged, 3u);
  EXPECT_EQ(arrived[0].envelope.deadline_ms, 1501u);
  EXPECT_GE(arrived[0].deadline, before + milliseconds(1501));
  EXPECT_LE(arrived[0].deadline, before + milliseconds(1502));
  EXPECT_EQ(arrived[1].envelope.deadline_ms, 0u);
  EXPECT_EQ(arrived[1].deadline, MonoTime::max());
}

TEST_F(RpcClientTest, garbage_in_the_body_of_a_reply_is_a_bad_message) {
  start_server();
  start_client();
  call("a");
  events.run_for(milliseconds(1));
  rpc_server->reply(arrived[0].reply_address(), ReadLinkReply{"a string is no attributes"});
  events.run_for(milliseconds(1));
  EXPECT_EQ(results, (Results{{"a", ErrorCode::kBadMessage}}));
}

TEST_F(RpcClientTest, unanswered_call_is_sent_again_under_the_same_id_while_the_peer_lives) {
  start_server();
  start_client();
  call("a");
  events.run_for(seconds(1));
  EXPECT_EQ(arrived.size(), 1u);
  events.run_for(milliseconds(1100));
  ASSERT_EQ(arrived.size(), 2u);
  EXPECT_EQ(arrived[0].envelope.request_id, arrived[1].envelope.request_id);
  // The next interval is longer.
  events.run_for(seconds(3));
  EXPECT_EQ(arrived.size(), 2u);
  events.run_for(seconds(1));
  EXPECT_EQ(arrived.size(), 3u);
  EXPECT_TRUE(rpc_client->is_up());
  answer_all();
  events.run_for(seconds(20));
  EXPECT_EQ(results, (Results{{"a", ErrorCode::kOk}}));
  EXPECT_TRUE(arrived.empty());
}

TEST_F(RpcClientTest, server_started_anew_is_asked_again_as_soon_as_a_ping_tells) {
  start_server(1);
  start_client();
  call("a");
  events.run_for(kPingInterval + milliseconds(100));
  rpc_server.reset();
  start_server(2);
  events.run_for(kPingInterval + milliseconds(100));
  EXPECT_EQ(arrived_names(), (std::vector<std::string>{"a", "a"}));
}

TEST_F(RpcClientTest, slow_server_is_waited_for_and_never_buried_in_copies) {
  start_server();
  start_client();
  call("a");
  events.run_for(std::chrono::minutes(10));
  EXPECT_TRUE(results.empty());
  EXPECT_TRUE(rpc_client->is_up());
  EXPECT_LE(arrived.size(), 50u);
  EXPECT_GE(arrived.size(), 30u);
}

TEST_F(RpcClientTest, pings_only_while_calls_are_pending) {
  start_server();
  start_client();
  call("a");
  events.run_for(milliseconds(1));
  answer_all();
  events.run_for(milliseconds(600));
  const auto delivered = network.delivered_count();
  events.run_for(seconds(100));
  EXPECT_EQ(network.delivered_count(), delivered);
  EXPECT_EQ(events.pending_count(), 0u);

  call("b");
  events.run_for(milliseconds(499));
  EXPECT_EQ(network.delivered_count(), delivered + 1);
  events.run_for(milliseconds(2));
  EXPECT_EQ(network.delivered_count(), delivered + 3);  // the first ping and its answer
}

TEST_F(RpcClientTest, timeout_is_an_unknown_outcome_and_the_late_answer_is_ignored) {
  start_server();
  start_client();
  call("a", milliseconds(300));
  call("b");
  events.run_for(milliseconds(299));
  EXPECT_TRUE(results.empty());
  events.run_for(milliseconds(2));
  EXPECT_EQ(results, (Results{{"a", ErrorCode::kTimedOut}}));
  answer_all();
  events.run_for(milliseconds(10));
  EXPECT_EQ(results, (Results{{"a", ErrorCode::kTimedOut}, {"b", ErrorCode::kOk}}));
}

TEST_F(RpcClientTest, cancelled_call_never_calls_back) {
  start_server();
  start_client();
  const CallId first = call("a");
  call("b");
  events.run_for(milliseconds(1));
  rpc_client->cancel(first);
  rpc_client->cancel(first);
  rpc_client->cancel(CallId{12345});
  answer_all();
  events.run_for(seconds(10));
  EXPECT_EQ(results, (Results{{"b", ErrorCode::kOk}}));
}

TEST_F(RpcClientTest, silent_peer_fails_all_calls_within_the_liveness_timeout) {
  start_client();  // nobody listens
  std::vector<bool> states;
  rpc_client->on_state_change([&](bool up) { states.push_back(up); });
  EXPECT_TRUE(rpc_client->is_up());
  call("a");
  events.run_for(milliseconds(1500));
  call("b", seconds(30));
  EXPECT_TRUE(results.empty());
  events.run_for(milliseconds(500));
  EXPECT_EQ(results, (Results{{"a", ErrorCode::kUnavailable}, {"b", ErrorCode::kUnavailable}}));
  EXPECT_EQ(states, std::vector<bool>{false});
  EXPECT_FALSE(rpc_client->is_up());
  EXPECT_EQ(client.log.count("peer is down", LogLevel::kWarning), 1u);
}

TEST_F(RpcClientTest, peer_that_stops_in_the_middle_fails_calls_in_time) {
  start_server();
  start_client();
  call("a");
  events.run_for(milliseconds(3333));
  server.scheduler.pause();  // SIGSTOP
  events.run_for(kLivenessTimeout + kPingInterval);
  EXPECT_EQ(results, (Results{{"a", ErrorCode::kUnavailable}}));
  EXPECT_FALSE(rpc_client->is_up());
}

TEST_F(RpcClientTest, call_to_a_peer_that_is_down_still_tries_and_brings_it_up) {
  start_client();
  std::vector<bool> states;
  rpc_client->on_state_change([&](bool up) { states.push_back(up); });
  call("a");
  events.run_for(seconds(3));
  call("b");
  events.run_for(milliseconds(1999));
  EXPECT_EQ(results, (Results{{"a", ErrorCode::kUnavailable}}));
  events.run_for(milliseconds(1));
  EXPECT_EQ(result_of("b"), ErrorCode::kUnavailable);
  EXPECT_EQ(states, std::vector<bool>{false});
  start_server();
  call("c");
  events.run_for(milliseconds(1));
  EXPECT_EQ(arrived_names(), Names{"c"});
  answer_all();
  events.run_for(milliseconds(1));
  EXPECT_EQ(result_of("c"), ErrorCode::kOk);
  EXPECT_EQ(states, (std::vector<bool>{false, true}));
}

TEST_F(RpcClientTest, failed_calls_are_not_delivered_when_the_peer_comes_back) {
  start_server();
  start_client();
  call("warm up");
  events.run_for(milliseconds(1));
  answer_all();
  events.run_for(milliseconds(1));
  server.scheduler.pause();
  call("a");
  events.run_for(seconds(3));
  EXPECT_EQ(result_of("a"), ErrorCode::kUnavailable);
  rpc_server.reset();
  call("b");
  events.run_for(seconds(1));
  server.scheduler.resume();
  start_server(2);
  events.run_for(milliseconds(10));
  EXPECT_TRUE(arrived.empty());
}

TEST_F(RpcClientTest, calls_made_by_failing_callbacks_live_on) {
  start_client();
  int failed = 0;
  bool answered = false;
  CallId to_cancel;
  const auto fail_and_call_again = [&](Lookup result) {
    EXPECT_EQ(result.code(), ErrorCode::kUnavailable);
    ++failed;
    rpc_client->cancel(to_cancel);
    rpc_client->call(LookupRequest{}, CallOptions{},
                     [&](Lookup second) { answered = second.has_value(); });
    start_server();
  };
  rpc_client->call(LookupRequest{}, CallOptions{}, fail_and_call_again);
  to_cancel = call("cancelled by the first callback");
  events.run_for(milliseconds(2001));
  EXPECT_EQ(failed, 1);
  EXPECT_TRUE(results.empty());
  ASSERT_EQ(arrived.size(), 1u);
  answer_all();
  events.run_for(milliseconds(1));
  EXPECT_TRUE(answered);
}

TEST_F(RpcClientTest, kept_calls_are_sent_again_in_order_when_the_peer_is_back) {
  start_server();
  auto options = keeping();
  options.calls_in_flight_max = 3;
  start_client(options);
  std::vector<bool> states;
  rpc_client->on_state_change([&](bool up) { states.push_back(up); });
  for (const char* name : {"a", "b", "c", "d"}) {
    call(name);
  }
  events.run_for(milliseconds(1));
  ASSERT_EQ(arrived_names(), (Names{"a", "b", "c"}));
  std::vector<std::uint64_t> ids;
  for (const RpcRequest& request : arrived) {
    ids.push_back(request.envelope.request_id);
  }
  arrived.clear();
  rpc_server.reset();
  events.run_for(std::chrono::minutes(5));
  call("e");
  EXPECT_EQ(states, std::vector<bool>{false});
  EXPECT_FALSE(rpc_client->is_up());
  EXPECT_TRUE(results.empty());

  start_server(2);
  events.run_for(kPingInterval + milliseconds(1));
  EXPECT_EQ(states, (std::vector<bool>{false, true}));
  ASSERT_EQ(arrived_names(), (Names{"a", "b", "c"}));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    EXPECT_EQ(arrived[i].envelope.request_id, ids[i]);
  }
  answer_all();
  events.run_for(milliseconds(1));
  EXPECT_EQ(arrived_names(), (Names{"d", "e"}));
  answer_all();
  events.run_for(milliseconds(1));
  EXPECT_EQ(results.size(), 5u);
  EXPECT_EQ(client.log.count("peer is down"), 1u);
  EXPECT_EQ(client.log.count("peer is up"), 1u);
}

TEST_F(RpcClientTest, kept_call_made_while_down_and_idle_goes_out_at_once_when_the_peer_is_back) {
  start_client(keeping());
  const CallId first = call("a");
  events.run_for(seconds(5));
  rpc_client->cancel(first);
  events.run_for(seconds(60));
  start_server();
  call("b");
  events.run_for(milliseconds(5));
  EXPECT_EQ(arrived_names(), Names{"b"});
}

TEST_F(RpcClientTest, kept_calls_time_out_and_can_be_cancelled_while_down) {
  start_client(keeping());
  call("a", seconds(10));
  const CallId second = call("b");
  events.run_for(milliseconds(9999));
  EXPECT_TRUE(results.empty());
  events.run_for(milliseconds(1));
  EXPECT_EQ(results, (Results{{"a", ErrorCode::kTimedOut}}));
  rpc_client->cancel(second);
  EXPECT_EQ(rpc_client->calls_pending(), 0u);
  start_server();
  events.run_for(seconds(10));
  EXPECT_TRUE(arrived.empty());
}

TEST_F(RpcClientTest, own_pause_is_not_taken_for_the_silence_of_the_peer) {
  start_server();
  start_client();
  call("a");
  events.run_for(milliseconds(700));
  client.scheduler.pause();
  events.run_for(seconds(30));
  client.scheduler.resume();
  events.run_for(milliseconds(10));
  EXPECT_TRUE(results.empty());
  EXPECT_TRUE(rpc_client->is_up());
  answer_all();
  events.run_for(milliseconds(10));
  EXPECT_EQ(results, (Results{{"a", ErrorCode::kOk}}));
}

TEST_F(RpcClientTest, calls_beyond_the_limit_in_flight_wait_and_beyond_the_queue_are_busy) {
  start_server();
  RpcClient::Options options;
  options.calls_in_flight_max = 2;
  options.calls_queued_max = 3;
  start_client(options);
  is_calling = true;
  for (const char* name : {"a", "b", "c", "d", "e", "f"}) {
    call(name);
  }
  is_calling = false;
  events.run_for(milliseconds(1));
  EXPECT_EQ(results, (Results{{"f", ErrorCode::kBusy}}));
  EXPECT_EQ(arrived_names(), (Names{"a", "b"}));
  answer_all();
  events.run_for(milliseconds(1));
  EXPECT_EQ(arrived_names(), (Names{"c", "d"}));
  answer_all();
  events.run_for(milliseconds(1));
  answer_all();
  events.run_for(milliseconds(1));
  EXPECT_EQ(results.size(), 6u);
}

TEST_F(RpcClientTest, full_queue_of_the_transport_is_tried_again) {
  sim::SimNetworkFaults faults;
  faults.in_flight_max = 2;
  network.set_faults(faults);
  start_server();
  start_client();
  for (int i = 0; i < 10; ++i) {
    call(std::to_string(i));
  }
  events.run_for(milliseconds(150));
  EXPECT_EQ(arrived_names(), (Names{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}));
}

TEST_F(RpcClientTest, impossible_address_fails_every_call_but_not_inside_of_it) {
  rpc_client = std::make_unique<RpcClient>(client.world(), "nonsense", "x", RpcClient::Options{});
  is_calling = true;
  call("a");
  const CallId second = call("b");
  call("c");
  is_calling = false;
  EXPECT_EQ(rpc_client->calls_pending(), 3u);
  rpc_client->cancel(second);
  events.run_for(milliseconds(1));
  EXPECT_EQ(results,
            (Results{{"a", ErrorCode::kInvalidArgument}, {"c", ErrorCode::kInvalidArgument}}));
}

TEST_F(RpcClientTest, oversized_bulk_is_refused_before_it_is_sent) {
  start_server();
  start_client();
  ErrorCode code = ErrorCode::kOk;
  const auto send = [&](std::size_t bytes) {
    rpc_client->call(
        LookupRequest{}, CallOptions{}, [&](Lookup result) { code = result.code(); },
        Buffer::adopt(std::string(bytes, 'x')));
    events.run_for(milliseconds(1));
  };
  send(kBulkBytesMax + 1);
  EXPECT_EQ(code, ErrorCode::kTooLarge);
  EXPECT_TRUE(arrived.empty());
  send(kBulkBytesMax);
  EXPECT_EQ(arrived.size(), 1u);
}

TEST_F(RpcClientTest, destroyed_client_calls_nobody_back) {
  start_server();
  start_client();
  rpc_client->on_state_change([](bool) { ADD_FAILURE(); });
  call("a");
  call("b", milliseconds(100));
  rpc_client.reset();
  events.run_for(seconds(10));
  EXPECT_TRUE(results.empty());

  rpc_client = std::make_unique<RpcClient>(client.world(), "nonsense", "x", RpcClient::Options{});
  call("refused");
  rpc_client.reset();
  events.run_for(seconds(10));
  EXPECT_TRUE(results.empty());
}

TEST_F(RpcClientTest, answer_to_an_earlier_client_is_not_taken_for_one_of_ours) {
  start_server();
  start_client();
  call("a");
  events.run_for(milliseconds(1));
  const auto first_id = arrived[0].envelope.request_id;
  arrived.clear();
  start_client();
  call("b");
  events.run_for(milliseconds(1));
  EXPECT_GT(std::max(arrived[0].envelope.request_id, first_id) -
                std::min(arrived[0].envelope.request_id, first_id),
            std::uint64_t{1} << 32);
}

TEST_F(RpcClientTest, lossy_doubling_and_reordering_network_still_answers_each_call_once) {
  sim::SimNetworkFaults faults;
  faults.loss_per_million = 100'000;
  faults.duplicate_per_million = 100'000;
  faults.reorder_per_million = 200'000;
  network.set_faults(faults);
  auto created = RpcServer::create(server.world(), kServerAddress, 1,
                                   [this](RpcRequest request) { answer(request); });
  ASSERT_TRUE(created.has_value());
  rpc_server = std::move(*created);
  start_client(keeping());
  for (int i = 0; i < 2000; ++i) {
    call(std::to_string(i));
  }
  EXPECT_TRUE(events.run_until([&] { return results.size() >= 2000; }, seconds(120)));
  events.run_for(seconds(60));
  EXPECT_EQ(results.size(), 2000u);
  std::sort(results.begin(), results.end());
  EXPECT_EQ(std::adjacent_find(results.begin(), results.end()), results.end());
  EXPECT_TRUE(std::all_of(results.begin(), results.end(),
                          [](const auto& result) { return result.second == ErrorCode::kOk; }));
}

}  // namespace
}  // namespace dfs::test
