#include "fuse-client/mount/client_process.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "common/real/daemon.h"
#include "common/real/event_loop.h"
#include "common/real/owned_fd.h"
#include "common/real/spd_log.h"
#include "common/real/system_random.h"
#include "common/real/zmq_transport.h"
#include "common/world.h"
#include "fuse-client/core/client.h"
#include "fuse-client/fuse/fuse_server.h"
#include "fuse-client/mount/connection_guard.h"
#include "fuse-client/mount/mount_point.h"
#include "fuse-client/mount/session_note.h"

namespace dfs::mount {
namespace {

constexpr unsigned kReadAheadKib = 1024;
// How often the allocator is made to give back what it keeps of freed memory, when that is too
// much.
constexpr Duration kMemoryCheckInterval = std::chrono::milliseconds(250);
constexpr Duration kAnswerLimit = std::chrono::minutes(10);  // a bound beyond every wait inside
// Unmounted with data that nobody takes, by umount -l or -f: so long it is offered all the same.
constexpr Duration kLingerLimit = std::chrono::minutes(10);
constexpr Duration kLingerQuiet = std::chrono::seconds(5);  // before the log says that it lingers
constexpr Duration kLingerReport = std::chrono::minutes(1);

std::string client_name(const std::string& directory) {
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  return std::string(host.data()) + ":" + directory + " (pid " + std::to_string(getpid()) + ")";
}

// Where a client without a terminal logs unless told otherwise.
std::string log_destination(const MountRequest& request) {
  return request.log_file.empty() && !request.foreground ? real::kSystemLog : request.log_file;
}

std::uint64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::uint64_t total_pages = 0;
  std::uint64_t resident_pages = 0;
  statm >> total_pages >> resident_pages;
  return resident_pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

class ClientProcess {
 public:
  ClientProcess(const MountRequest& request, std::string directory, ConnectionGuard& guard,
                real::EventLoop& loop, std::unique_ptr<real::SpdLog> log)
      : request_(request),
        directory_(std::move(directory)),
        guard_(guard),
        loop_(&loop),
        log_(std::move(log)),
        transport_(*loop_, *log_),
        memory_timer_(*loop_),
        stop_timer_(*loop_),
        client_(World{*loop_, random_, *log_, transport_}, options(), events()) {}

  Status run(const std::function<void()>& ready) {
    DFS_CHECK_OK(wait_for([this](client::Done<Unit> done) { client_.start(std::move(done)); }));
    Status mounted = mount(ready);
    if (mounted && !is_stopping_) {
      is_serving_ = true;
      loop_->run();
      is_serving_ = false;
    }
    if (server_fd_watched_) {
      loop_->unwatch_fd(server_->fd());
    }
    if (mount_table_.get() >= 0) {
      loop_->unwatch_fd(mount_table_.get());
    }
    const Status written = linger();
    const Status closed =
        wait_for([this](client::Done<Unit> done) { client_.close(std::move(done)); });
    server_.reset();
    return !mounted ? mounted : !stopped_ ? stopped_ : !written ? written : closed;
  }

  // SIGTERM: flush for at most umount_wait, unmount, and let run() end. Before run() serves it ends
  // without serving; while it lingers after an unmount it does so no longer than that; said again,
  // nothing more happens.
  void stop() {
    if (std::exchange(is_stopping_, true)) {
      return;
    }
    give_up_at_ = std::min(give_up_at_, loop_->now() + request_.umount_wait);
    stop_timer_.start(request_.umount_wait, [this] { client_.interrupt(settling_); });
    if (!is_serving_) {
      return;
    }
    log_->info("told to stop: flushing and unmounting");
    client_.settle(request_.umount_wait, [this](const Result<client::Unwritten>& settled) {
      if (!settled) {
        log_->error("not everything could be written: " + settled.error().detail);
        stopped_ = settled.error();
      }
      leave_mount_point();
      loop_->stop();
    });
  }

  void reopen_log() { log_->reopen(); }

 private:
  client::ClientOptions options() const {
    client::ClientOptions options;
    options.master = request_.source.address();
    options.name = client_name(directory_);
    // Half is left to what the core cannot count: the allocator's gaps, messages in the transport.
    options.memory_bytes = request_.memory_bytes / 2;
    options.connect_wait = request_.connect_wait;
    options.write_wait = request_.write_wait;
    // Read-only is the kernel's to enforce: `mount -o remount,rw` changes it without telling us.
    options.read_only = false;
    options.update_atime = !request_.no_atime;
    options.dead_sessions = SessionNote::take_dead();
    return options;
  }

