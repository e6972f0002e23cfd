#include "tests/sim/sim_vfs.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>

namespace dfs::sim {

// What SQLite allocates for an open file and hands back to each method.
struct SimVfsFile {
  sqlite3_file base{};  // must be first
  SimVfs* vfs = nullptr;
  SimDiskState::FilePtr file;
  std::string path;  // empty: a temporary file
  std::uint64_t generation = 0;
  bool is_new = false;  // its name is not durable yet
  bool delete_on_close = false;

  static SimVfsFile& of(sqlite3_file* file) { return *reinterpret_cast<SimVfsFile*>(file); }
  bool is_dead() const { return vfs->is_dead(generation); }
  bool may_change() const { return vfs->may_change(generation); }
  SimDiskState& state() const { return vfs->state_; }
  SimVfs::Locks& locks() const { return vfs->locks_[path]; }
  void forget_locks() const;
};

namespace {

constexpr int kSectorBytes = 4096;  // as SQLite's unix VFS says
// Reads and writes are smaller; the unix VFS cuts off what is more.
constexpr int kAccessBytesEnd = 1 << 17;

int write_code(const Status& status, int failure) {
  if (status) {
    return SQLITE_OK;
  }
  return status.code() == ErrorCode::kNoSpace ? SQLITE_FULL : failure;
}

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

int file_read(sqlite3_file* handle, void* out, int size, sqlite3_int64 offset) {
  const SimVfsFile& self = SimVfsFile::of(handle);
  DFS_ASSERT(size < kAccessBytesEnd);
  if (self.is_dead()) {
    return SQLITE_IOERR_READ;
  }
  const auto bytes = self.state().read(*self.file, static_cast<std::uint64_t>(offset),
                                       static_cast<std::uint64_t>(size));
  if (!bytes) {
    return SQLITE_IOERR_READ;
  }
  std::memset(out, 0, static_cast<std::size_t>(size));  // SQLite wants the missing part zeroed
  std::memcpy(out, bytes->data(), bytes->size());
  return bytes->size() == static_cast<std::size_t>(size) ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

int file_write(sqlite3_file* handle, const void* data, int size, sqlite3_int64 offset) {
  const SimVfsFile& self = SimVfsFile::of(handle);
  DFS_ASSERT(size < kAccessBytesEnd);
  if (!self.may_change()) {
    return SQLITE_IOERR_WRITE;
  }
  const std::string_view bytes(static_cast<const char*>(data), static_cast<std::size_t>(size));
  return write_code(self.state().write(*self.file, static_cast<std::uint64_t>(offset), bytes),
                    SQLITE_IOERR_WRITE);
}

int file_truncate(sqlite3_file* handle, sqlite3_int64 size) {
  const SimVfsFile& self = SimVfsFile::of(handle);
  if (!self.may_change()) {
    return SQLITE_IOERR_TRUNCATE;
  }
  return write_code(self.state().truncate(*self.file, static_cast<std::uint64_t>(size)),
                    SQLITE_IOERR_TRUNCATE);
}

int file_sync(sqlite3_file* handle, int) {
  SimVfsFile& self = SimVfsFile::of(handle);
  if (!self.may_change()) {
    return SQLITE_IOERR_FSYNC;
  }
  if (!self.state().sync(*self.file)) {
    return SQLITE_IOERR_FSYNC;
  }
  if (self.is_new && !self.path.empty()) {
    if (!self.state().sync_directory(parent_of(self.path))) {
      return SQLITE_IOERR_DIR_FSYNC;
    }
    self.is_new = false;
  }
  return SQLITE_OK;
}

int file_size(sqlite3_file* handle, sqlite3_int64* size) {
  const SimVfsFile& self = SimVfsFile::of(handle);
  if (self.is_dead()) {
    return SQLITE_IOERR_FSTAT;
  }
  *size = static_cast<sqlite3_int64>(self.file->bytes().size());
  return SQLITE_OK;
}

int file_lock(sqlite3_file* handle, int level) {
  const SimVfsFile& self = SimVfsFile::of(handle);
  if (self.is_dead()) {
    return SQLITE_IOERR_LOCK;
  }
  auto& levels = self.locks().levels;
  const int own = levels[&self];
  if (own >= level) {
    return SQLITE_OK;
  }
  for (const auto& [other, held] : levels) {
    if (other == &self) {
      continue;
    }
    const bool conflicts = (level == SQLITE_LOCK_SHARED && held >= SQLITE_LOCK_PENDING) ||
                           (level == SQLITE_LOCK_RESERVED && held >= SQLITE_LOCK_RESERVED) ||
                           (level == SQLITE_LOCK_EXCLUSIVE && held >= SQLITE_LOCK_SHARED);
    if (conflicts) {
      return SQLITE_BUSY;
    }
  }
  levels[&self] = level;
  return SQLITE_OK;
}

int file_unlock(sqlite3_file* handle, int level) {
  const SimVfsFile& self = SimVfsFile::of(handle);
  auto& levels = self.locks().levels;
  levels[&self] = std::min(levels[&self], level);
  return self.is_dead() ? SQLITE_IOERR_UNLOCK : SQLITE_OK;
}

int file_check_reserved(sqlite3_file* handle, int* result) {
  const SimVfsFile& self = SimVfsFile::of(handle);
  if (self.is_dead()) {
    return SQLITE_IOERR_CHECKRESERVEDLOCK;
  }
  const auto& levels = self.locks().levels;
  *result = std::any_of(levels.begin(), levels.end(),
                        [](const auto& entry) { return entry.second >= SQLITE_LOCK_RESERVED; });
  return SQLITE_OK;
}

int file_control(sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; }
int file_sector_size(sqlite3_file*) { return kSectorBytes; }
int file_characteristics(sqlite3_file*) { return SQLITE_IOCAP_POWERSAFE_OVERWRITE; }

int shm_map(sqlite3_file* handle, int index, int size, int extend, void volatile** out) {
  const SimVfsFile& self = SimVfsFile::of(handle);
  *out = nullptr;
  if (self.is_dead()) {
    return SQLITE_IOERR_SHMMAP;
  }
  auto& regions = self.locks().regions;
  const auto wanted = static_cast<std::size_t>(index);
  while (regions.size() <= wanted) {
    if (extend == 0) {
      return SQLITE_OK;
    }
    regions.push_back(std::make_unique<std::vector<std::byte>>(static_cast<std::size_t>(size)));
  }
  *out = regions[wanted]->data();
  return SQLITE_OK;
}

int shm_lock(sqlite3_file* handle, int first, int count, int flags) {
  const SimVfsFile& self = SimVfsFile::of(handle);
  if (self.is_dead()) {
    return SQLITE_IOERR_SHMLOCK;
  }
  const unsigned slots = ((1u << count) - 1u) << first;
  auto& shm = self.locks().shm;
  auto& [own_shared, own_exclusive] = shm[&self];
  if ((flags & SQLITE_SHM_UNLOCK) != 0) {
    own_shared &= ~slots;
    own_exclusive &= ~slots;
    return SQLITE_OK;
  }
  const bool is_exclusive = (flags & SQLITE_SHM_EXCLUSIVE) != 0;
  for (const auto& [other, held] : shm) {
    const unsigned blocking = is_exclusive ? held.first | held.second : held.second;
    if (other != &self && (blocking & slots) != 0) {
      return SQLITE_BUSY;
    }
  }
  (is_exclusive ? own_exclusive : own_shared) |= slots;
  return SQLITE_OK;
}

void shm_barrier(sqlite3_file*) {}

int shm_unmap(sqlite3_file* handle, int) {
  const SimVfsFile& self = SimVfsFile::of(handle);
  auto& locks = self.locks();
  locks.shm.erase(&self);
  if (locks.shm.empty()) {
    locks.regions.clear();
  }
  return SQLITE_OK;
}

int file_close(sqlite3_file* handle) {
  SimVfsFile& self = SimVfsFile::of(handle);
  self.forget_locks();
  if (self.delete_on_close && !self.path.empty() && !self.is_dead()) {
    // Only temporary files are opened so: whether the name goes is of no consequence.
    (void)self.state().remove(self.path).code();
  }
  std::destroy_at(&self);
  return SQLITE_OK;
}

const sqlite3_io_methods kMethods = {
    .iVersion = 2,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_check_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_characteristics,
    .xShmMap = shm_map,
    .xShmLock = shm_lock,
    .xShmBarrier = shm_barrier,
    .xShmUnmap = shm_unmap,
    .xFetch = nullptr,
    .xUnfetch = nullptr,
};

}  // namespace

void SimVfsFile::forget_locks() const {
  auto& held = locks();
  held.levels.erase(this);
  held.shm.erase(this);
  if (held.levels.empty() && held.shm.empty()) {
    vfs->locks_.erase(path);
  }
}

struct SimVfs::Methods {
  static SimVfs& of(sqlite3_vfs* vfs) { return *static_cast<SimVfs*>(vfs->pAppData); }

