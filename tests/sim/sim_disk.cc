#include "tests/sim/sim_disk.h"

namespace dfs::sim {

struct SimDisk::Shared {
  SimScheduler& scheduler;  // not touched once the process is dead
  std::shared_ptr<const bool> is_alive;
  SimDiskState& state;
  SimDiskLatency latency;
  SimRandom random;
  std::uint64_t generation;

  Status check() const {
    if (!*is_alive || state.generation() != generation) {
      return make_error(ErrorCode::kIo, "the process or its machine is dead");
    }
    return ok();
  }

  void after(Duration latency_min, Task task) {
    if (!*is_alive) {
      return;
    }
    const auto extra = random.below(static_cast<std::uint64_t>(latency_min.count()) + 1);
    scheduler.run_after(latency_min + Duration(static_cast<Duration::rep>(extra)), std::move(task));
  }
};

class SimDiskFile final : public DiskFile {
 public:
  SimDiskFile(std::shared_ptr<SimDisk::Shared> disk, SimDiskState::FilePtr file, bool writable)
      : disk_(std::move(disk)), file_(std::move(file)), writable_(writable) {}

  void read(std::uint64_t offset, std::uint64_t size_bytes,
            std::function<void(Result<Buffer>)> done) override {
    disk_->after(disk_->latency.read,
                 [disk = disk_, file = file_, offset, size_bytes, finish = std::move(done)] {
                   finish(read_from(*disk, *file, offset, size_bytes));
                 });
  }

  void write(std::uint64_t offset, Buffer data, std::function<void(Status)> done) override {
    if (!writable_) {
      finish_later(make_error(ErrorCode::kIo, "opened for reading"), std::move(done));
      return;
    }
    // A bad sector or a full disk is found out at once, whenever the bytes arrive there.
    const std::uint64_t early = early_bytes(data.size());
    if (auto status = write_to(*disk_, *file_, offset, data.slice(0, early)); !status) {
      finish_later(std::move(status), std::move(done));
      return;
    }
    disk_->after(
        disk_->latency.write,
        [disk = disk_, file = file_, offset, early, rest = data.slice(early, data.size() - early),
         finish = std::move(done)] { finish(write_to(*disk, *file, offset + early, rest)); });
  }

  void sync(std::function<void(Status)> done) override {
    disk_->after(disk_->latency.sync, [disk = disk_, file = file_, changes = file_->changes(),
                                       finish = std::move(done)] {
      Status status = disk->check();
      if (status) {
        status = disk->state.sync(*file, changes);
      }
      finish(std::move(status));
    });
  }

  Result<std::uint64_t> size_bytes() override {
    DFS_CHECK_OK(disk_->check());
    return std::uint64_t{file_->bytes().size()};
  }

  Result<Buffer> read_now(std::uint64_t offset, std::uint64_t size_bytes) override {
    return read_from(*disk_, *file_, offset, size_bytes);
  }

  Status truncate_now(std::uint64_t size_bytes) override {
    DFS_CHECK_OK(disk_->check());
    if (!writable_) {
      return make_error(ErrorCode::kIo, "opened for reading");
    }
    return disk_->state.truncate(*file_, size_bytes);
  }

 private:
  static Result<Buffer> read_from(SimDisk::Shared& disk, const SimDiskState::File& file,
                                  std::uint64_t offset, std::uint64_t size_bytes) {
    DFS_CHECK_OK(disk.check());
    DFS_TRY(auto bytes, disk.state.read(file, offset, size_bytes));
    return Buffer::adopt(std::move(bytes));
  }

  static Status write_to(SimDisk::Shared& disk, SimDiskState::File& file, std::uint64_t offset,
                         const Buffer& data) {
    DFS_CHECK_OK(disk.check());
    if (data.empty()) {
      return ok();
    }
    return disk.state.write(file, offset, data.text());
  }

  void finish_later(Status status, std::function<void(Status)> done) {
    disk_->after(disk_->latency.write,
                 [result = std::move(status), finish = std::move(done)] { finish(result); });
  }

  // How much of a write takes effect before its completion.
  std::uint64_t early_bytes(std::uint64_t size) {
    switch (disk_->random.below(3)) {
      case 0: return 0;
      case 1: return size;
      default: return size == 0 ? 0 : disk_->random.below(size);
    }
  }

  std::shared_ptr<SimDisk::Shared> disk_;
  SimDiskState::FilePtr file_;
  bool writable_;
};

SimDisk::SimDisk(SimScheduler& scheduler, SimDiskState& state, SimDiskLatency latency)
    : shared_(new Shared{scheduler, scheduler.alive_token(), state, latency, state.fork_random(),
                         state.generation()}) {}
SimDisk::~SimDisk() = default;

Result<std::shared_ptr<DiskFile>> SimDisk::open(const std::string& path, OpenMode mode) {
  DFS_CHECK_OK(shared_->check());
  DFS_TRY(auto file, shared_->state.open(path, mode));
  return std::shared_ptr<DiskFile>(
      std::make_shared<SimDiskFile>(shared_, std::move(file), mode != OpenMode::kRead));
}

Status SimDisk::make_directory(const std::string& path) {
  DFS_CHECK_OK(shared_->check());
  return shared_->state.make_directory(path);
}

Result<std::vector<std::string>> SimDisk::list(const std::string& path) {
  DFS_CHECK_OK(shared_->check());
  return shared_->state.list(path);
}

Status SimDisk::rename(const std::string& from, const std::string& to) {
  DFS_CHECK_OK(shared_->check());
  return shared_->state.rename(from, to);
}

Status SimDisk::remove(const std::string& path) {
  DFS_CHECK_OK(shared_->check());
  return shared_->state.remove(path);
}

Result<DiskSpace> SimDisk::space(const std::string& path) {
  DFS_CHECK_OK(shared_->check());
  return shared_->state.space(path);
}

Result<std::string> SimDisk::read_file(const std::string& path) {
  DFS_CHECK_OK(shared_->check());
  DFS_TRY(auto file, shared_->state.open(path, OpenMode::kRead));
  return shared_->state.read(*file, 0, file->bytes().size());
}

Status SimDisk::write_file(const std::string& path, const std::string& contents) {
  DFS_CHECK_OK(shared_->check());
  return shared_->state.write_file(path, contents);
}

void SimDisk::sync_directory(const std::string& path, std::function<void(Status)> done) {
  // What is renamed while the sync runs becomes durable too; a caller cannot tell.
  shared_->after(shared_->latency.sync, [shared = shared_, path, finish = std::move(done)] {
    Status status = shared->check();
    if (status) {
      status = shared->state.sync_directory(path);
    }
    finish(std::move(status));
  });
}

}  // namespace dfs::sim
