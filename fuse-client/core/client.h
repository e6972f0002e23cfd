// The client: a dfs filesystem as asynchronous calls, knowing nothing of FUSE.
//
// Everything runs on the World's scheduler thread. Each call answers exactly once through its
// callback, never inside the call itself, unless the Client is destroyed first. Calls wait as long
// as the cluster makes them wait (a master that restarts, no server for new data); a waiting call
// can be interrupted.
//
// What the caller sees is its own writes at once; other clients' changes of names and attributes
// when they are answered, and what they wrote when it is flushed. What is buffered, cached and in
// flight stays under Options::memory_bytes.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/world.h"
#include "fuse-client/core/client_events.h"
#include "fuse-client/core/unwritten.h"
#include "fuse-client/core/write_data.h"
#include "proto/attributes.h"
#include "proto/data_messages.h"
#include "proto/lease_messages.h"
#include "proto/lock_ranges.h"
#include "proto/namespace_messages.h"
#include "proto/wait_messages.h"
#include "proto/xattr_messages.h"

namespace dfs::client {

// A call that may be interrupted. 0: it will answer without waiting.
using OperationId = StrongId<struct OperationTag, std::uint64_t>;
// An open file.
using HandleId = StrongId<struct HandleTag, std::uint64_t>;

template <class T>
using Done = std::function<void(Result<T>)>;

inline constexpr std::chrono::seconds kSettleSyncWait{3};
inline constexpr std::chrono::seconds kCloseLimit{5};

struct ClientOptions {
  Address master;
  std::string name;  // host and mount point, for people
  std::uint64_t memory_bytes = 256u << 20;
  Duration connect_wait = std::chrono::seconds(10);     // start() gives up after this
  Duration write_wait = std::chrono::seconds(60);       // for servers to write to, then EIO
  Duration flush_age = std::chrono::milliseconds(900);  // oldest unsynced write
  bool read_only = false;
  // Nonces of earlier sessions (ClientEvents::has_session) of processes that are surely dead.
  std::vector<std::uint64_t> dead_sessions = {};
  bool update_atime = true;  // by reads, as relatime does; not when read_only
};

// Where bytes go, and where they come from.
struct WritePlace {
  std::optional<std::uint64_t> offset;  // none: behind the end of the file
  bool is_written_back = false;         // by the kernel, from a page it has mapped
};

struct OpenFlags {
  bool write = false;
  bool truncate = false;
  bool clear_set_id = false;  // when truncating
  bool no_atime = false;      // O_NOATIME
};

struct OpenedFile {
  HandleId handle;
  Attributes attributes;
  bool keep_cache = false;  // the caller's cached pages of this inode are still true
};

struct CreateArguments {
  InodeId parent;
  std::string name;
  std::uint32_t mode = 0;  // type and permissions
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t device = 0;
  std::string symlink_target;
  std::uint32_t umask = 0;  // counts unless the directory has a default ACL
  bool is_unnamed = false;  // O_TMPFILE: `name` does not count
};

// A lock of fcntl(2) or flock(2), held or wanted.
struct FileLock {
  LockKind kind = LockKind::kRange;
  LockMode mode = LockMode::kNone;
  LockSpan span = {};       // kFlock: all
  std::uint64_t owner = 0;  // a process or an open file, as the kernel numbers them
  std::uint32_t pid = 0;    // 0: a process of another client, or not known
};

// As SetAttributesRequest: what is set is changed.
using AttributeChange = SetAttributesRequest;

// Everything the client holds, for logs and limits.
struct ClientUsage {
  std::uint64_t dirty_bytes = 0;
  std::uint64_t cached_bytes = 0;
  std::uint64_t in_flight_bytes = 0;
  std::uint64_t waiting_bytes = 0;  // of writes that wait
};

class Client {
 public:
  Client(World world, ClientOptions options, ClientEvents events);
  ~Client();  // loses what was not flushed; call settle() and close(), or stop(), first
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Opens the session. Fails with kUnavailable (nobody answers within connect_wait),
  // kVersionMismatch, kInvalidArgument (address).
  void start(Done<Unit> done);
  // Flushes everything durably, however long that takes, and closes the session. Its error is the
  // first that lost a write; the session is closed all the same.
  void stop(Done<Unit> done);
  // Closes the session within kCloseLimit, whoever answers. What is not flushed is lost; the
  // other calls still waiting never answer.
  void close(Done<Unit> done);

  // The call answers kInterrupted soon if its wait can be given up. No effect on others.
  void interrupt(OperationId operation);

  // Namespace. Errors as the messages of the same name (proto/namespace_messages.h).
  OperationId lookup(InodeId parent, std::string name, Done<Attributes> done);
  OperationId get_attributes(InodeId inode, Done<Attributes> done);
  OperationId set_attributes(AttributeChange change, Done<Attributes> done);
  // Makes an inode that is not a regular file being opened: mkdir, mknod, symlink.
  OperationId make(CreateArguments arguments, Done<Attributes> done);
  // open(O_CREAT | O_EXCL): a name that is there is kExists. A new file is never truncated.
  OperationId create(CreateArguments arguments, OpenFlags flags, Done<OpenedFile> done);
  OperationId unlink(InodeId parent, std::string name, Done<Unit> done);
  OperationId remove_directory(InodeId parent, std::string name, Done<Unit> done);
  OperationId rename(RenameRequest request, Done<RenameReply> done);
  OperationId link(InodeId inode, InodeId new_parent, std::string new_name, Done<Attributes> done);
  OperationId read_link(InodeId inode, Done<std::string> done);
  // As ReadDirectoryRequest; attributes are as lookup would give them.
  OperationId read_directory(InodeId inode, std::uint64_t cookie, std::uint32_t entries_max,
                             Done<ReadDirectoryReply> done);
  OperationId stat_filesystem(InodeId inode, Done<StatFilesystemReply> done);
  // Whether an extended attribute is known not to be there; asks nobody.
  bool lacks_xattr(InodeId inode, const std::string& name) const;
  OperationId get_xattr(InodeId inode, std::string name, Done<std::string> done);
  OperationId set_xattr(SetXattrRequest request, Done<Unit> done);
  OperationId list_xattrs(InodeId inode, Done<std::vector<std::string>> done);
  OperationId remove_xattr(InodeId inode, std::string name, Done<Unit> done);

