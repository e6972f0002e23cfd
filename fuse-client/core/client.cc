#include "fuse-client/core/client.h"

#include "fuse-client/core/client_impl.h"

namespace dfs::client {
namespace {

CreateRequest create_request(CreateArguments arguments) {
  CreateRequest request;
  request.parent = arguments.parent;
  request.name = std::move(arguments.name);
  request.mode = arguments.mode;
  request.uid = arguments.uid;
  request.gid = arguments.gid;
  request.device = arguments.device;
  request.symlink_target = std::move(arguments.symlink_target);
  request.umask = arguments.umask;
  request.is_unnamed = arguments.is_unnamed;
  return request;
}

}  // namespace

Client::Client(World world, ClientOptions options, ClientEvents events)
    : impl_(std::make_unique<Impl>(world, std::move(options), std::move(events))) {}
Client::~Client() = default;

void Client::start(Done<Unit> done) { impl_->start(std::move(done)); }
void Client::stop(Done<Unit> done) { impl_->stop(std::move(done)); }
void Client::close(Done<Unit> done) { impl_->close(std::move(done)); }
void Client::interrupt(OperationId operation) { impl_->interrupt(operation); }

OperationId Client::lookup(InodeId parent, std::string name, Done<Attributes> done) {
  return impl_->lookup({parent, std::move(name)}, std::move(done));
}
OperationId Client::get_attributes(InodeId inode, Done<Attributes> done) {
  return impl_->get_attributes(inode, std::move(done));
}
OperationId Client::set_attributes(AttributeChange change, Done<Attributes> done) {
  return impl_->set_attributes(change, std::move(done));
}
OperationId Client::make(CreateArguments arguments, Done<Attributes> done) {
  return impl_->make(create_request(std::move(arguments)), std::move(done));
}
OperationId Client::create(CreateArguments arguments, OpenFlags flags, Done<OpenedFile> done) {
  return impl_->create(create_request(std::move(arguments)), flags, std::move(done));
}
OperationId Client::unlink(InodeId parent, std::string name, Done<Unit> done) {
  return impl_->unlink({parent, std::move(name)}, std::move(done));
}
OperationId Client::remove_directory(InodeId parent, std::string name, Done<Unit> done) {
  return impl_->remove_directory({parent, std::move(name)}, std::move(done));
}
OperationId Client::rename(RenameRequest request, Done<RenameReply> done) {
  return impl_->rename(std::move(request), std::move(done));
}
OperationId Client::link(InodeId inode, InodeId new_parent, std::string new_name,
                         Done<Attributes> done) {
  return impl_->link({inode, new_parent, std::move(new_name)}, std::move(done));
}
OperationId Client::read_link(InodeId inode, Done<std::string> done) {
  return impl_->read_link({inode}, std::move(done));
}
OperationId Client::read_directory(InodeId inode, std::uint64_t cookie, std::uint32_t entries_max,
                                   Done<ReadDirectoryReply> done) {
  return impl_->read_directory({inode, cookie, entries_max}, std::move(done));
}
OperationId Client::stat_filesystem(InodeId inode, Done<StatFilesystemReply> done) {
  return impl_->stat_filesystem({inode}, std::move(done));
}
bool Client::lacks_xattr(InodeId inode, const std::string& name) const {
  return impl_->lacks_xattr(inode, name);
}
OperationId Client::get_xattr(InodeId inode, std::string name, Done<std::string> done) {
  return impl_->get_xattr({inode, std::move(name)}, std::move(done));
}
OperationId Client::set_xattr(SetXattrRequest request, Done<Unit> done) {
  return impl_->set_xattr(std::move(request), std::move(done));
}
OperationId Client::list_xattrs(InodeId inode, Done<std::vector<std::string>> done) {
  return impl_->list_xattrs({inode}, std::move(done));
}
OperationId Client::remove_xattr(InodeId inode, std::string name, Done<Unit> done) {
  return impl_->remove_xattr({inode, std::move(name)}, std::move(done));
}

void Client::open_directory(InodeId inode) { impl_->open_directory(inode); }
void Client::release_directory(InodeId inode) { impl_->release_directory(inode); }
OperationId Client::open(InodeId inode, OpenFlags flags, Done<OpenedFile> done) {
  return impl_->open(inode, flags, std::move(done));
}
void Client::release(HandleId handle) { impl_->release(handle); }
OperationId Client::read(HandleId handle, std::uint64_t offset, std::uint32_t size_bytes,
                         Done<std::vector<Buffer>> done) {
  return impl_->read(handle, offset, size_bytes, std::move(done));
}
OperationId Client::write(HandleId handle, WritePlace place, WriteData data,
                          Done<std::uint64_t> done) {
  return impl_->write(handle, place, std::move(data), std::move(done));
}
OperationId Client::seek(HandleId handle, std::uint64_t offset, SeekKind kind,
                         Done<std::uint64_t> done) {
  return impl_->seek(handle, offset, kind, std::move(done));
}
OperationId Client::allocate(HandleId handle, AllocateRequest request, Done<Unit> done) {
  return impl_->allocate(handle, std::move(request), std::move(done));
}
OperationId Client::copy_range(HandleId source, std::uint64_t source_offset, HandleId destination,
                               std::uint64_t destination_offset, std::uint64_t length_bytes,
                               Done<std::uint64_t> done) {
  return impl_->copy_range(source, source_offset, destination, destination_offset, length_bytes,
                           std::move(done));
}
OperationId Client::set_lock(HandleId handle, const FileLock& lock, bool wait, Done<Unit> done) {
  return impl_->set_lock(handle, lock, wait, std::move(done));
}
OperationId Client::test_lock(HandleId handle, const FileLock& lock, Done<FileLock> done) {
  return impl_->test_lock(handle, lock, std::move(done));
}
bool Client::has_range_locks(HandleId handle, std::uint64_t owner) const {
  return impl_->has_range_locks(handle, owner);
}
OperationId Client::unlock_ranges(HandleId handle, std::uint64_t owner, Done<Unit> done) {
  return impl_->unlock_ranges(handle, owner, std::move(done));
}
OperationId Client::flush(HandleId handle, Done<Unit> done) {
  return impl_->flush(handle, std::move(done));
}
OperationId Client::sync(HandleId handle, Done<Unit> done) {
  return impl_->sync(handle, std::move(done));
}
OperationId Client::sync_directory(InodeId inode, Done<Unit> done) {
  return impl_->sync_directory(inode, std::move(done));
}
OperationId Client::sync_all(Done<Unit> done) { return impl_->sync_all(std::move(done)); }
OperationId Client::settle(Duration wait, const Done<Unwritten>& done) {
  return impl_->settle(wait, done);
}
std::optional<Attributes> Client::kept_attributes(InodeId inode) const {
  return impl_->kept_attributes(inode);
}
Duration Client::attributes_keep_for(InodeId inode) const {
  return impl_->attributes_keep_for(inode);
}
bool Client::is_open(InodeId inode) const { return impl_->is_open(inode); }
Duration Client::name_keeps_for(InodeId parent, const std::string& name, const Attributes& told) {
  return impl_->name_keeps_for(parent, name, told);
}
void Client::forget(InodeId inode) { impl_->forget(inode); }
void Client::set_update_atime(bool updates) { impl_->set_update_atime(updates); }
void Client::note_caller(OperationId operation, std::uint32_t pid) {
  impl_->note_caller(operation, pid);
}
std::vector<ClientWait> Client::waiting(std::size_t count_max, std::uint64_t& more) const {
  return impl_->waiting(count_max, more);
}
ClientUsage Client::usage() const { return impl_->usage(); }
std::uint64_t Client::waiting_bytes() const { return impl_->waiting_bytes(); }
bool Client::master_answers() const { return impl_->master_answers(); }
Unwritten Client::unwritten() const { return impl_->unwritten(); }

}  // namespace dfs::client
