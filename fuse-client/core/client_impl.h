// The insides of Client: one object over the session link, the caches, the reader and the
// write-back. Its methods are in client_session.cc (start, stop, operations), client_namespace.cc
// (names, attributes), client_{files,ranges,locks}.cc, and client_waits.cc (what waits).
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "fuse-client/core/block_cache.h"
#include "fuse-client/core/block_fetcher.h"
#include "fuse-client/core/client.h"
#include "fuse-client/core/inode_cache.h"
#include "fuse-client/core/lease_settler.h"
#include "fuse-client/core/lifetime.h"
#include "fuse-client/core/lock_client.h"
#include "fuse-client/core/master_link.h"
#include "fuse-client/core/memory_budget.h"
#include "fuse-client/core/name_cache.h"
#include "fuse-client/core/obstacle.h"
#include "fuse-client/core/open_files.h"
#include "fuse-client/core/operation.h"
#include "fuse-client/core/own_changes.h"
#include "fuse-client/core/reader.h"
#include "fuse-client/core/write_back.h"
#include "fuse-client/core/write_leases.h"
#include "proto/chunk_links.h"

namespace dfs::client {

class Client::Impl {
 public:
  Impl(World world, ClientOptions options, ClientEvents events);

  // As Client's methods of the same names.
  void start(Done<Unit> done);
  void stop(Done<Unit> done);
  void close(Done<Unit> done);
  void interrupt(OperationId operation);
  OperationId lookup(LookupRequest request, Done<Attributes> done);
  OperationId get_attributes(InodeId inode, Done<Attributes> done);
  OperationId set_attributes(AttributeChange change, Done<Attributes> done);
  OperationId make(CreateRequest request, Done<Attributes> done);
  OperationId create(CreateRequest request, OpenFlags flags, Done<OpenedFile> done);
  OperationId unlink(UnlinkRequest request, Done<Unit> done);
  OperationId remove_directory(RemoveDirectoryRequest request, Done<Unit> done);
  OperationId rename(RenameRequest request, Done<RenameReply> done);
  OperationId link(LinkRequest request, Done<Attributes> done);
  OperationId read_link(ReadLinkRequest request, Done<std::string> done);
  OperationId read_directory(ReadDirectoryRequest request, Done<ReadDirectoryReply> done);
  OperationId stat_filesystem(StatFilesystemRequest request, Done<StatFilesystemReply> done);
  bool lacks_xattr(InodeId inode, const std::string& name) const;
  OperationId get_xattr(GetXattrRequest request, Done<std::string> done);
  OperationId set_xattr(SetXattrRequest request, Done<Unit> done);
  OperationId list_xattrs(ListXattrsRequest request, Done<std::vector<std::string>> done);
  OperationId remove_xattr(RemoveXattrRequest request, Done<Unit> done);
  void open_directory(InodeId inode);
  void release_directory(InodeId inode);
  OperationId open(InodeId inode, OpenFlags flags, Done<OpenedFile> done);
  void release(HandleId handle);
  OperationId read(HandleId handle, std::uint64_t offset, std::uint32_t size_bytes,
                   Done<std::vector<Buffer>> done);
  OperationId write(HandleId handle, WritePlace place, WriteData data, Done<std::uint64_t> done);
  OperationId seek(HandleId handle, std::uint64_t offset, SeekKind kind, Done<std::uint64_t> done);
  OperationId allocate(HandleId handle, AllocateRequest request, Done<Unit> done);
  OperationId copy_range(HandleId source, std::uint64_t source_offset, HandleId destination,
                         std::uint64_t destination_offset, std::uint64_t length_bytes,
                         Done<std::uint64_t> done);
  OperationId set_lock(HandleId handle, const FileLock& lock, bool wait, Done<Unit> done);
  OperationId test_lock(HandleId handle, const FileLock& lock, Done<FileLock> done);
  bool has_range_locks(HandleId handle, std::uint64_t owner) const;
  OperationId unlock_ranges(HandleId handle, std::uint64_t owner, Done<Unit> done);
  OperationId flush(HandleId handle, Done<Unit> done);
  OperationId sync(HandleId handle, Done<Unit> done);
  OperationId sync_directory(InodeId inode, Done<Unit> done);
  OperationId sync_all(Done<Unit> done);
  OperationId settle(Duration wait, const Done<Unwritten>& done);
  void forget(InodeId inode);
  std::optional<Attributes> kept_attributes(InodeId inode) const;
  Duration attributes_keep_for(InodeId inode) const;
  bool is_open(InodeId inode) const { return open_inodes_.contains(inode); }
  Duration name_keeps_for(InodeId parent, const std::string& name, const Attributes& told);
  void set_update_atime(bool updates) { options_.update_atime = updates; }
  void note_caller(OperationId operation, std::uint32_t pid);
  std::vector<ClientWait> waiting(std::size_t count_max, std::uint64_t& more) const;
  ClientUsage usage() const;
  std::uint64_t waiting_bytes() const { return memory_.used(MemoryBudget::Use::kWaiting); }
  Unwritten unwritten() const;
  bool master_answers() const { return master_.is_up(); }

