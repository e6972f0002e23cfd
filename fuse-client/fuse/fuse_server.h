// The FUSE adapter: reads the kernel's requests, turns them into calls of the client core, replies.
//
// It runs in the thread of the loop that drives the core: process() when the descriptor is
// readable. The other threads are KernelNotifier's. Inode numbers are the master's, except that
// the mounted directory is 1 to the kernel, whatever it is on the master. Lookups are counted
// before the reply leaves and taken back if it could not be delivered; an inode the kernel has
// forgotten is forgotten by the core too.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/log.h"
#include "common/scheduler.h"
#include "fuse-client/core/client.h"
#include "fuse-client/core/lifetime.h"
#include "fuse-client/fuse/cache_dropper.h"
#include "fuse-client/fuse/direct_io.h"
#include "fuse-client/fuse/directory_locks.h"
#include "fuse-client/fuse/file_sizes.h"
#include "fuse-client/fuse/fuse_api.h"
#include "fuse-client/fuse/inode_requests.h"
#include "fuse-client/fuse/kernel_names.h"
#include "fuse-client/fuse/kernel_notifier.h"
#include "fuse-client/fuse/open_directory.h"
#include "fuse-client/fuse/own_cuts.h"
#include "fuse-client/fuse/path_walks.h"
#include "fuse-client/fuse/request_reader.h"

namespace dfs::fuse {

inline constexpr std::chrono::seconds kRootStatWait{3};
// What the kernel calls a file that is created without a name.
inline constexpr char kNoName[] = "/";
// Signals that a program catches do not interrupt its calls, as they do not on a local disk; only
// one that has waited for so long since then is given up.
inline constexpr std::chrono::seconds kCaughtSignalPatience{30};

enum class WokenBy : std::uint8_t { kFatalSignals, kAnySignal };

struct ServerOptions {
  InodeId root = kRootInode;               // what is mounted
  std::vector<std::string> mount_options;  // for the kernel: "ro", "allow_other", "fsname=…"
  Duration umount_wait = std::chrono::seconds(30);
  std::string own_options = {};  // what "dfs.options" tells
  // Runs a task on the loop thread; called from any thread.
  std::function<void(Task)> post_from_thread;
  // Makes the kernel end the connection, and with that every wait for an answer.
  std::function<void()> abort_connection = [] {};
};

class FuseServer {
 public:
  // Fails with kInvalidArgument when libfuse does not take the mount options.
  static Result<std::unique_ptr<FuseServer>> create(client::Client& client, Scheduler& scheduler,
                                                    Log& log, ServerOptions options);
  ~FuseServer();  // unmounts if mounted
  FuseServer(const FuseServer&) = delete;
  FuseServer& operator=(const FuseServer&) = delete;

  // Mounts at `directory`. Fails with kIo and what the kernel or fusermount3 said.
  Status mount(const std::string& directory);
  // Speaks to whoever holds the other end of what is as good as an open /dev/fuse. By itself, for
  // tests, instead of mounting.
  Status attach(int connection_fd);
  // Serves nothing any more, and unmounts if mounted.
  void unmount();
  // Leaves the mount where it is: nobody answers it once this object is gone.
  void abandon() { mounted_ = false; }

  int fd() const;
  // Handles what has arrived, a bounded number of requests. False when the kernel ended the
  // connection (unmounted or aborted).
  bool process();
  // Called when the kernel's INIT was answered.
  void on_ready(std::function<void()> handler) { ready_ = std::move(handler); }
  // What the members of ClientEvents of these names are to call.
  void invalidate_contents(InodeId inode);
  void drop_cached(const std::vector<LeaseChange>& changes, std::function<void()> dropped);
  void others_go_on(const std::vector<InodeId>& files, std::function<void()> done);
  bool is_known(InodeId inode) const { return inode == root_ || names_.contains(inode); }

  // ---- For the operations (ops_*.cc).

  client::Client& client() { return client_; }
  Scheduler& scheduler() { return scheduler_; }
  const client::Lifetime& lifetime() const { return lifetime_; }
  DirectIoHandshake& direct_io() { return direct_io_; }
  Duration umount_wait() const { return umount_wait_; }
  const std::string& own_options() const { return own_options_; }
  InodeId from_kernel(fuse_ino_t inode) const;
  fuse_ino_t to_kernel(InodeId inode) const;
  void negotiate(fuse_conn_info* connection);

  // Remembers how to interrupt what `request` started; ended() when it is answered.
  void started(fuse_req_t request, client::OperationId operation,
               WokenBy woken_by = WokenBy::kFatalSignals);
  void ended(fuse_req_t request);
  void interrupt(fuse_req_t request);

  // A callback that answers `request` with the error, or hands the value to `on_value`.
  template <class T, class OnValue>
  client::Done<T> answer(fuse_req_t request, OnValue on_value) {
    // On its way to a file the kernel asks for names, attributes and links.
    if constexpr (!std::is_same_v<T, Attributes> && !std::is_same_v<T, std::string>) {
      call_ends(request);
    }
    return [this, request, on_value,
            walked_twice = begins_after_second_walk(request)](Result<T> result) {
      ended(request);
      if (!result) {
        reply_error(request, result.error(), walked_twice);
        return;
      }
      on_value(std::move(*result));
    };
  }
  client::Done<Unit> answer_unit(fuse_req_t request) {
    return answer<Unit>(request, [request](Unit) { fuse_reply_err(request, 0); });
  }
  client::Done<Attributes> answer_entry(fuse_req_t request, InodeId parent, std::string name);
  client::Done<Attributes> answer_attributes(fuse_req_t request);
  // stat of the mounted directory: a master that does not answer is waited for kRootStatWait, then
  // the last known attributes must do. umount(8) asks for them before it does anything.
  void answer_root_attributes(fuse_req_t request);

