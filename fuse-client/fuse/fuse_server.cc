#include "fuse-client/fuse/fuse_server.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "fuse-client/fuse/caller.h"
#include "fuse-client/fuse/captured_stderr.h"
#include "fuse-client/fuse/to_errno.h"
#include "proto/limits.h"

namespace dfs::fuse {
namespace {

// How soon it is noticed that a program which caught a signal ends all the same.
constexpr std::chrono::milliseconds kSignalCheckInterval{100};

constexpr int kRequestsPerTurn = 64;                     // then timers and answers get their turn
constexpr std::uint32_t kPreferredIoBytes = 128 * 1024;  // st_blksize: the size cp and cat use

// How often is looked whether what is to be dropped is in use, and for how long.
constexpr std::chrono::microseconds kUseDelay{500};
constexpr std::chrono::milliseconds kUseWait{10};

double seconds_of(Duration time) { return std::chrono::duration<double>(time).count(); }

void on_interrupt(fuse_req_t request, void* data) {
  static_cast<FuseServer*>(data)->interrupt(request);
}

ssize_t write_message(int fd, iovec* parts, int count, void* server) {
  return static_cast<FuseServer*>(server)->direct_io().send(fd, parts, count);
}
ssize_t read_message(int fd, void* buffer, std::size_t size, void*) {
  return read(fd, buffer, size);
}

// Of which the contents change.
std::vector<InodeId> files_of(const std::vector<LeaseChange>& changes) {
  std::vector<InodeId> files;
  for (const LeaseChange& change : changes) {
    if (change.contents) {
      files.push_back(change.inode);
    }
  }
  return files;
}

pid_t asking_thread(const char* request, std::size_t size_bytes) {
  fuse_in_header header{};
  std::memcpy(&header, request, std::min(sizeof header, size_bytes));
  return static_cast<pid_t>(header.pid);
}

// O_TMPFILE, which libfuse does not know: the same message and answer as for a file that is created
// and opened, with a name that none can have. It is handed on as that (see op_create).
void translate_tmpfile(char* request, std::size_t size_bytes) {
  constexpr std::size_t kNameAt = sizeof(fuse_in_header) + sizeof(fuse_create_in);
  fuse_in_header header{};
  if (size_bytes < kNameAt + sizeof kNoName) {
    return;
  }
  std::memcpy(&header, request, sizeof header);
  if (header.opcode == FUSE_TMPFILE &&
      std::memcmp(request + kNameAt, kNoName, sizeof kNoName) == 0) {
    header.opcode = FUSE_CREATE;
    std::memcpy(request, &header, sizeof header);
  }
}

}  // namespace

const fuse_lowlevel_ops& operations() {
  static const fuse_lowlevel_ops table = [] {
    fuse_lowlevel_ops ops{};
    ops.init = [](void* server, fuse_conn_info* connection) {
      static_cast<FuseServer*>(server)->negotiate(connection);
    };
    add_namespace_operations(ops);
    add_file_operations(ops);
    add_directory_operations(ops);
    add_xattr_operations(ops);
    add_lock_operations(ops);
    return ops;
  }();
  return table;
}

FuseServer& server_of(fuse_req_t request) {
  return *static_cast<FuseServer*>(fuse_req_userdata(request));
}

FuseServer::FuseServer(client::Client& client, Scheduler& scheduler, Log& log,
                       const ServerOptions& options)
    : client_(client),
      scheduler_(scheduler),
      log_(log),
      root_(options.root),
      umount_wait_(options.umount_wait),
      own_options_(options.own_options),
      post_from_thread_(options.post_from_thread),
      abort_connection_(options.abort_connection),
      sizes_(scheduler, [this](InodeId file, std::uint64_t size_bytes,
                               std::shared_ptr<SizeNotification> notification, Task done) {
        notifier_->lengthen(to_kernel(file), size_bytes, std::move(notification), std::move(done));
      }) {}

Result<std::unique_ptr<FuseServer>> FuseServer::create(client::Client& client, Scheduler& scheduler,
                                                       Log& log, ServerOptions options) {
  std::unique_ptr<FuseServer> server(new FuseServer(client, scheduler, log, options));
  std::vector<std::string> words = {"dfs"};
  for (const std::string& option : options.mount_options) {
    words.emplace_back("-o");
    words.push_back(option);
  }
  std::vector<char*> pointers;
  pointers.reserve(words.size());
  for (std::string& word : words) {
    pointers.push_back(word.data());
  }
  fuse_args arguments = FUSE_ARGS_INIT(static_cast<int>(pointers.size()), pointers.data());
  server->session_ =
      fuse_session_new(&arguments, &operations(), sizeof(fuse_lowlevel_ops), server.get());
  fuse_opt_free_args(&arguments);
  if (server->session_ == nullptr) {
    return make_error(ErrorCode::kInvalidArgument, "libfuse refused the mount options");
  }
  return server;
}

FuseServer::~FuseServer() {
  if (session_ != nullptr) {
    unmount();
    fuse_session_destroy(session_);
  }
}

Status FuseServer::mount(const std::string& directory) {
  DFS_ASSERT(!mounted_);
  CapturedStderr said;
  const int result = fuse_session_mount(session_, directory.c_str());
  const std::string why = said.text();
  const std::string what = "cannot mount at " + directory + (why.empty() ? "" : ": " + why);
  if (result != 0) {
    return make_error(ErrorCode::kIo, what);
  }
  mounted_ = true;
  return attach(fd());
}

Status FuseServer::attach(int connection_fd) {
  static const fuse_custom_io io = {.writev = write_message,
                                    .read = read_message,
                                    .splice_receive = nullptr,
                                    .splice_send = nullptr};
  if (fuse_session_custom_io(session_, &io, connection_fd) != 0) {
    return make_error(ErrorCode::kIo, "libfuse does not take the connection");
  }
  const int flags = fcntl(fd(), F_GETFL);
  if (flags < 0 || fcntl(fd(), F_SETFL, flags | O_NONBLOCK) != 0) {
    return make_error(ErrorCode::kIo, std::string("fcntl: ") + std::strerror(errno));
  }
  notifier_ = std::make_unique<KernelNotifier>(
      session_, post_from_thread_,
      mounted_ ? KernelNotifier::Listener::kKernel : KernelNotifier::Listener::kTest);
  dropper_ = std::make_unique<CacheDropper>(
      scheduler_, *notifier_,
      CacheDropper::Hooks{
          .to_kernel = [this](InodeId inode) { return to_kernel(inode); },
          .is_known = [this](InodeId inode) { return inode == root_ || lookup_count(inode) > 0; },
          .is_open = [this](InodeId inode) { return client_.is_open(inode); },
          .is_quiet = [this](InodeId inode) { return is_quiet(inode); },
          .was_just_answered =
              [this](InodeId inode) {
                return requests_.was_just_answered(inode, scheduler_.now());
              },
          .names = [this](InodeId inode) { return names_.names(inode); }});
  return ok();
}

void FuseServer::unmount() {
  // Its threads use the descriptor that is closed here. libfuse unmounts nothing whose connection
  // was aborted, so that comes last.
  if (notifier_) {
    notifier_->quiesce();
  }
  if (mounted_) {
    mounted_ = false;
    fuse_session_unmount(session_);
  }
  if (notifier_) {
    notifier_->stop(abort_connection_);
  }
}

int FuseServer::fd() const { return fuse_session_fd(session_); }

bool FuseServer::process() {
  for (int handled = 0; handled < kRequestsPerTurn; ++handled) {
    const int received = reader_.receive(session_, client_.waiting_bytes());
    if (received == -EAGAIN || received == -EINTR) {
      return true;
    }
    if (received <= 0) {
      return false;
    }
    fuse_buf buffer{};
    buffer.mem = reader_.memory();
    buffer.size = static_cast<std::size_t>(received);
    own_cuts_.asks(asking_thread(reader_.memory(), buffer.size));
    translate_tmpfile(reader_.memory(), buffer.size);
    direct_io_.note_request(reader_.memory(), buffer.size);
    fuse_session_process_buf(session_, &buffer);
    if (fuse_session_exited(session_) != 0) {
      return false;
    }
  }
  return true;
}

void FuseServer::negotiate(fuse_conn_info* connection) {
  connection->max_write = reader_.request_bytes_max();
  connection->max_background = 64;
  connection->congestion_threshold = 48;
  connection->time_gran = 1;
  // Pages are dropped when data_version says so, not whenever mtime moved (our own writes move it).
  // Without HANDLE_KILLPRIV the kernel clears set-uid itself, knowing the caller's capabilities.
  // What libfuse would splice itself would go through pipes for nothing (see request_reader.h).
  // The kernel checks ACLs that it asks us for; with them, it leaves the umask to us.
  connection->want &=
      ~static_cast<unsigned>(FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_HANDLE_KILLPRIV |
                             FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
  const auto wanted = static_cast<unsigned>(
      FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_ATOMIC_O_TRUNC |
      FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
      FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK | FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS);
  connection->want |= connection->capable & wanted;
  if (ready_) {
    scheduler_.post(ready_);
  }
}

void FuseServer::invalidate_contents(InodeId inode) {
  if (notifier_) {
    if (is_known(inode)) {
      sizes_.changes(inode);
    }
    notifier_->drop_contents(to_kernel(inode), 0, ~std::uint64_t{0}, nullptr);
  }
}

void FuseServer::drop_cached(const std::vector<LeaseChange>& changes,
                             std::function<void()> dropped) {
  if (dropper_) {
    note_changed(files_of(changes));
    drop_when_unused(changes, scheduler_.now() + kUseWait, std::move(dropped));
  } else {
    scheduler_.post(lifetime_.guard(std::move(dropped)));
  }
}

void FuseServer::others_go_on(const std::vector<InodeId>& files, std::function<void()> done) {
  sizes_.when_told(files, lifetime_.guard([this, files, done = std::move(done)] {
    note_changed(files);
    done();
  }));
}

void FuseServer::note_changed(const std::vector<InodeId>& files) {
  for (const InodeId file : files) {
    if (is_known(file)) {
      sizes_.changes(file);
    }
  }
}

bool FuseServer::is_in_use(const std::vector<LeaseChange>& changes) {
  return walks_.are_awaited(changes, scheduler_.now()) ||
         std::any_of(changes.begin(), changes.end(),
                     [this](const LeaseChange& change) { return !is_quiet(change.inode); });
}

bool FuseServer::is_quiet(InodeId inode) const {
  if (!requests_.is_quiet(inode, scheduler_.now())) {
    return false;
  }
  if (!requests_.is_asking_by_names()) {
    return true;
  }
  const std::vector<KernelName> names = names_.names(inode);
  return std::none_of(names.begin(), names.end(), [this](const KernelName& name) {
    return requests_.is_asked_by_name(name.directory, name.name);
  });
}

void FuseServer::drop_when_unused(const std::vector<LeaseChange>& changes, MonoTime limit,
                                  std::function<void()> dropped) {
  if (scheduler_.now() >= limit || !is_in_use(changes)) {
    dropper_->drop(changes, std::move(dropped));
    return;
  }
  scheduler_.run_after(kUseDelay,
                       lifetime_.guard([this, changes, limit, dropped = std::move(dropped)] {
                         drop_when_unused(changes, limit, dropped);
                       }));
}

std::uint64_t FuseServer::write_begins(InodeId file, std::uint64_t offset,
                                       std::uint64_t size_bytes) {
  return dropper_ ? dropper_->write_begins(file, offset, size_bytes) : 0;
}

void FuseServer::write_ends(InodeId file, std::uint64_t write, Task ended) {
  if (dropper_) {
    dropper_->write_ends(file, write, std::move(ended));
  } else {
    ended();
  }
}

void FuseServer::drop_range(InodeId file, std::uint64_t offset, std::uint64_t size_bytes,
                            Task dropped) {
  if (dropper_) {
    dropper_->drop_range(file, offset, size_bytes, std::move(dropped));
  } else {
    dropped();
  }
}

std::optional<InodeId> FuseServer::former_place(const Attributes& found,
                                                InodeId to_directory) const {
  if (!found.is_directory()) {
    return std::nullopt;
  }
  const std::vector<KernelName> names = names_.names(found.inode);  // it has one; the others had it
  const bool is_elsewhere = !names.empty() && names.back().directory != to_directory;
  return is_elsewhere ? std::optional(names.back().directory) : std::nullopt;
}

void FuseServer::release(client::HandleId handle) {
  direct_files_.forget(handle);
  client_.release(handle);
}

void FuseServer::note_asked_for(InodeId inode) {
  if (dropper_) {
    dropper_->note_asked_for(inode);
  }
}

std::optional<Attributes> FuseServer::found_attributes(fuse_req_t request, InodeId inode) {
  return walks_.found_attributes(fuse_req_ctx(request)->pid, inode, scheduler_.now());
}

bool FuseServer::must_walk_again(fuse_req_t request, InodeId inode, Use use) {
  const bool is_suspect =
      inode != root_ && dropper_ && dropper_->is_suspect(inode) && !client_.is_open(inode);
  return walks_.must_walk_again(fuse_req_ctx(request)->pid, inode, use, is_suspect,
                                scheduler_.now());
}

void FuseServer::renamed(const RenameRequest& rename, const RenameReply& reply) {
  const KernelName from{.directory = rename.parent, .name = rename.name};
  const KernelName to{.directory = rename.new_parent, .name = rename.new_name};
  const bool is_exchange = rename.mode == static_cast<std::uint8_t>(RenameMode::kExchange);
  names_.renamed(reply.moved, from, to);
  for (const Attributes& changed : reply.changed) {
    const InodeId inode = changed.inode;
    if (is_exchange && inode != reply.moved && inode != from.directory && inode != to.directory) {
      names_.renamed(inode, to, from);
    }
  }
  if (dropper_) {
    dropper_->renamed(from, to);
    if (is_exchange) {
      dropper_->renamed(to, from);
    }
  }
}

Duration FuseServer::attributes_keep_for(InodeId inode) const {
  return dropper_ && !dropper_->may_keep_attributes(inode) ? Duration::zero()
                                                           : client_.attributes_keep_for(inode);
}

InodeId FuseServer::from_kernel(fuse_ino_t inode) const {
  return inode == FUSE_ROOT_ID ? root_ : InodeId{inode};
}

fuse_ino_t FuseServer::to_kernel(InodeId inode) const {
  return inode == root_ ? FUSE_ROOT_ID : inode.value;
}

void FuseServer::started(fuse_req_t request, client::OperationId operation, WokenBy woken_by) {
  if (!operation.is_set()) {
    return;
  }
  waiting_[request] = {operation, woken_by};
  client_.note_caller(operation, static_cast<std::uint32_t>(fuse_req_ctx(request)->pid));
  fuse_req_interrupt_func(request, on_interrupt, this);
}

void FuseServer::ended(fuse_req_t request) {
  waiting_.erase(request);
  locks_.ends(request);
}

void FuseServer::interrupt(fuse_req_t request) {
  const auto found = waiting_.find(request);
  if (found != waiting_.end()) {
    interrupt_when_due(request, found->second.operation, scheduler_.now() + kCaughtSignalPatience);
  }
}

// The kernel tells of any signal, caught ones too, and only once.
void FuseServer::interrupt_when_due(fuse_req_t request, client::OperationId operation,
                                    MonoTime limit) {
  const auto found = waiting_.find(request);
  if (found == waiting_.end() || found->second.operation != operation) {
    return;  // answered meanwhile
  }
  if (found->second.woken_by == WokenBy::kAnySignal || scheduler_.now() >= limit ||
      is_ending(fuse_req_ctx(request)->pid)) {
    client_.interrupt(operation);
    return;
  }
  scheduler_.run_after(kSignalCheckInterval, lifetime_.guard([this, request, operation, limit] {
    interrupt_when_due(request, operation, limit);
  }));
}

client::Done<Attributes> FuseServer::answer_attributes(fuse_req_t request) {
  return answer<Attributes>(request, [this, request](const Attributes& attributes) {
    if (attributes.inode == root_) {
      root_attributes_ = attributes;
    }
    const Attributes now = client_.kept_attributes(attributes.inode).value_or(attributes);
    const struct stat st = to_stat(now, to_kernel(attributes.inode));
    reader_.before_size(attributes.inode, now.size_bytes);
    note_answer(attributes.inode);
    fuse_reply_attr(request, &st, seconds_of(attributes_keep_for(attributes.inode)));
  });
}

void FuseServer::answer_root_attributes(fuse_req_t request) {
  enum class State { kAsked, kGivenUp, kAnswered };
  auto state = std::make_shared<State>(State::kAsked);
  const client::OperationId operation =
      client_.get_attributes(root_, [this, request, state](Result<Attributes> result) {
        const bool was_given_up = std::exchange(*state, State::kAnswered) == State::kGivenUp;
        if (!result && was_given_up) {
          result = *root_attributes_;
        }
        answer_attributes(request)(std::move(result));
      });
  started(request, operation);
  if (!root_attributes_) {
    return;
  }
  const Duration wait = client_.master_answers() ? Duration(kRootStatWait) : Duration::zero();
  scheduler_.run_after(wait, lifetime_.guard([this, operation, state] {
    if (*state == State::kAsked) {
      *state = State::kGivenUp;
      client_.interrupt(operation);
    }
  }));
}

client::Done<Attributes> FuseServer::answer_entry(fuse_req_t request, InodeId parent,
                                                  std::string name) {
  walks_.asks_for_name(fuse_req_ctx(request)->pid);
  requests_.begin_name(parent, name);
  auto done = answer<Attributes>(request, [this, request, parent, name](const Attributes& found) {
    reply_entry(request, parent, name, found);
  });
  return [this, parent, name = std::move(name), done](Result<Attributes> result) {
    done(std::move(result));
    requests_.end_name(parent, name);
  };
}

void FuseServer::call_ends(fuse_req_t request) { walks_.call_ends(fuse_req_ctx(request)->pid); }

bool FuseServer::begins_after_second_walk(fuse_req_t request) {
  return walks_.begins_after_second(fuse_req_ctx(request)->pid, scheduler_.now());
}

void FuseServer::reply_error(fuse_req_t request, const Error& error, bool walked_twice) {
  if (error.code != ErrorCode::kStale) {
    fuse_reply_err(request, to_errno(error.code));
  } else if (walked_twice) {
    // Each name of the path was asked for, and what they led to has gone since: so has the name.
    fuse_reply_err(request, ENOENT);
  } else {
    walks_.walk_again(fuse_req_ctx(request)->pid, scheduler_.now());
    fuse_reply_err(request, ESTALE);
  }
}

fuse_entry_param FuseServer::entry(InodeId parent, const std::string& name,
                                   const Attributes& attributes) {
  const InodeId inode = attributes.inode;
  fuse_entry_param entry{};
  entry.ino = to_kernel(inode);
  const Attributes now = client_.kept_attributes(inode).value_or(attributes);
  reader_.before_size(inode, now.size_bytes);
  entry.attr = to_stat(now, entry.ino);
  entry.attr_timeout = seconds_of(attributes_keep_for(inode));
  // Whether it may, the directory's contention says; for how long, what is known of the inode: who
  // changes that then has the kernel told, by this name.
  const bool may_keep =
      !dropper_ || (dropper_->may_keep_name(parent, name) && dropper_->may_keep_attributes(inode));
  const Duration time = may_keep ? client_.name_keeps_for(parent, name, now) : Duration::zero();
  const bool is_known =
      names_.give(inode, {.directory = parent, .name = name, .has_time = time > Duration::zero()});
  entry.entry_timeout = is_known ? seconds_of(time) : 0;
  return entry;
}

void FuseServer::reply_entry(fuse_req_t request, InodeId parent, const std::string& name,
                             const Attributes& attributes) {
  const fuse_entry_param param = entry(parent, name, attributes);
  if (attributes.is_regular() && is_contended(parent)) {
    note_asked_for(attributes.inode);  // where others change names they use it, too
  }
  count_lookup(attributes.inode);
  walks_.found(fuse_req_ctx(request)->pid, attributes, param.attr_timeout == 0, scheduler_.now());
  note_answer(attributes.inode);  // it looks at them now, or asks for them
  if (fuse_reply_entry(request, &param) != 0) {
    forget(attributes.inode, 1);  // it did not arrive: the kernel will not forget it
  }
}

void FuseServer::forget(InodeId inode, std::uint64_t count) {
  if (names_.forget(inode, count)) {
    sizes_.forget(inode);
    client_.forget(inode);
  }
}

std::uint64_t FuseServer::open_directory(fuse_req_t request, InodeId inode) {
  walks_.opened_directory(fuse_req_ctx(request)->pid, inode, scheduler_.now());
  const std::uint64_t id = next_directory_++;
  directories_[id].inode = inode;
  client_.open_directory(inode);
  return id;
}

void FuseServer::close_directory(std::uint64_t id) {
  const auto found = directories_.find(id);
  if (found != directories_.end()) {
    client_.release_directory(found->second.inode);
    directories_.erase(found);
  }
}

OpenDirectory* FuseServer::directory(std::uint64_t id) {
  const auto found = directories_.find(id);
  return found == directories_.end() ? nullptr : &found->second;
}

struct stat to_stat(const Attributes& attributes, fuse_ino_t inode) {
  const auto time = [](const Timestamp& t) {
    return timespec{.tv_sec = t.seconds, .tv_nsec = static_cast<long>(t.nanoseconds)};
  };
  struct stat st {};
  st.st_ino = inode;
  st.st_mode = attributes.mode;
  st.st_nlink = attributes.link_count;
  st.st_uid = attributes.uid;
  st.st_gid = attributes.gid;
  st.st_rdev = attributes.device;
  st.st_size = static_cast<off_t>(attributes.size_bytes);
  st.st_blksize = kPreferredIoBytes;
  st.st_blocks = static_cast<blkcnt_t>((attributes.used_bytes + 511) / 512);
  st.st_atim = time(attributes.atime);
  st.st_mtim = time(attributes.mtime);
  st.st_ctim = time(attributes.ctime);
  return st;
}

}  // namespace dfs::fuse