  static int open(sqlite3_vfs* vfs, sqlite3_filename name, sqlite3_file* out, int flags,
                  int* out_flags) {
    SimVfs& self = of(vfs);
    out->pMethods = nullptr;
    if (self.is_dead_ || self.state_.generation() != self.generation_) {
      return SQLITE_IOERR;
    }
    SimVfsFile file;
    file.vfs = &self;
    file.generation = self.generation_;
    file.delete_on_close = (flags & SQLITE_OPEN_DELETEONCLOSE) != 0;
    if (name == nullptr) {
      file.file = self.state_.open_unnamed();
    } else {
      file.path = name;
      const bool may_create = (flags & SQLITE_OPEN_CREATE) != 0;
      const bool is_there = self.state_.exists(file.path);
      if (is_there && may_create && (flags & SQLITE_OPEN_EXCLUSIVE) != 0) {
        return SQLITE_CANTOPEN;
      }
      file.is_new = !is_there && may_create;
      const auto writable =
          (flags & SQLITE_OPEN_READWRITE) != 0 ? OpenMode::kReadWrite : OpenMode::kRead;
      auto opened = self.state_.open(file.path, file.is_new ? OpenMode::kCreate : writable);
      if (!opened) {
        return SQLITE_CANTOPEN;
      }
      file.file = std::move(*opened);
    }
    if (out_flags != nullptr) {
      *out_flags = flags;
    }
    auto* made = std::construct_at(reinterpret_cast<SimVfsFile*>(out), std::move(file));
    made->base.pMethods = &kMethods;
    return SQLITE_OK;
  }

