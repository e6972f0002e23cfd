// The master: requests in, one transaction for all that have arrived, answers out.
//
// Order of things: arrived requests and internal operations wait in one queue; a posted task takes
// a bounded batch of them, applies them in order in one transaction of the Store, commits (durably
// if any of them asked for it), and only then answers them all. So an answer is always true after
// a crash, and the cost of a commit is shared. A request of a session that was answered before
// gets the same answer again: answers of changes are kept in the transaction that made them.
//
// A batch that the store refuses is rolled back and its parts are tried one by one, so that an
// error meets only those it belongs to. A commit that fails for another reason than space leaves
// unknown what is stored: the master stops without an answer, and clients ask again after the next
// start. A change of what other sessions keep in their caches is put aside until they have dropped
// it (lease_table.h). After a loss of power nearly everything waits first, see grace.h. Bounded:
// kBatchMax, kQueueMax. Everything runs on the loop thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/world.h"
#include "master/core/chunk_manager.h"
#include "master/core/grace.h"
#include "master/core/internal_operations.h"
#include "master/core/lease_changes.h"
#include "master/core/lease_table.h"
#include "master/core/lock_service.h"
#include "master/core/op_context.h"
#include "master/core/session_table.h"
#include "master/core/store.h"
#include "proto/rpc_server.h"

namespace dfs::master {

struct Operation;  // dispatch.h

// Requests of one batch: bounds its time and the memory of its answers.
inline constexpr std::size_t kBatchMax = 256;
// Requests that wait, and those of a grace period again; above it they are dropped like messages
// the network lost.
inline constexpr std::size_t kQueueMax = 65536;

class Master final : private InternalOperations {
 public:
  struct Options {
    Address listen_address;
    SessionTable::Options sessions;
    ChunkManager::Options chunks;
    std::size_t leases_max = kLeasesMax;
    // Of the machine: another one after each of its starts. Empty: not known.
    std::string boot_id = {};
  };

  // `store` outlives the master and is used by it alone.
  Master(World world, Store& store, Options options);
  ~Master() override;
  Master(const Master&) = delete;
  Master& operator=(const Master&) = delete;

  // Called once when the store has failed for good; the master answers nothing any more.
  void on_failure(std::function<void(const Error&)> handler) { failed_ = std::move(handler); }

  // Reads what the store knows, begins to listen. Fails with errors of the Store and of
  // Transport::listen. Once.
  Status start();
  // Answers nothing any more. Everything answered is on stable storage, unless the store has failed
  // (a line in the log says so); the store can be closed.
  void stop();

  Address address() const;
  SessionTable& sessions() { return sessions_; }
  LeaseTable& leases() { return leases_; }
  ChunkManager& chunks() { return chunks_; }
  LockService& locks() { return locks_; }

 private:
  // What a request waits for before it is applied.
  struct LeaseWait {
    // A change: for others to drop what it changes, of which nothing is granted meanwhile. A
    // question: for others to store what they wrote.
    LeaseChanges changes;
    LeaseTable::Noticed noticed;
    std::vector<LeaseTable::Awaited> awaited;
    bool is_marked = false;
    // A question for contents: until no change of them waits.
    InodeId until_calm;
    // A truncation: of what, and where.
    InodeId cut;
    std::uint64_t cut_bytes = 0;
  };
  // Something of a batch: a request or an internal operation, and what came of it.
  struct Item {
    RpcRequest request;
    Operation operation;  // internal, if set
    Done done;
    bool durable = false;
    MonoTime since{};  // a request: when it came
    Buffer answer;     // to a request; empty: none is sent
    Status outcome = ok();
    LeaseWait wait;
    bool waits = false;         // not applied in this batch
    bool is_withdrawn = false;  // by its sender, while it waited
  };
  struct Poll {  // a WaitForNotices not answered yet
    ReplyAddress to;
    std::uint64_t received = 0;
  };
  using Items = std::span<Item>;

  void submit(Operation operation, Done done, bool durable) override;
  Status prepare();
  void note_orderly_stop();
  void receive(RpcRequest request);
  bool must_wait(const RpcRequest& request) const;
  void take_replay(const RpcRequest& request);
  // master_leases.cc
  bool take_lease_request(const RpcRequest& request);
  void take_poll(const RpcRequest& request);
  void take_reclaim(const RpcRequest& request);
  void take_withdrawal(const RpcRequest& request);
  bool is_repeated_while_waiting(RpcRequest& request);
  Result<bool> must_wait_for_leases(Item& item, OpContext& context);
  bool waits_for_all(Item& item);
  static void note_cut(Item& item);
  bool may_pass(const Item& item, const LeaseTable::Awaited& awaited) const;
  bool must_wait_for_writers(Item& item, const OpContext& context);
  void put_aside(Items items);
  bool is_ready(const Item& item) const;
  void wake_waiting();
  void send_notices(SessionId session);
  void send_all_notices();
  // master_waits.cc
  std::vector<ParkedRequest> parked(Duration age_min) const;
  ParkedRequest describe_parked(const Item& item) const;
  void note_awaited(const Item& item, ParkedRequest& parked) const;
  std::vector<SessionId> not_told_yet() const;
  void grace_ended();
  void schedule_batch();
  void run_batch();
  void run_items(Items items);
  Status attempt(Items items);
  Status apply_items(Items items, OpContext& context);
  Status apply_item(Item& item, OpContext& context);
  Status apply_request(Item& item, OpContext& context);
  Status acknowledge(Items items, OpContext& context);
  void undo(const BatchEnd& end);
  void answer(Items items);
  void answer_failure(Item& item, const Error& error);
  void fail(const Error& error);
  void tell_failure(const Error& error);

  World world_;
  Store& store_;
  Options options_;
  MonoTime started_;
  std::uint64_t incarnation_;
  ChunkManager chunks_;
  SessionTable sessions_;
  LeaseTable leases_;
  LockService locks_;
  Grace grace_;
  std::unique_ptr<RpcServer> server_;
  std::function<void(const Error&)> failed_;
  std::deque<Item> queue_;
  std::deque<Item> held_;     // until the grace period is over
  std::deque<Item> waiting_;  // for leases, in the order of their arrival
  std::map<SessionId, Poll> polls_;
  std::uint64_t index_base_ = 0;   // below every index of this process
  std::uint64_t index_ = 0;        // of the newest change
  std::uint64_t index_bound_ = 0;  // as the store has it
  std::uint64_t durable_index_ = 0;
  bool batch_is_posted_ = false;
  bool is_stopped_ = false;
  std::uint32_t failures_in_a_row_ = 0;
  std::uint64_t dropped_requests_ = 0;
  Timer note_timer_;
  // Posted tasks hold it weakly: they do nothing once the master is gone.
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace dfs::master
