// One application that works where others, on this client and on others, work at the same time:
// random operations, one at a time, on few names and files of one shared directory.
//
// It judges nothing itself: what it asks and is told goes to the story (shared_story.h). Like an
// actor it outlives the client it runs on. After anything that leaves doubt (an interrupted change,
// a new client, a lost session, a new era) it first asks for a durable answer of the master.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/cluster/actor.h"
#include "tests/sim/cluster/shared_story.h"

namespace dfs::sim {

class Sharer {
 public:
  struct Options {
    std::size_t index = 0;
    std::size_t client = 0;
    std::uint64_t operations = 0;
  };
  Sharer(ActorHost& host, SharedStory& story, SimRandom random, Options options);
  Sharer(const Sharer&) = delete;
  Sharer& operator=(const Sharer&) = delete;

  void start() { enter(); }
  void client_died();
  void client_mounted() { enter(); }
  // The client opened another session in place of one that was over.
  void session_lost();
  std::set<std::uint64_t> open_inodes() const;

  bool is_done() const { return state_ == State::kDone; }
  std::optional<MonoTime> waiting_since() const;
  const std::string& current() const { return current_; }

 private:
  static constexpr std::size_t kFilesOpenMax = 4;
  static constexpr int kCreateTries = 10;

  enum class State { kNoClient, kEntering, kResting, kWaiting, kDone };
  struct OpenFile {
    client::HandleId handle;
    std::uint64_t inode = 0;
    bool is_appended = false;
    bool had_no_name = false;
  };
  using Call = std::function<client::OperationId(client::Client&)>;

  // --- sharer.cc: turns, losses ---
  void enter();
  void make_directory();
  void look_up_directory();
  void make_sure();
  void open_lock_file();
  void entered();
  // What was asked for was refused on the way in: again, from the start.
  bool is_refused(ErrorCode code);
  void leave();
  void sync_next(std::vector<OpenFile> files);
  void rest();
  void release_all();
  void end_operation();
  void after(Duration delay, Task task);
  void in_client(std::function<void(client::Client&)> task);
  void ask_client(Call call);
  template <class T>
  client::Done<T> answer(std::function<void(Result<T>)> handle) {
    return [this, epoch = epoch_, run = std::move(handle)](Result<T> result) {
      if (epoch == epoch_) {
        run(std::move(result));
      }
    };
  }
  void plan_interrupt();
  void interrupt(std::uint64_t operation);

  // --- sharer_names.cc, sharer_files.cc, sharer_locks.cc: the operations ---
  void next_operation();
  void on_names();
  void on_contents();
  void on_appended();
  void on_locks();

  void op_create(coherence::Kind kind, const std::string& name);
  void create(const std::string& name, const client::Done<client::OpenedFile>& done);
  // open(O_CREAT), as the kernel and its adapter make it of calls of the client: what is there is
  // looked up and opened. kStale if the name comes and goes.
  void create_or_open(const std::string& name, const client::Done<client::OpenedFile>& done,
                      int tries = kCreateTries);
  void open_there(InodeId inode, const client::Done<client::OpenedFile>& done,
                  const std::function<void()>& when_gone);
  void op_make_unnamed();
  void op_link_open();
  void op_lookup(const std::string& name);
  void op_unlink(const std::string& name);
  void op_rename(coherence::Kind kind);
  void op_link();
  void op_stat(const std::string& name);
  void op_list();
  void list_on(std::uint64_t cookie);
  void op_fstat(const OpenFile& file);
  void op_set_xattr(const OpenFile& file);
  void op_get_xattr(const OpenFile& file);

  void op_write(const OpenFile& file);
  void op_read(const OpenFile& file);
  void op_truncate(const OpenFile& file);
  void op_allocate(const OpenFile& file);
  void op_copy(const OpenFile& file);
  void op_append(const OpenFile& file);
  void op_read_all(const OpenFile& file);
  void op_sync(const OpenFile& file);
  void op_release();

  void op_lock();
  void op_unlock();
  client::FileLock lock_of(std::uint32_t byte, LockMode mode) const;

  // What every operation does: `ops_` were asked for; the answer of all is `code`.
  coherence::Operation make(coherence::Kind kind, const std::string& name = {},
                            const std::string& other = {}) const;
  coherence::Operation make_on(coherence::Kind kind, const OpenFile& file) const;
  void begin(coherence::Operation op) { begin(std::vector<coherence::Operation>{std::move(op)}); }
  void begin(std::vector<coherence::Operation> ops);
  void finish(ErrorCode code);
  bool is_excused(ErrorCode code) const;
  bool is_not_made(const coherence::Operation& op, ErrorCode code) const;
  void opened(const client::OpenedFile& file, bool is_appended, bool had_no_name);
  void open_found(std::uint64_t inode, bool is_appended);

  std::string random_name();
  std::uint64_t next_value();

  ActorHost& host_;
  SharedStory& story_;
  SimRandom random_;
  const Options options_;
  State state_ = State::kNoClient;
  std::uint64_t operations_done_ = 0;
  std::uint64_t operations_begun_ = 0;
  std::uint64_t epoch_ = 0;  // of the client
  std::uint64_t turn_ = 0;   // what is planned in an earlier one does not happen
  std::uint64_t era_ = 0;
  bool has_lost_session_ = false;  // and has not dealt with that
  bool is_in_doubt_ = false;       // about `unsettled_`
  MonoTime issued_at_{};
  std::string current_;
  client::OperationId client_operation_;
  bool is_interrupted_ = false;  // the operation under way
  std::uint32_t process_ = 0;
  std::uint32_t written_ = 0;
  InodeId directory_;
  std::optional<client::HandleId> lock_file_;
  std::optional<std::uint32_t> locked_byte_;
  std::vector<OpenFile> files_;
  std::vector<coherence::Operation> ops_;     // under way
  std::vector<SharedStory::Ticket> tickets_;  // of these
  std::vector<SharedStory::Ticket> unsettled_;
};

}  // namespace dfs::sim
