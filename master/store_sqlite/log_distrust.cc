#include "master/store_sqlite/log_distrust.h"

#include <sqlite3.h>

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <vector>

#include "common/assert.h"

namespace dfs::master {
namespace {

constexpr std::string_view kNote =
    "A sync of the database failed: changes may be lost. dfs-master removes this file.\n";
constexpr sqlite3_int64 kPieceBytes = 65536;  // a VFS need not take more than a page at once

Error failure(const std::string& path, const char* what, int code) {
  return make_error(ErrorCode::kIo,
                    path + " cannot be " + what + ", SQLite code " + std::to_string(code));
}

// A file that is opened beside those that SQLite has open.
class SideFile {
 public:
  SideFile(sqlite3_vfs* vfs, const std::string& path)
      : path_(path),
        memory_(static_cast<std::size_t>(vfs->szOsFile) / sizeof(std::max_align_t) + 1),
        vfs_(vfs) {}
  ~SideFile() {
    if (file() != nullptr && file()->pMethods != nullptr) {
      file()->pMethods->xClose(file());
    }
  }
  SideFile(const SideFile&) = delete;
  SideFile& operator=(const SideFile&) = delete;

  Status open(int flags) {
    const int code =
        vfs_->xOpen(vfs_, path_.c_str(), file(), flags | SQLITE_OPEN_READWRITE, nullptr);
    return done("opened", code);
  }
  Result<sqlite3_int64> size() {
    sqlite3_int64 bytes = 0;
    DFS_CHECK_OK(done("measured", file()->pMethods->xFileSize(file(), &bytes)));
    return bytes;
  }
  Status read(std::vector<std::byte>& piece, sqlite3_int64 offset) {
    return done("read", file()->pMethods->xRead(file(), piece.data(),
                                                static_cast<int>(piece.size()), offset));
  }
  Status write(const void* data, std::size_t bytes, sqlite3_int64 offset) {
    return done("written", file()->pMethods->xWrite(file(), data, static_cast<int>(bytes), offset));
  }
  Status sync() { return done("synced", file()->pMethods->xSync(file(), SQLITE_SYNC_NORMAL)); }

 private:
  sqlite3_file* file() { return reinterpret_cast<sqlite3_file*>(memory_.data()); }
  Status done(const char* what, int code) const {
    return code == SQLITE_OK ? ok() : Status(failure(path_, what, code));
  }

  const std::string& path_;
  std::vector<std::max_align_t> memory_;
  sqlite3_vfs* vfs_;
};

}  // namespace

LogDistrust::LogDistrust(sqlite3_vfs* vfs, const std::string& database_path)
    : vfs_(vfs),
      is_in_memory_(database_path.empty()),
      note_path_(database_path + "-unsynced"),
      log_path_(database_path + "-wal") {
  DFS_ASSERT(vfs != nullptr);
}

Result<bool> LogDistrust::exists(const std::string& path) const {
  int is_there = 0;
  const int code = vfs_->xAccess(vfs_, path.c_str(), SQLITE_ACCESS_EXISTS, &is_there);
  if (code != SQLITE_OK) {
    return failure(path, "looked for", code);
  }
  return is_there != 0;
}

Result<bool> LogDistrust::is_noted() const {
  if (is_in_memory_) {
    return false;
  }
  return exists(note_path_);
}

Status LogDistrust::note() const {
  if (is_in_memory_) {
    return ok();
  }
  SideFile file(vfs_, note_path_);
  // As a kind of journal its name is made durable, too, by the sync.
  DFS_CHECK_OK(file.open(SQLITE_OPEN_CREATE | SQLITE_OPEN_SUPER_JOURNAL));
  DFS_CHECK_OK(file.write(kNote.data(), kNote.size(), 0));
  return file.sync();
}

Status LogDistrust::erase_note() const {
  const int code = vfs_->xDelete(vfs_, note_path_.c_str(), 1);
  return code == SQLITE_OK ? ok() : Status(failure(note_path_, "removed", code));
}

Status LogDistrust::rewrite_log() const {
  DFS_TRY(const bool is_there, exists(log_path_));
  if (!is_there) {
    return ok();
  }
  SideFile file(vfs_, log_path_);
  DFS_CHECK_OK(file.open(SQLITE_OPEN_WAL));
  DFS_TRY(const sqlite3_int64 size, file.size());
  for (sqlite3_int64 offset = 0; offset < size; offset += kPieceBytes) {
    std::vector<std::byte> piece(static_cast<std::size_t>(std::min(kPieceBytes, size - offset)));
    DFS_CHECK_OK(file.read(piece, offset));
    DFS_CHECK_OK(file.write(piece.data(), piece.size(), offset));
  }
  return file.sync();
}

}  // namespace dfs::master