  // A directory is being opened; every opening is released once. One that is removed meanwhile is
  // there until then, for every client, without names and links. Of one that is merely known above
  // (ClientEvents::is_known) get_attributes says so, too, as long as its attributes are known.
  void open_directory(InodeId inode);
  void release_directory(InodeId inode);

  // Files. Every open is released once.
  OperationId open(InodeId inode, OpenFlags flags, Done<OpenedFile> done);
  void release(HandleId handle);
  // At most size_bytes from offset; shorter only at the end of the file. The buffers, one after the
  // other, are the bytes. Fails with kIo when no replica has good bytes.
  OperationId read(HandleId handle, std::uint64_t offset, std::uint32_t size_bytes,
                   Done<std::vector<Buffer>> done);
  // Buffered when answered, and every client reads it. Answers where it went. Fails with kNoSpace,
  // kNotEnoughServers (waited write_wait), kFileTooBig, kStale.
  OperationId write(HandleId handle, WritePlace place, WriteData data, Done<std::uint64_t> done);
  // lseek(2) with SEEK_DATA and SEEK_HOLE. Fails as SeekRequest.
  OperationId seek(HandleId handle, std::uint64_t offset, SeekKind kind, Done<std::uint64_t> done);
  // fallocate(2); `request` names no inode, and its range may be of any length. Fails as
  // AllocateRequest, when a part of a long range may be removed, and with kNoSpace.
  OperationId allocate(HandleId handle, AllocateRequest request, Done<Unit> done);
  // copy_file_range(2): shares what is stored; answers how much, at most kRangeBytesMax at a time.
  // Fails as CloneRangeRequest, with kNotSupported when the bytes must be copied.
  OperationId copy_range(HandleId source, std::uint64_t source_offset, HandleId destination,
                         std::uint64_t destination_offset, std::uint64_t length_bytes,
                         Done<std::uint64_t> done);
  // Locks, also on files opened for reading and on read-only mounts. What is locked through a
  // handle and not given up ends with release().
  // Takes, changes or gives up a lock. Fails with kLockConflict (without `wait`), kDeadlock,
  // kTooManyLocks, kInvalidArgument, kInterrupted (nothing was taken), kIo (a lock of this owner
  // was lost with the session; told once).
  OperationId set_lock(HandleId handle, const FileLock& lock, bool wait, Done<Unit> done);
  // A lock of a range that forbids this one to its owner; mode kNone if there is none.
  OperationId test_lock(HandleId handle, const FileLock& lock, Done<FileLock> done);
  // Whether the process that closes the file has locks of ranges in it, and to give them all up.
  // Fails with kIo as set_lock.
  bool has_range_locks(HandleId handle, std::uint64_t owner) const;
  OperationId unlock_ranges(HandleId handle, std::uint64_t owner, Done<Unit> done);
  // close(2): answers at once with kIo if a write through this inode was lost and this handle did
  // not say so yet.
  OperationId flush(HandleId handle, Done<Unit> done);
  // fsync(2): contents and attributes of the file are on stable storage. Errors as flush.
  OperationId sync(HandleId handle, Done<Unit> done);
  // fsync(2) of a directory: every change answered before it is on stable storage.
  OperationId sync_directory(InodeId inode, Done<Unit> done);
  // Everything of this client; fails with the first write that was lost.
  OperationId sync_all(Done<Unit> done);
  // For unmounting: flushes everything for at most `wait`, and answers with what is not on the
  // servers by then; that goes on being flushed. When all of it is, a master that answers has
  // kSettleSyncWait more to say that names are on its stable storage: they are the master's, not
  // this client's to lose. Fails with the first write that was lost.
  OperationId settle(Duration wait, const Done<Unwritten>& done);

  // Caches above. What is known for sure now, and how long it may be cached, if not for
  // drop_cached; zero: not at all. A name, with what is told of the inode.
  std::optional<Attributes> kept_attributes(InodeId inode) const;
  Duration attributes_keep_for(InodeId inode) const;
  bool is_open(InodeId inode) const;  // or being opened
  Duration name_keeps_for(InodeId parent, const std::string& name, const Attributes& told);
  // The kernel has forgotten the inode: nothing refers to it but open handles.
  void forget(InodeId inode);
  // As ClientOptions::update_atime, from now on.
  void set_update_atime(bool updates);

  // Whose call it is, for waiting(): a process.
  void note_caller(OperationId operation, std::uint32_t pid);
  // The calls that have waited for kWaitNoted, the oldest first, at most so many of them, and files
  // that cannot be stored; `more` is how many more there are. Asks nobody.
  std::vector<ClientWait> waiting(std::size_t count_max, std::uint64_t& more) const;
  ClientUsage usage() const;
  std::uint64_t waiting_bytes() const;  // of it
  Unwritten unwritten() const;
  // False once it was silent for 2 s.
  bool master_answers() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dfs::client