  client::ClientEvents events() {
    return {.invalidate_contents =
                [this](InodeId inode) {
                  if (server_) {
                    server_->invalidate_contents(inode);
                  }
                },
            .has_session = [this](std::uint64_t nonce) { note_.set(nonce); },
            .drop_cached =
                [this](const std::vector<LeaseChange>& changes, std::function<void()> dropped) {
                  if (server_) {
                    server_->drop_cached(changes, std::move(dropped));
                  } else {
                    loop_->post(std::move(dropped));
                  }
                },
            .others_go_on =
                [this](const std::vector<InodeId>& files, std::function<void()> done) {
                  if (server_) {
                    server_->others_go_on(files, std::move(done));
                  } else {
                    done();
                  }
                },
            .is_known = [this](InodeId inode) { return server_ && server_->is_known(inode); },
            .asked_for =
                [this](InodeId inode) {
                  if (server_) {
                    server_->note_asked_for(inode);
                  }
                }};
  }

  // umount(2) knows paths only, and takes off what is on top. Below another mount ours stays, and
  // is a dead one when this process has ended.
  void leave_mount_point() {
    if (!server_) {
      return;
    }
    const std::vector<MountEntry> mounts = mounts_at(directory_);
    if (!mounts.empty() && !device_.empty() && mounts.back().device != device_) {
      log_->warning("not unmounted: another filesystem is mounted over " + directory_);
      server_->abandon();
      return;
    }
    remove_from_utab(directory_);
    server_->unmount();
  }

  // Remembers which mount is ours, and follows what `mount -o remount` does to it: the kernel does
  // not tell FUSE filesystems.
  Status watch_mount_table() {
    const std::vector<MountEntry> mounts = mounts_at(directory_);
    if (mounts.empty()) {
      return ok();  // in another mount namespace
    }
    device_ = mounts.back().device;
    if (const Status guarded = guard_.guard(device_); !guarded) {
      log_->warning(
          "if this process is killed, umount -f may be needed to end what waits for it: " +
          guarded.error().detail);
    }
    mount_table_ = real::OwnedFd(open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC));
    if (mount_table_.get() < 0) {
      return make_error(ErrorCode::kIo,
                        std::string("cannot open /proc/self/mountinfo: ") + std::strerror(errno));
    }
    return loop_->watch_fd(mount_table_.get(), EPOLLPRI, [this](std::uint32_t) {
      for (const MountEntry& entry : mounts_at(directory_)) {
        if (entry.device == device_) {
          client_.set_update_atime(!entry.no_atime);
        }
      }
    });
  }

  // After the unmount: goes on until everything is written, or it is time to give up; the log says
  // what for. Fails if something was lost.
  Status linger() {
    if (!is_stopping_) {
      give_up_at_ = loop_->now() + kLingerLimit;
    }
    for (Duration step = kLingerQuiet;; step = kLingerReport) {
      const Duration left = std::max(give_up_at_ - loop_->now(), Duration::zero());
      const auto settled = settle(std::min(step, left));
      if (!settled && settled.code() != ErrorCode::kInterrupted) {
        log_->error("not everything could be written at unmount: " + settled.error().detail);
        return settled.error();
      }
      if (settled && settled->is_empty()) {
        return ok();
      }
      const std::string unwritten = client::describe(client_.unwritten());
      if (loop_->now() >= give_up_at_) {
        log_->error("lost at unmount: " + unwritten);
        return make_error(ErrorCode::kTimedOut, "lost at unmount: " + unwritten);
      }
      const auto left_s =
          std::chrono::duration_cast<std::chrono::seconds>(give_up_at_ - loop_->now()).count();
      log_->warning("unmounted, but " + unwritten + ". Trying for " + std::to_string(left_s) +
                    " s more; SIGTERM gives up after umount_wait.");
    }
  }

  Result<client::Unwritten> settle(Duration wait) {
    client::Unwritten unwritten;
    DFS_CHECK_OK(wait_for([&](const client::Done<Unit>& done) {
      settling_ =
          client_.settle(wait, [&unwritten, done](const Result<client::Unwritten>& settled) {
            unwritten = settled ? *settled : client::Unwritten{};
            done(settled ? ok() : Status(settled.error()));
          });
    }));
    return unwritten;
  }

  // Runs the loop until the call has answered.
  template <class Start>
  Status wait_for(Start start) {
    auto answer = std::make_shared<std::optional<Status>>();
    start([answer](Status status) { *answer = std::move(status); });
    if (!loop_->run_until([&] { return answer->has_value(); }, kAnswerLimit)) {
      return make_error(ErrorCode::kTimedOut, "the client core did not answer");
    }
    return std::move(**answer);
  }

