#include "tests/coherence/recorder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <functional>
#include <utility>
#include <vector>

#include "tests/coherence/history.h"
#include "tests/sim/sim_random.h"

namespace dfs::coherence {
namespace {

constexpr std::uint32_t kSlots = 4;
constexpr std::uint32_t kLockBytes = 2;
// Not a divisor of the page size: records lie across the borders of pages.
constexpr std::uint32_t kRecordBytes = 104;
constexpr std::size_t kRecordsMax = 48;  // then the file is given up for another
constexpr std::size_t kReadRecordsMax = 1024;
constexpr std::size_t kTornIdsMax = 4;
constexpr std::size_t kHandlesMax = 3;
constexpr std::array<const char*, 4> kNames = {"n0", "n1", "n2", "n3"};
constexpr std::array<const char*, 2> kAppendNames = {"a0", "a1"};
constexpr const char* kLockName = "lock";

std::int64_t now_ns() {
  timespec now{};
  (void)::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

Error system_error(const std::string& what) {
  return make_error(ErrorCode::kIo, what + ": " + std::strerror(errno));
}

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

struct Handle {
  Descriptor fd;
  Descriptor appender;  // of a file that is appended to: the same, to do so
  std::uint64_t inode = 0;
  std::string name;
};

int errno_of(std::int64_t result) { return result < 0 ? errno : 0; }

// What `bytes` of a slot or record say: the ids found, each once.
std::vector<std::uint64_t> ids_of(const std::uint64_t* words, std::size_t bytes) {
  std::vector<std::uint64_t> ids;
  for (std::size_t i = 0; i < bytes / sizeof *words; ++i) {
    if (std::find(ids.begin(), ids.end(), words[i]) == ids.end()) {
      ids.push_back(words[i]);
    }
  }
  return ids.size() > kTornIdsMax ? std::vector<std::uint64_t>{kGarbage} : ids;
}

class Recorder {
 public:
  Recorder(const RecorderOptions& options, Descriptor directory, Descriptor log, Descriptor lock)
      : options_(options),
        random_(options.seed),
        directory_(std::move(directory)),
        log_(std::move(log)),
        lock_(std::move(lock)) {}

  Status run() {
    note(head_line(options_.process, options_.mount));
    const auto groups = chosen();
    const std::int64_t end_ns = now_ns() + static_cast<std::int64_t>(options_.seconds * 1e9);
    while (now_ns() < end_ns && !is_over_) {
      groups[random_.below(groups.size())]();
    }
    if (held_byte_ && !is_over_) {
      unlock();
    }
    return std::move(status_);
  }

 private:
  using Call = std::function<int(Operation&)>;

  std::vector<std::function<void()>> chosen();
  void on_names();
  void on_contents();
  void on_appends();
  void on_locks();

  bool perform(Operation& op, const Call& call);
  void note(const std::string& line);

  Operation make(Kind kind, std::string name = {}, std::string other = {}) const;
  Operation make_on(Kind kind, const Handle& handle, std::uint32_t bytes) const;
  std::string any_name() { return kNames[random_.below(kNames.size())]; }
  void create_or_open(Kind kind, const std::string& name, std::vector<Handle>* handles);
  void two_names(Kind kind);
  void remove(const std::string& name);
  void stat(const std::string& name);
  void fstat(const Handle& handle, std::uint32_t bytes);
  void list();
  void write(const Handle& handle);
  void read(const Handle& handle);
  void truncate(const Handle& handle);
  void append(const Handle& handle);
  void read_all(std::size_t index);
  void unlock();
  int sync_if_wanted(int fd) const { return options_.is_syncing ? errno_of(::fsync(fd)) : 0; }

  const RecorderOptions& options_;
  sim::SimRandom random_;
  const Descriptor directory_, log_, lock_;
  std::vector<Handle> files_, appended_;
  std::optional<std::uint32_t> held_byte_;
  std::uint64_t sequence_ = 0;
  std::uint32_t written_ = 0;
  bool is_over_ = false;
  Status status_ = ok();
};

// --- Notes ---------------------------------------------------------------------------------------

void Recorder::note(const std::string& line) {
  if (::write(log_.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    status_ = system_error("writing the history");
    is_over_ = true;
  }
}

// True if it was made; `call` returns an errno.
bool Recorder::perform(Operation& op, const Call& call) {
  op.sequence = ++sequence_;
  op.invoked_ns = now_ns();
  note(begin_line(op));
  op.invoked_ns = now_ns();
  op.error = call(op);
  op.completed_ns = now_ns();
  if (op.error == ENOTCONN || op.error == ECONNABORTED) {
    is_over_ = true;  // the client is gone; what became of this is not known
    return false;
  }
  note(end_line(op));
  return op.error == 0;
}

Operation Recorder::make(Kind kind, std::string name, std::string other) const {
  Operation op;
  op.process = options_.process;
  op.mount = options_.mount;
  op.kind = kind;
  op.name = std::move(name);
  op.other = std::move(other);
  return op;
}

Operation Recorder::make_on(Kind kind, const Handle& handle, std::uint32_t bytes) const {
  Operation op = make(kind);
  op.file = handle.inode;
  op.bytes = bytes;
  return op;
}

// --- Which operation -----------------------------------------------------------------------------

std::vector<std::function<void()>> Recorder::chosen() {
  std::vector<std::function<void()>> groups;
  const auto add = [&](bool is_wanted, auto group) {
    if (is_wanted) {
      groups.emplace_back([this, group] { (this->*group)(); });
    }
  };
  add(options_.names, &Recorder::on_names);
  add(options_.contents, &Recorder::on_contents);
  add(options_.appends, &Recorder::on_appends);
  add(options_.locks, &Recorder::on_locks);
  return groups;
}

void Recorder::on_names() {
  const std::uint64_t dice = random_.below(100);
  if (dice < 25) {
    create_or_open(dice < 12   ? Kind::kCreate
                   : dice < 20 ? Kind::kOpen
                               : Kind::kLookup,
                   any_name(), nullptr);
  } else if (dice < 40) {
    remove(any_name());
  } else if (dice < 65) {
    two_names(dice < 48   ? Kind::kRename
              : dice < 52 ? Kind::kRenameNoReplace
              : dice < 56 ? Kind::kExchange
                          : Kind::kLink);
  } else if (dice < 92) {
    stat(any_name());
  } else {
    list();
  }
}

void Recorder::on_contents() {
  const std::uint64_t dice = random_.below(100);
  if (files_.empty() || dice < 8) {
    create_or_open(dice % 2 == 0 ? Kind::kOpen : Kind::kLookup, any_name(), &files_);
  } else if (dice < 10) {
    stat(any_name());
  } else {
    const Handle& handle = files_[random_.below(files_.size())];
    if (dice < 45) {
      write(handle);
    } else if (dice < 80) {
      read(handle);
    } else if (dice < 88) {
      truncate(handle);
    } else {
      fstat(handle, options_.slot_bytes);
    }
  }
}

void Recorder::on_appends() {
  const std::uint64_t dice = random_.below(100);
  if (appended_.empty() || dice < 5) {
    create_or_open(Kind::kOpen, kAppendNames[random_.below(kAppendNames.size())], &appended_);
    return;
  }
  const std::size_t index = random_.below(appended_.size());
  if (dice < 50) {
    append(appended_[index]);
  } else if (dice < 85) {
    read_all(index);
  } else if (dice < 95) {
    fstat(appended_[index], kRecordBytes);
  } else {
    stat(kAppendNames[random_.below(kAppendNames.size())]);
  }
}

void Recorder::on_locks() {
  if (held_byte_) {
    unlock();
    return;
  }
  Operation op = make(random_.below(3) == 0 ? Kind::kLock : Kind::kTryLock);
  op.slot = static_cast<std::uint32_t>(random_.below(kLockBytes));
  const bool is_taken = perform(op, [this](Operation& asked) {
    struct flock range {};
    range.l_type = F_WRLCK;
    range.l_whence = SEEK_SET;
    range.l_start = asked.slot;
    range.l_len = 1;
    return errno_of(::fcntl(lock_.get(), asked.kind == Kind::kLock ? F_SETLKW : F_SETLK, &range));
  });
  if (is_taken) {
    held_byte_ = op.slot;
  }
}

// --- Names ---------------------------------------------------------------------------------------

// With `handles`, what was opened is kept there.
void Recorder::create_or_open(Kind kind, const std::string& name, std::vector<Handle>* handles) {
  Handle handle;
  Operation op = make(kind, name);
  const bool is_appended = handles == &appended_;
  const bool is_for_both = is_appended && random_.below(2) == 0;
  const int how = is_for_both ? O_RDWR | O_APPEND : is_appended ? O_RDONLY : O_RDWR;
  const bool is_made = perform(op, [&](Operation& asked) {
    const int flags = (kind == Kind::kLookup ? 0 : O_CREAT) | (kind == Kind::kCreate ? O_EXCL : 0) |
                      how | O_CLOEXEC;
    handle.fd = Descriptor(::openat(directory_.get(), name.c_str(), flags, 0644));
    struct stat attributes {};
    if (handle.fd.get() < 0 || ::fstat(handle.fd.get(), &attributes) != 0) {
      return errno;
    }
    if (is_appended) {
      const std::string same = "/proc/self/fd/" + std::to_string(handle.fd.get());
      handle.appender =
          Descriptor(is_for_both ? ::fcntl(handle.fd.get(), F_DUPFD_CLOEXEC, 0)
                                 : ::open(same.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
      if (handle.appender.get() < 0) {
        return errno;
      }
    }
    asked.inode = attributes.st_ino;
    return 0;
  });
  if (is_made && handles != nullptr) {
    handle.inode = op.inode;
    handle.name = name;
    if (handles->size() < kHandlesMax) {
      handles->push_back(std::move(handle));
    } else {
      (*handles)[random_.below(kHandlesMax)] = std::move(handle);
    }
  }
}

void Recorder::two_names(Kind kind) {
  const std::size_t from = random_.below(kNames.size());
  const std::size_t to = (from + 1 + random_.below(kNames.size() - 1)) % kNames.size();
  Operation op = make(kind, kNames[from], kNames[to]);
  perform(op, [&](Operation& asked) {
    const int in = directory_.get();
    if (kind == Kind::kLink) {
      return errno_of(::linkat(in, asked.name.c_str(), in, asked.other.c_str(), 0));
    }
    const unsigned flags = kind == Kind::kExchange          ? RENAME_EXCHANGE
                           : kind == Kind::kRenameNoReplace ? RENAME_NOREPLACE
                                                            : 0;
    return errno_of(::renameat2(in, asked.name.c_str(), in, asked.other.c_str(), flags));
  });
}

void Recorder::remove(const std::string& name) {
  Operation op = make(Kind::kUnlink, name);
  perform(op, [&](Operation&) { return errno_of(::unlinkat(directory_.get(), name.c_str(), 0)); });
}

void Recorder::stat(const std::string& name) {
  Operation op = make(Kind::kStat, name);
  perform(op, [&](Operation& asked) {
    struct stat attributes {};
    const int error =
        errno_of(::fstatat(directory_.get(), name.c_str(), &attributes, AT_SYMLINK_NOFOLLOW));
    asked.inode = attributes.st_ino;
    asked.links = static_cast<std::uint32_t>(attributes.st_nlink);
    asked.size = static_cast<std::uint64_t>(attributes.st_size);
    return error;
  });
}

void Recorder::fstat(const Handle& handle, std::uint32_t bytes) {
  Operation op = make_on(Kind::kFstat, handle, bytes);
  perform(op, [&](Operation& asked) {
    struct stat attributes {};
    const int error = errno_of(::fstat(handle.fd.get(), &attributes));
    asked.links = static_cast<std::uint32_t>(attributes.st_nlink);
    asked.size = static_cast<std::uint64_t>(attributes.st_size);
    return error;
  });
}

void Recorder::list() {
  Operation op = make(Kind::kList);
  perform(op, [&](Operation& asked) {
    const int fd = ::openat(directory_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR* const stream = fd < 0 ? nullptr : ::fdopendir(fd);
    if (stream == nullptr) {
      return errno;
    }
    errno = 0;
    while (const dirent* const entry = ::readdir(stream)) {
      const std::string name = entry->d_name;
      if (name != "." && name != ".." && name != kLockName) {
        asked.listing.push_back({name, entry->d_ino});
      }
    }
    const int error = errno;
    ::closedir(stream);
    return error;
  });
}

// --- Contents ------------------------------------------------------------------------------------

void Recorder::write(const Handle& handle) {
  Operation op = make_on(Kind::kWrite, handle, options_.slot_bytes);
  op.slot = static_cast<std::uint32_t>(random_.below(kSlots));
  op.value = make_id(options_.process, ++written_);
  const std::vector<std::uint64_t> words(op.bytes / sizeof op.value, op.value);
  perform(op, [&](Operation& asked) {
    const auto done = ::pwrite(handle.fd.get(), words.data(), asked.bytes,
                               off_t{asked.slot} * off_t{asked.bytes});
    return done == asked.bytes ? sync_if_wanted(handle.fd.get()) : done < 0 ? errno : EIO;
  });
}

void Recorder::read(const Handle& handle) {
  Operation op = make_on(Kind::kRead, handle, options_.slot_bytes);
  op.slot = static_cast<std::uint32_t>(random_.below(kSlots));
  std::vector<std::uint64_t> words(op.bytes / sizeof op.value);
  perform(op, [&](Operation& asked) {
    const auto done =
        ::pread(handle.fd.get(), words.data(), asked.bytes, off_t{asked.slot} * off_t{asked.bytes});
    if (done > 0) {
      asked.ids = done == asked.bytes ? ids_of(words.data(), asked.bytes)
                                      : std::vector<std::uint64_t>{kGarbage};
    }
    return errno_of(done);
  });
}

void Recorder::truncate(const Handle& handle) {
  Operation op = make_on(Kind::kTruncate, handle, options_.slot_bytes);
  op.value = random_.below(kSlots + 1) * op.bytes;
  perform(op, [&](Operation& asked) {
    const int error = errno_of(::ftruncate(handle.fd.get(), static_cast<off_t>(asked.value)));
    return error == 0 ? sync_if_wanted(handle.fd.get()) : error;
  });
}

void Recorder::append(const Handle& handle) {
  Operation op = make_on(Kind::kAppend, handle, kRecordBytes);
  op.value = make_id(options_.process, ++written_);
  const std::vector<std::uint64_t> words(kRecordBytes / sizeof op.value, op.value);
  perform(op, [&](Operation&) {
    const auto done = ::write(handle.appender.get(), words.data(), kRecordBytes);
    return done == kRecordBytes ? sync_if_wanted(handle.appender.get()) : done < 0 ? errno : EIO;
  });
}

void Recorder::read_all(std::size_t index) {
  Operation op = make_on(Kind::kReadAll, appended_[index], kRecordBytes);
  constexpr std::size_t kWords = kRecordBytes / sizeof(std::uint64_t);
  std::vector<std::uint64_t> words(kWords * kReadRecordsMax);
  perform(op, [&](Operation& asked) {
    const auto done =
        ::pread(appended_[index].fd.get(), words.data(), kRecordBytes * kReadRecordsMax, 0);
    for (std::size_t at = 0; done > 0 && at < static_cast<std::size_t>(done); at += kRecordBytes) {
      const auto ids = ids_of(words.data() + at / sizeof(std::uint64_t), kRecordBytes);
      const bool is_whole = ids.size() == 1 && at + kRecordBytes <= static_cast<std::size_t>(done);
      asked.ids.push_back(is_whole ? ids.front() : kGarbage);
    }
    return errno_of(done);
  });
  if (op.ids.size() > kRecordsMax) {
    const std::string name = appended_[index].name;
    appended_.erase(appended_.begin() + static_cast<std::ptrdiff_t>(index));
    remove(name);
  }
}

void Recorder::unlock() {
  Operation op = make(Kind::kUnlock);
  op.slot = *held_byte_;
  perform(op, [this](Operation& asked) {
    struct flock range {};
    range.l_type = F_UNLCK;
    range.l_whence = SEEK_SET;
    range.l_start = asked.slot;
    range.l_len = 1;
    return errno_of(::fcntl(lock_.get(), F_SETLK, &range));
  });
  held_byte_.reset();
}

}  // namespace

Status record(const RecorderOptions& options) {
  Descriptor log(::open(options.file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (log.get() < 0) {
    return system_error(options.file);
  }
  Descriptor directory(::open(options.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0) {
    return system_error(options.directory);
  }
  Descriptor lock(::openat(directory.get(), kLockName, O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (lock.get() < 0) {
    return system_error(kLockName);
  }
  return Recorder(options, std::move(directory), std::move(log), std::move(lock)).run();
}

}  // namespace dfs::coherence
