// Ranges of open files: seeking data and holes, fallocate(2), copy_file_range(2). What is buffered
// is committed first; the master then knows everything that was written before the call.
#include <algorithm>

#include "fuse-client/core/client_impl.h"
#include "proto/limits.h"

namespace dfs::client {

void Client::Impl::when_committed(InodeId inode, Done<Unit> done) {
  if (write_back_.dirty_attributes(inode)) {
    write_back_.flush(inode, false, std::move(done));
  } else {
    done(ok());
  }
}

OperationId Client::Impl::seek(HandleId handle, std::uint64_t offset, SeekKind kind,
                               Done<std::uint64_t> done) {
  const SeekRequest request{handles_.at(handle).inode, offset, static_cast<std::uint8_t>(kind)};
  const OperationId id = begin("lseek", request.inode);
  auto finished = abandonable<std::uint64_t>(id, std::move(done));
  when_committed(request.inode, [this, id, request, finished](Result<Unit> committed) {
    if (committed) {
      seek_step(id, request, finished);
    } else {
      finished(std::move(committed).error());
    }
  });
  return id;
}

void Client::Impl::seek_step(OperationId id, SeekRequest request, Done<std::uint64_t> done) {
  if (!operations_.contains(id)) {
    return;
  }
  ask(id, request, [this, id, request, done](auto reply, MonoTime) {
    if (!reply) {
      done(std::move(reply).error());
    } else if (reply->found) {
      done(reply->offset);
    } else {
      SeekRequest rest = request;
      rest.offset = reply->offset;
      seek_step(id, rest, done);
    }
  });
}

OperationId Client::Impl::allocate(HandleId handle, AllocateRequest request, Done<Unit> done) {
  request.inode = handles_.at(handle).inode;
  if (refuses_changes()) {
    return answer_later<Unit>(std::move(done), make_error(ErrorCode::kReadOnly));
  }
  if (request.offset > kFileBytesMax || request.length_bytes > kFileBytesMax - request.offset) {
    return answer_later<Unit>(std::move(done), make_error(ErrorCode::kFileTooBig));
  }
  const OperationId id = begin("fallocate", request.inode);
  auto finished = abandonable<Unit>(id, std::move(done));
  when_committed(request.inode, [this, id, request, finished](Result<Unit> committed) {
    if (!committed) {
      finished(std::move(committed).error());
    } else if (request.remove) {
      allocate_step(id, request, finished);
    } else {
      allocate_if_room(id, request, finished);
    }
  });
  return id;
}

// Asked apart, since what a change does must not depend on the servers of the moment.
void Client::Impl::allocate_if_room(OperationId id, const AllocateRequest& request,
                                    Done<Unit> done) {
  ask_for_space(
      id, request.inode, request.length_bytes,
      [this, id, request, done = std::move(done)](const Result<StatFilesystemReply>& reply) {
        if (!reply) {
          done(reply.error());
        } else if (reply->available_bytes < request.length_bytes) {
          done(make_error(ErrorCode::kNoSpace));
        } else {
          allocate_step(id, request, done);
        }
      });
}

// A long range is removed in parts.
void Client::Impl::allocate_step(OperationId id, AllocateRequest rest, Done<Unit> done) {
  if (!operations_.contains(id)) {
    return;
  }
  AllocateRequest part = rest;
  if (part.remove) {
    part.length_bytes = std::min(part.length_bytes, kRangeBytesMax);
  }
  rest.offset += part.length_bytes;
  rest.length_bytes -= part.length_bytes;
  ask(id, part, [this, id, rest, done = std::move(done)](auto reply, MonoTime sent_at) {
    if (!reply) {
      done(std::move(reply).error());
      return;
    }
    if (rest.remove) {
      inodes_.learn_changed(reply->attributes, master_.leases().told(sent_at, reply->lease));
    } else {
      inodes_.learn_change(reply->attributes, reply->data_version_before,
                           master_.leases().told(sent_at, reply->lease));
    }
    if (rest.length_bytes > 0) {
      allocate_step(id, rest, done);
    } else {
      done(ok());
    }
  });
}

OperationId Client::Impl::copy_range(HandleId source, std::uint64_t source_offset,
                                     HandleId destination, std::uint64_t destination_offset,
                                     std::uint64_t length_bytes, Done<std::uint64_t> done) {
  if (refuses_changes()) {
    return answer_later<std::uint64_t>(std::move(done), make_error(ErrorCode::kReadOnly));
  }
  note_access(handles_.at(source));
  if (destination_offset < kFileBytesMax) {  // what fits is copied, as what fits is written
    length_bytes = std::min(length_bytes, kFileBytesMax - destination_offset);
  }
  const CloneRangeRequest request{.source = handles_.at(source).inode,
                                  .source_offset = source_offset,
                                  .destination = handles_.at(destination).inode,
                                  .destination_offset = destination_offset,
                                  .length_bytes = std::min(length_bytes, kRangeBytesMax)};
  const OperationId id = begin("copy_file_range", request.destination);
  auto finished = abandonable<std::uint64_t>(id, std::move(done));
  when_committed(request.source, [this, id, request, finished](Result<Unit> committed) {
    if (!committed) {
      finished(std::move(committed).error());
      return;
    }
    when_committed(request.destination, [this, id, request, finished](Result<Unit> both) {
      if (both) {
        clone_range(id, request, finished);
      } else {
        finished(std::move(both).error());
      }
    });
  });
  return id;
}

void Client::Impl::clone_range(OperationId id, const CloneRangeRequest& request,
                               Done<std::uint64_t> done) {
  if (!operations_.contains(id)) {
    return;
  }
  ask(id, request, [this, done = std::move(done)](auto reply, MonoTime sent_at) {
    if (reply) {
      inodes_.learn_changed(reply->attributes, master_.leases().told(sent_at, reply->lease));
      done(reply->length_bytes);
    } else if (reply.code() == ErrorCode::kTooManyExtents) {
      // The caller copies the bytes instead.
      done(make_error(ErrorCode::kNotSupported, "too many pieces to share"));
    } else {
      done(std::move(reply).error());
    }
  });
}

}  // namespace dfs::client