  static int remove(sqlite3_vfs* vfs, const char* name, int sync_directory) {
    SimVfs& self = of(vfs);
    if (!self.may_change(self.generation_)) {
      return SQLITE_IOERR_DELETE;
    }
    if (!self.state_.exists(name)) {
      return SQLITE_IOERR_DELETE_NOENT;
    }
    if (!self.state_.remove(name)) {
      return SQLITE_IOERR_DELETE;
    }
    if (sync_directory != 0 && !self.state_.sync_directory(parent_of(name))) {
      return SQLITE_IOERR_DIR_FSYNC;
    }
    return SQLITE_OK;
  }

  static int access(sqlite3_vfs* vfs, const char* name, int flags, int* result) {
    SimVfs& self = of(vfs);
    if (self.is_dead(self.generation_)) {
      return SQLITE_IOERR_ACCESS;
    }
    const auto file = self.state_.open(name, OpenMode::kRead);
    // As the unix VFS: an empty file counts as absent.
    *result = file && (flags != SQLITE_ACCESS_EXISTS || !(*file)->bytes().empty());
    return SQLITE_OK;
  }

  static int full_path(sqlite3_vfs*, const char* name, int out_bytes, char* out) {
    const char* const root = name[0] == '/' ? "" : "/";
    const int length = std::snprintf(out, static_cast<std::size_t>(out_bytes), "%s%s", root, name);
    return length < out_bytes ? SQLITE_OK : SQLITE_CANTOPEN;
  }

  static int randomness(sqlite3_vfs* vfs, int size, char* out) {
    SimVfs& self = of(vfs);
    for (int i = 0; i < size; ++i) {
      out[i] = static_cast<char>(self.random_.next_u64());
    }
    return size;
  }

  static int sleep(sqlite3_vfs*, int microseconds) { return microseconds; }

  static int current_time(sqlite3_vfs* vfs, sqlite3_int64* julian_ms) {
    constexpr sqlite3_int64 kUnixEpoch = 24'405'875 * sqlite3_int64{8'640'000};
    constexpr sqlite3_int64 kStart = 1'767'225'600'000;  // 2026-01-01
    const auto passed =
        std::chrono::duration_cast<std::chrono::milliseconds>(of(vfs).events_.elapsed());
    *julian_ms = kUnixEpoch + kStart + passed.count();
    return SQLITE_OK;
  }

  static int current_time_days(sqlite3_vfs* vfs, double* days) {
    sqlite3_int64 julian_ms = 0;
    current_time(vfs, &julian_ms);
    *days = static_cast<double>(julian_ms) / 86'400'000.0;
    return SQLITE_OK;
  }

  static int last_error(sqlite3_vfs*, int, char*) { return 0; }
};

SimVfs::SimVfs(SimDiskState& state, const SimEvents& events, std::uint64_t seed)
    : state_(state), events_(events), random_(seed), generation_(state.generation()) {
  char text[32];
  // Unique among those that live; nothing depends on the value.
  std::snprintf(text, sizeof text, "sim-%p", static_cast<void*>(this));
  name_ = text;
  vfs_.iVersion = 2;
  vfs_.szOsFile = sizeof(SimVfsFile);
  vfs_.mxPathname = 1024;
  vfs_.zName = name_.c_str();
  vfs_.pAppData = this;
  vfs_.xOpen = Methods::open;
  vfs_.xDelete = Methods::remove;
  vfs_.xAccess = Methods::access;
  vfs_.xFullPathname = Methods::full_path;
  vfs_.xRandomness = Methods::randomness;
  vfs_.xSleep = Methods::sleep;
  vfs_.xCurrentTime = Methods::current_time_days;
  vfs_.xGetLastError = Methods::last_error;
  vfs_.xCurrentTimeInt64 = Methods::current_time;
  DFS_ASSERT(sqlite3_vfs_register(&vfs_, 1) == SQLITE_OK);
  sqlite3_randomness(0, nullptr);  // seeded anew from the default VFS when next used
}

SimVfs::~SimVfs() {
  DFS_ASSERT(locks_.empty());
  DFS_ASSERT(sqlite3_vfs_unregister(&vfs_) == SQLITE_OK);
}

void SimVfs::die_after(std::uint64_t count, Task died) {
  dies_at_change_ = changes_ + count;
  died_ = std::move(died);
}

bool SimVfs::is_dead(std::uint64_t generation) const {
  return is_dead_ || state_.generation() != generation;
}

bool SimVfs::may_change(std::uint64_t generation) {
  if (is_dead(generation)) {
    return false;
  }
  if (changes_ >= dies_at_change_) {
    is_dead_ = true;
    if (died_) {
      std::exchange(died_, nullptr)();
    }
    return false;
  }
  ++changes_;
  return true;
}

}  // namespace dfs::sim
