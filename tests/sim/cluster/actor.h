// One application: random operations, one at a time, in a directory of its own, each answer checked
// against the model.
//
// It outlives the client it runs on. When the client dies or the master loses power it stops, waits
// until it can ask again, reads everything back, and the model must explain what it finds
// (model.h). All its choices come from its own random numbers.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fuse-client/core/client.h"
#include "tests/sim/cluster/model.h"
#include "tests/sim/cluster/walker.h"
#include "tests/sim/sim_events.h"
#include "tests/sim/sim_random.h"

namespace dfs::sim {

// What an actor needs of the simulation around it.
class Actor;

class ActorHost {
 public:
  virtual ~ActorHost() = default;
  virtual SimEvents& events() = 0;
  // Null while the client process is dead or not mounted.
  virtual client::Client* client() = 0;
  // Runs `task` as the client's process: later if that is stopped, never if it is dead.
  virtual void in_client(Task task) = 0;
  // Whether the client's process is alive but stopped.
  virtual bool is_client_paused() = 0;
  virtual Positions positions() = 0;
  // Every actor's changes up to there are on stable storage.
  virtual void durable(const Positions& positions) = 0;
  // Whether anything may go wrong in this run.
  virtual bool has_nuisances() = 0;
  // Whether a disk was full at or shortly before a time since `since`.
  virtual bool may_be_full(MonoTime since) = 0;
  // Whether another application on this client does not know yet what it has lost: its lost writes
  // are told to whoever syncs everything.
  virtual bool others_are_unsure() = 0;
  // Applications on other clients.
  virtual std::vector<const Actor*> strangers() = 0;
  virtual void found_cut(std::size_t actor, const Cut& cut) = 0;
  virtual void fail(const std::string& why) = 0;
  virtual void say(const std::string& what) = 0;  // for --verbose
};

class Actor {
 public:
  struct Options {
    std::size_t index = 0;
    InodeId root;
    std::uint64_t operations = 0;  // how many until it is done
  };
  Actor(ActorHost& host, SimRandom random, Options options);
  Actor(const Actor&) = delete;
  Actor& operator=(const Actor&) = delete;

  void start();
  void client_died();
  void client_mounted();
  void master_lost_power();
  // Precondition: is_done().
  void close_files();

  bool is_done() const { return state_ == State::kDone; }
  // Since when the operation under way waits; nothing when none does.
  std::optional<MonoTime> waiting_since() const;
  // Differs after anything this actor does or suffers.
  std::uint64_t stamp() const { return operations_begun_ + turn_ + loss_count_; }
  // Nothing was asked for within `time`, and nothing is under way or in doubt.
  bool is_quiet(Duration time) const;
  const std::string& current() const { return current_; }
  const Model& model() const { return model_; }
  Model& model() { return model_; }

 private:
  static constexpr std::size_t kFilesOpenMax = 4;

  enum class State { kResting, kWaiting, kNoClient, kRecovering, kDone };
  struct OpenFile {
    client::HandleId handle;
    NodeKey key;
    bool is_writable = false;
  };

  // --- actor.cc: turns, losses, recovery ---
  void rest();
  void next_operation();
  void end_operation();
  void lose(Loss loss);
  void lose_with_client();
  // The operation under way was answered by the master, from no cache.
  void master_answered();
  void recover();
  void recover_sync(int attempt);
  void recover_sync_directory();
  void recover_walk();
  void recovered(Result<ObservedTree> observed);
  bool is_sure() const { return model_.loss() == Loss::kNothing; }
  void fail(const std::string& why);
  // Runs `task` in the client's process, unless the client dies first.
  void in_client(std::function<void(client::Client&)> task);
  // The same with a step of the operation under way, which may be interrupted.
  using Call = std::function<client::OperationId(client::Client&)>;
  void ask_client(Call call);
  void after(Duration delay, Task task);
  // A callback for the operation under way: not run once the client has died.
  template <class T>
  client::Done<T> answer(std::function<void(Result<T>)> handle) {
    return [this, epoch = epoch_, run = std::move(handle)](Result<T> result) {
      if (epoch == epoch_) {
        run(std::move(result));
      }
    };
  }