  void reply_error(fuse_req_t request, const Error& error, bool walked_twice);
  // As PathWalks'.
  void call_ends(fuse_req_t request);
  bool begins_after_second_walk(fuse_req_t request);
  void reply_entry(fuse_req_t request, InodeId parent, const std::string& name,
                   const Attributes& attributes);
  // How the kernel may cache it is decided now, whenever the attributes were asked for. The lookup
  // is to be counted.
  fuse_entry_param entry(InodeId parent, const std::string& name, const Attributes& attributes);
  // Answers a question about the inode. No notification about it leaves before the answer has, for
  // a moment.
  template <class T>
  client::Done<T> counted(InodeId inode, client::Done<T> done) {
    requests_.begin(inode, scheduler_.now());
    return [this, inode, done = std::move(done)](Result<T> result) {
      done(std::move(result));
      requests_.end(inode, scheduler_.now());
    };
  }
  void note_answer(InodeId inode) { requests_.note_answer(inode, scheduler_.now()); }
  // A read of the file begins. True: not now; `again` will be called.
  bool holds_read(InodeId file, std::uint64_t offset, std::uint64_t size_bytes, Task again) {
    return dropper_ && dropper_->holds_read(file, offset, size_bytes, std::move(again));
  }
  // As CacheDropper's.
  void write_back_begins(InodeId file) { dropper_->write_back_begins(file); }
  void write_back_ends(InodeId file) { dropper_->write_back_ends(file); }
  std::uint64_t write_begins(InodeId file, std::uint64_t offset, std::uint64_t size_bytes);
  void write_ends(InodeId file, std::uint64_t write, Task ended);
  void drop_range(InodeId file, std::uint64_t offset, std::uint64_t size_bytes, Task dropped);
  // Whether the kernel must walk the path again that led it to the inode. Who has the inode open
  // may have come by that, and is answered.
  bool must_walk_again(fuse_req_t request, InodeId inode, Use use);
  // With which the caller found the inode a moment ago, having to ask for them again.
  std::optional<Attributes> found_attributes(fuse_req_t request, InodeId inode);
  // The kernel is about to be told that it is done.
  void renamed(const RenameRequest& rename, const RenameReply& reply);
  // Other clients have changed it a moment ago, or asked for what is written to it here.
  bool is_contended(InodeId inode) const { return dropper_ && dropper_->is_contended(inode); }
  void note_asked_for(InodeId inode);
  DirectoryLocks& locks() { return locks_; }
  // Where else the kernel knows it to be, when it is a directory.
  std::optional<InodeId> former_place(const Attributes& found, InodeId to_directory) const;
  DirectFiles& direct_files() { return direct_files_; }
  FileSizes& sizes() { return sizes_; }
  OwnCuts& own_cuts() { return own_cuts_; }
  void release(client::HandleId handle);
  void count_lookup(InodeId inode) { names_.count(inode); }
  void forget(InodeId inode, std::uint64_t count);
  std::uint64_t lookup_count(InodeId inode) const { return names_.lookups(inode); }
  std::size_t known_inodes() const { return names_.size(); }

  RequestReader& reader() { return reader_; }

  std::uint64_t open_directory(fuse_req_t request, InodeId inode);
  OpenDirectory* directory(std::uint64_t id);
  void close_directory(std::uint64_t id);

 private:
  FuseServer(client::Client& client, Scheduler& scheduler, Log& log, const ServerOptions& options);
  Duration attributes_keep_for(InodeId inode) const;
  bool is_quiet(InodeId inode) const;
  void interrupt_when_due(fuse_req_t request, client::OperationId operation, MonoTime limit);
  bool is_in_use(const std::vector<LeaseChange>& changes);
  void note_changed(const std::vector<InodeId>& files);
  void drop_when_unused(const std::vector<LeaseChange>& changes, MonoTime limit,
                        std::function<void()> dropped);

  client::Client& client_;
  Scheduler& scheduler_;
  Log& log_;
  InodeId root_;
  Duration umount_wait_;
  std::string own_options_;
  fuse_session* session_ = nullptr;
  bool mounted_ = false;
  std::function<void()> ready_;
  std::function<void(Task)> post_from_thread_;
  std::function<void()> abort_connection_;
  std::unique_ptr<KernelNotifier> notifier_;
  std::unique_ptr<CacheDropper> dropper_;
  FileSizes sizes_;
  OwnCuts own_cuts_{scheduler_};
  DirectIoHandshake direct_io_;
  PathWalks walks_;
  DirectoryLocks locks_;
  InodeRequests requests_;
  KernelNames names_;

  struct Waiting {
    client::OperationId operation;
    WokenBy woken_by;
  };
  RequestReader reader_;
  std::map<fuse_req_t, Waiting> waiting_;
  DirectFiles direct_files_;
  std::map<std::uint64_t, OpenDirectory> directories_;
  std::uint64_t next_directory_ = 1;
  std::optional<Attributes> root_attributes_;  // last known
  client::Lifetime lifetime_;
};

struct stat to_stat(const Attributes& attributes, fuse_ino_t inode);

// The table of operations, and the server a request belongs to.
const fuse_lowlevel_ops& operations();
FuseServer& server_of(fuse_req_t request);
// Each ops_*.cc enters its own.
void add_namespace_operations(fuse_lowlevel_ops& table);
void add_file_operations(fuse_lowlevel_ops& table);
void add_directory_operations(fuse_lowlevel_ops& table);
void add_xattr_operations(fuse_lowlevel_ops& table);
void add_lock_operations(fuse_lowlevel_ops& table);

}  // namespace dfs::fuse
