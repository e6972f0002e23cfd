// Port: files of one machine, as the chunkserver needs them.
//
// What survives a crash is part of the contract, and the simulated disk makes it come true: after
// a power loss a file holds what it held at its last completed sync, and any part of what was
// written since (whole, torn or not at all); a created, renamed or removed name is sure only after
// sync_directory. A killed process loses nothing that was written.
//
// Completions run on the owner's Scheduler, never inside the call that started them. Operations on
// one file complete in any order; a caller that needs an order waits. Errors: kIo (with the errno
// in the detail), kNoSpace, kReadOnly, kNotFound, kExists.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/buffer.h"
#include "common/result.h"

namespace dfs {

// An open file; the last copy of the pointer closes it.
class DiskFile {
 public:
  virtual ~DiskFile() = default;

  // May answer fewer bytes than asked for at the end of the file.
  virtual void read(std::uint64_t offset, std::uint64_t size_bytes,
                    std::function<void(Result<Buffer>)> done) = 0;
  virtual void write(std::uint64_t offset, Buffer data, std::function<void(Status)> done) = 0;
  // fdatasync: contents and size are on stable storage.
  virtual void sync(std::function<void(Status)> done) = 0;

  // Blocking forms, for start-up only.
  virtual Result<std::uint64_t> size_bytes() = 0;
  virtual Result<Buffer> read_now(std::uint64_t offset, std::uint64_t size_bytes) = 0;
  virtual Status truncate_now(std::uint64_t size_bytes) = 0;
};

struct DiskSpace {
  std::uint64_t total_bytes = 0;
  std::uint64_t available_bytes = 0;
};

enum class OpenMode { kRead, kReadWrite, kCreate };  // kCreate fails with kExists

class Disk {
 public:
  virtual ~Disk() = default;

  // Blocking and short: names only. Paths are absolute.
  virtual Result<std::shared_ptr<DiskFile>> open(const std::string& path, OpenMode mode) = 0;
  virtual Status make_directory(const std::string& path) = 0;  // and parents; existing is success
  virtual Result<std::vector<std::string>> list(const std::string& path) = 0;  // sorted, no . ..
  virtual Status rename(const std::string& from, const std::string& to) = 0;
  virtual Status remove(const std::string& path) = 0;
  virtual Result<DiskSpace> space(const std::string& path) = 0;
  // Whole small files: identity, format. write_file is atomic and durable on return.
  virtual Result<std::string> read_file(const std::string& path) = 0;
  virtual Status write_file(const std::string& path, const std::string& contents) = 0;

  virtual void sync_directory(const std::string& path, std::function<void(Status)> done) = 0;
};

}  // namespace dfs