 private:
  // --- Operations: what can be interrupted, and how. Their callbacks go through tracked() --------
  OperationId begin(const char* name, InodeId inode);
  void set_step(OperationId id, Step step, std::uint64_t number, std::function<void()> interrupt);
  bool does_anything_wait() const;
  Obstacle obstacle(const Operation& operation) const;
  ClientWait describe(const Obstacle& obstacle) const;
  void look_at_waits();
  void tell_waits(KeepAliveRequest& request);
  template <class T>
  Done<T> tracked(OperationId id, Done<T> done) {
    return [this, id, done = std::move(done)](Result<T> result) {
      operations_.erase(id);
      done(std::move(result));
    };
  }
  template <class T>
  OperationId answer_later(Done<T> done, Result<T> result) {
    world_.scheduler.post(
        lifetime_.guard([done = std::move(done), result = std::move(result)]() mutable {
          done(std::move(result));
        }));
    return OperationId{};
  }
  // Calls the master as a step of operation `id`. `done` is given the reply and when it was asked.
  template <class Request, class Handler>
  void ask(OperationId id, const Request& request, Handler done,
           bool after_pins = kCanFreeInode<Request>) {
    const MonoTime sent_at = world_.scheduler.now();
    ConcernedByChange concerned;
    if constexpr (kIsKept<Request>) {
      concerned = concerned_by(lease_changes_of(request), kChangesNamed<Request>);
      concerned.changes_links = kChangesLinks<Request>;
      own_changes_.begin(concerned);
    }
    auto answered = [this, done = std::move(done), sent_at,
                     concerned = std::move(concerned)](Result<typename Request::Reply> reply) {
      own_changes_.end(concerned);
      done(std::move(reply), sent_at);
    };
    const CallId call = master_.call(request, std::move(answered), after_pins);
    set_step(id, Step::kAsks, call.value, [this, call] { master_.interrupt(call); });
  }
  template <class Request, class T>
  OperationId ask_for(const char* name, const Request& request, T Request::Reply::*field,
                      Done<T> done) {
    const OperationId id = begin(name, request.inode);
    ask(id, request, [done = tracked(id, std::move(done)), field](auto reply, MonoTime) {
      done(reply ? Result<T>(std::move((*reply).*field)) : Result<T>(std::move(reply).error()));
    });
    return id;
  }
  ConcernedByChange concerned_by(const std::vector<LeaseChange>& changes, bool changes_named);
  bool may_answer(InodeId inode) const;  // from what is kept
  bool refuses_changes() const { return options_.read_only; }