  void bound_memory() {
    if (resident_bytes() > request_.memory_bytes) {
      malloc_trim(0);
    }
    memory_timer_.start(kMemoryCheckInterval, [this] { bound_memory(); });
  }

  Status mount(const std::function<void()>& ready) {
    bound_memory();
    DFS_TRY(const InodeId root, find_root());
    fuse::ServerOptions options{
        .root = root,
        .mount_options = request_.kernel_options,
        .umount_wait = request_.umount_wait,
        .own_options = describe_own_options(request_),
        .post_from_thread = [loop = loop_](Task task) { loop->post_from_thread(std::move(task)); },
        .abort_connection = [this] { guard_.abort_connection(); }};
    DFS_TRY(server_, fuse::FuseServer::create(client_, *loop_, *log_, std::move(options)));
    DFS_CHECK_OK(server_->mount(directory_));
    server_->on_ready(ready);
    DFS_CHECK_OK(loop_->watch_fd(server_->fd(), EPOLLIN, [this](std::uint32_t) {
      if (!server_->process()) {
        loop_->unwatch_fd(server_->fd());
        server_fd_watched_ = false;
        loop_->stop();
      }
    }));
    server_fd_watched_ = true;
    return watch_mount_table();
  }

  // The inode of SOURCE's subdirectory.
  Result<InodeId> find_root() {
    InodeId root = kRootInode;
    std::string rest = request_.source.subdirectory;
    std::string walked;
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find('/'), rest.size());
      const std::string name = rest.substr(0, end);
      rest.erase(0, std::min(end + 1, rest.size()));
      if (name.empty() || name == ".") {
        continue;
      }
      walked += "/" + name;
      Attributes found;
      const Status status = wait_for([&](client::Done<Unit> done) {
        client_.lookup(root, name, [&found, done](Result<Attributes> result) {
          if (!result) {
            done(std::move(result).error());
            return;
          }
          found = *result;
          done(Unit{});
        });
      });
      if (!status && status.code() != ErrorCode::kNotFound) {
        return make_error(status.code(),
                          "cannot look up " + walked + " in the filesystem: " +
                              (status.error().detail.empty() ? error_code_name(status.code())
                                                             : status.error().detail));
      }
      if (!status || !found.is_directory()) {
        return make_error(
            ErrorCode::kNotFound,
            "no directory /" + request_.source.subdirectory + " in the filesystem: " + walked +
                (!status              ? " does not exist"
                 : found.is_symlink() ? " is a symbolic link, name what it leads to instead"
                                      : " is not a directory"));
      }
      root = found.inode;
    }
    return root;
  }

  const MountRequest& request_;
  const std::string directory_;
  ConnectionGuard& guard_;
  real::EventLoop* loop_;
  std::unique_ptr<real::SpdLog> log_;
  real::SystemRandom random_;
  real::ZmqTransport transport_;
  SessionNote note_;
  Timer memory_timer_;
  Timer stop_timer_;
  client::Client client_;
  std::unique_ptr<fuse::FuseServer> server_;
  std::string device_;         // of our mount; empty: not known
  real::OwnedFd mount_table_;  // open while its changes are watched
  bool server_fd_watched_ = false;
  bool is_serving_ = false;
  bool is_stopping_ = false;  // told to
  MonoTime give_up_at_ = MonoTime::max();
  client::OperationId settling_;  // while lingering
  Status stopped_ = ok();         // how the flush before the unmount went
};

}  // namespace

Status run_client(const MountRequest& request, const std::string& directory,
                  const std::function<void()>& ready) {
  // What the kernel writes out to free memory must not wait for that memory.
  prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
  DFS_TRY(ConnectionGuard guard, ConnectionGuard::start());
  DFS_TRY(auto loop, real::EventLoop::create());
  ClientProcess* process = nullptr;
  real::Daemon::Handlers handlers{.stop =
                                      [&] {
                                        if (process != nullptr) {
                                          process->stop();
                                        }
                                      },
                                  .reopen_log =
                                      [&] {
                                        if (process != nullptr) {
                                          process->reopen_log();
                                        }
                                      }};
  DFS_TRY(auto daemon, real::Daemon::create(*loop, std::move(handlers)));
  DFS_TRY(auto log, real::SpdLog::create(request.log_level, log_destination(request)));
  ClientProcess client(request, directory, guard, *loop, std::move(log));
  process = &client;
  Status status = client.run([&] {
    raise_read_ahead(directory, kReadAheadKib);
    ready();
  });
  process = nullptr;
  return status;
}

}  // namespace dfs::mount