  // --- actor_interrupts.cc ---
  void plan_interrupt();
  void interrupt(std::uint64_t operation);
  void expect_answer(std::uint64_t operation);
  // It was interrupted, and this is the answer to that.
  bool is_interrupted(ErrorCode code) const {
    return interrupted_at_.has_value() && code == ErrorCode::kInterrupted;
  }

  // --- actor_ops.cc: what an operation does with its answer ---
  void begin(std::string what);
  void begin_change(TreeChange change, const std::string& what);
  void end_change(ErrorCode code, const Attributes* attributes = nullptr);
  void touched(NodeKey key);
  void sync_own();
  void check_attributes(NodeKey key, const Attributes& attributes);
  // A write was answered. True: it was taken.
  bool is_taken(NodeKey key, ErrorCode code);
  // For answers that are not changes. True: it is kOk and may be checked.
  bool is_checkable(ErrorCode code);

  // --- actor_names.cc, actor_files.cc, actor_queries.cc: the operations ---
  void op_create();
  void op_make();
  void op_unlink();
  void op_remove_directory();
  void op_rename();
  void op_link();
  void op_set_attributes();
  void op_set_xattr();
  void op_remove_xattr();

  void op_open();
  void op_release();
  void op_write();
  void op_append();
  void op_truncate();
  void op_read();
  void op_flush();
  void op_sync();
  void op_sync_directory();
  void op_sync_all();
  void write(const OpenFile& file, std::uint64_t offset, std::string data);
  void truncate_by(TreeChange change, std::uint64_t size_bytes, Call call);

  void op_stat();
  void op_lookup();
  void op_list();
  void op_read_link();
  void op_get_xattr();
  void op_list_xattrs();
  void op_peek();
  struct Peek {
    const Actor* owner = nullptr;
    std::uint64_t stamp = 0;
    NodeKey key;
    InodeId parent;
    std::string name;
  };
  std::optional<Peek> random_peek();
  void peek_read(const Peek& peek, const client::OpenedFile& file);
  bool is_still_true(const Peek& peek, ErrorCode code);
  void list_on(NodeKey directory, std::uint64_t cookie);

  // --- choices ---
  NodeKey random_directory();
  std::optional<NodeKey> random_node(bool (TreeNode::*is_wanted)() const);
  std::optional<OpenFile> random_file(bool writable);
  std::string random_name();
  std::string random_xattr();  // a name of one, or of an ACL
  std::string random_acl();
  // A directory and a name in it, mostly one that exists.
  std::pair<NodeKey, std::string> random_entry();
  std::string random_data(std::uint64_t size_bytes);
  std::uint64_t random_size();

  ActorHost& host_;
  SimRandom random_;
  Options options_;
  Model model_;
  State state_ = State::kNoClient;
  std::uint64_t operations_begun_ = 0;
  std::uint64_t operations_done_ = 0;
  std::uint64_t epoch_ = 0;  // of the client
  std::uint64_t turn_ = 0;   // what is planned in an earlier one does not happen
  std::uint64_t loss_count_ = 0;
  std::uint64_t recovery_loss_ = 0;  // loss_count_ when the recovery began
  // The master lost power and this client has not seen it at work since: if it dies now, what it
  // was answered may be lost with it.
  std::optional<MonoTime> in_doubt_since_;
  bool is_cut_ = false;  // it was dead when the master lost power
  MonoTime issued_at_{};
  std::string current_;
  client::OperationId client_operation_;    // the step of the operation under way
  std::optional<MonoTime> interrupted_at_;  // that operation was
  std::vector<OpenFile> files_;
  Positions known_;                       // when the operation under way was asked for
  std::map<NodeKey, Positions> touched_;  // what a sync of the node makes durable
  Positions last_touch_;                  // the same for any node
  NodeKey changing_;                      // by the change under way
  std::optional<std::pair<NodeKey, std::uint64_t>> cut_;  // the truncation under way
  std::map<std::string, std::uint64_t> listed_;           // by op_list so far
  std::unique_ptr<Walker> walker_;
};

}  // namespace dfs::sim