  // --- Attributes --------------------------------------------------------------------------------
  Attributes merged(Attributes attributes) const;  // with what is dirty on top
  // The best known now of an inode the master just answered about.
  Attributes current(const Attributes& answered) const;
  void fetch_attributes(OperationId id, InodeId inode, Done<Attributes> done,
                        bool after_pins = false);
  void fetch_decided(OperationId id, InodeId inode, const Done<Attributes>& done, bool after_pins);
  // Whether the answer must wait for a cut of the file; then it is asked for again.
  bool waits_for_cut(OperationId id, InodeId inode, const Done<Attributes>& done,
                     std::function<void()> ask_again);
  void lookup_step(OperationId id, const LookupRequest& request, Done<Attributes> done);
  void change_attributes(OperationId id, const AttributeChange& change, Done<Attributes> done);
  // A change that commits under way would undo, or that cuts what is buffered.
  void change_when_settled(OperationId id, const AttributeChange& change, Done<Attributes> done);
  void answer_changed(OperationId id, const Attributes& answered, const Done<Attributes>& done);
  void learn_directory(InodeId directory, const std::optional<Attributes>& now, const Told& told);
  // An own change of names was answered, or failed in a way that leaves it in doubt.
  void learn_name(InodeId directory, const std::string& name, const EntryReply& reply,
                  MonoTime sent_at);
  void learn_own_name(InodeId directory, const std::string& name, InodeId inode, const Told& told);
  void learn_renamed(const RenameRequest& request, const RenameReply& reply, const Told& told);
  void doubt_names(InodeId directory, ErrorCode code);
  Error error_in(InodeId directory, Error error) const;
  void name_removed(InodeId inode, std::uint32_t link_count, bool is_open_elsewhere);
  OperationId change_xattrs(InodeId inode, Done<Unit> done, auto request);

  // --- Open files --------------------------------------------------------------------------------
  void hold(InodeId inode);
  void unhold(InodeId inode);
  void finish_open(OperationId id, const Attributes& attributes, OpenFlags flags,
                   Done<OpenedFile> done);
  OpenedFile add_handle(const Attributes& attributes, OpenFlags flags);
  void refresh_for_open(OperationId id, InodeId inode, OpenFlags flags, Done<Attributes> done);
  void note_access(Handle& file);  // a read: the first moves an old atime (client_atime.cc)
  // kIo once for each handle when writes of its inode were lost since it last said so.
  Status take_lost_writes(HandleId handle);
  // kIo once when an answered change of the inode is gone for good; or of any.
  Status take_lost_change(InodeId inode);
  Status take_lost_changes();
  void sync_metadata(OperationId id, Done<Unit> done);
  // Lets a flush be interrupted: it goes on, its caller is answered.
  template <class T>
  Done<T> abandonable(OperationId id, Done<T> done) {
    auto waiting = std::make_shared<Done<T>>(tracked(id, std::move(done)));
    auto answer = [waiting](Result<T> result) {
      if (auto once = std::exchange(*waiting, nullptr)) {
        once(std::move(result));
      }
    };
    set_step(id, Step::kStores, 0, [this, answer] {
      world_.scheduler.post(
          lifetime_.guard([answer] { answer(make_error(ErrorCode::kInterrupted)); }));
    });
    return answer;
  }

  // --- Ranges ------------------------------------------------------------------------------------
  void when_committed(InodeId inode, Done<Unit> done);
  void seek_step(OperationId id, SeekRequest request, Done<std::uint64_t> done);
  void ask_for_space(OperationId id, InodeId inode, std::uint64_t wanted_bytes,
                     Done<StatFilesystemReply> done);
  void allocate_if_room(OperationId id, const AllocateRequest& request, Done<Unit> done);
  void allocate_step(OperationId id, AllocateRequest rest, Done<Unit> done);
  void clone_range(OperationId id, const CloneRangeRequest& request, Done<std::uint64_t> done);

  // --- Session -----------------------------------------------------------------------------------
  bool begin_last_commit(InodeId inode);
  WriteBackEvents write_back_events();
  void close_session(Done<Unit> done);

  World world_;
  ClientOptions options_;
  ClientEvents events_;
  Lifetime lifetime_;
  MemoryBudget memory_;
  MasterLink master_;
  OwnChanges own_changes_;
  LockClient locks_;
  ChunkLinks chunkservers_;
  InodeCache inodes_;
  NameCache names_;
  BlockCache cached_blocks_;
  BlockFetcher blocks_;
  WriteLeases write_leases_;
  WriteBack write_back_;
  LeaseSettler lease_settler_;
  Reader reader_;

  std::map<HandleId, Handle> handles_;
  std::map<InodeId, OpenInode> open_inodes_;
  std::map<InodeId, Timestamp> accesses_;        // noted, not yet answered by the master
  std::set<InodeId> lost_changes_;               // not told to anybody yet
  std::map<OperationId, Operation> operations_;  // not answered yet
  std::uint64_t next_handle_ = 1;
  std::uint64_t next_operation_ = 1;
  Timer waits_timer_;
  bool told_waits_ = false;  // the master believes that something waits
};

}  // namespace dfs::client
