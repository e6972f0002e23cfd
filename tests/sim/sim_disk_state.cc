#include "tests/sim/sim_disk_state.h"

#include <algorithm>

namespace dfs::sim {
namespace {

constexpr std::uint64_t kTearBytes = 512;

}  // namespace

void SimDiskState::File::apply(std::string& bytes, const Change& change) {
  if (change.is_truncate) {
    bytes.resize(change.offset, '\0');
    return;
  }
  if (bytes.size() < change.offset + change.data.size()) {
    bytes.resize(change.offset + change.data.size(), '\0');
  }
  bytes.replace(change.offset, change.data.size(), change.data);
}

void SimDiskState::File::crash(SimRandom& random) {
  for (Change& change : unsynced_) {
    const std::uint64_t fate = random.below(4);
    if (fate == 0) {
      continue;
    }
    if (fate > 1 && !change.is_truncate && change.data.size() > 1) {
      const std::uint64_t first = change.offset / kTearBytes + 1;
      const std::uint64_t last = (change.offset + change.data.size() - 1) / kTearBytes;
      if (first <= last) {
        const std::uint64_t tear = (first + random.below(last - first + 1)) * kTearBytes;
        if (fate == 2) {
          change.data.resize(tear - change.offset);
        } else {
          change.data.erase(0, tear - change.offset);
          change.offset = tear;
        }
      }
    }
    apply(durable_, change);
  }
  unsynced_.clear();
  bytes_ = durable_;
}

void SimDiskState::crash() {
  ++generation_;
  for (const auto& [directory, changes] : unsynced_names_) {
    const std::uint64_t survivors = random_.below(changes.size() + 1);
    for (std::uint64_t i = 0; i < survivors; ++i) {
      apply(durable_names_, changes[i]);
    }
  }
  unsynced_names_.clear();
  names_ = durable_names_;
  for (const auto& [path, file] : names_) {
    file->path_ = path;
    file->is_named_ = true;
    file->crash(random_);
  }
  recount_used();
}

void SimDiskState::forget_cached() {
  for (const auto& [path, file] : names_) {
    file->bytes_ = file->durable_;
    for (const File::Change& change : file->unsynced_) {
      File::apply(file->bytes_, change);
    }
  }
  recount_used();
}

bool SimDiskState::flip_bit(const std::string& path, std::uint64_t offset, unsigned bit) {
  const auto it = names_.find(path);
  if (it == names_.end() || offset >= it->second->bytes_.size()) {
    return false;
  }
  File& file = *it->second;
  const auto flip = [&](std::string& bytes) {
    if (offset < bytes.size()) {
      bytes[offset] = static_cast<char>(bytes[offset] ^ (1 << (bit % 8)));
    }
  };
  flip(file.bytes_);
  flip(file.durable_);
  for (File::Change& change : file.unsynced_) {
    if (!change.is_truncate && offset >= change.offset &&
        offset - change.offset < change.data.size()) {
      char& byte = change.data[offset - change.offset];
      byte = static_cast<char>(byte ^ (1 << (bit % 8)));
    }
  }
  return true;
}

std::string SimDiskState::parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos || slash == 0 ? "/" : path.substr(0, slash);
}

SimDiskFaults SimDiskState::faults_of(const std::string& path) const {
  SimDiskFaults all;
  for (const auto& [prefix, faults] : faults_) {
    if (path.starts_with(prefix)) {
      all.fail_reads |= faults.fail_reads;
      all.fail_opens |= faults.fail_opens;
      all.fail_writes |= faults.fail_writes;
      all.fail_syncs |= faults.fail_syncs;
      all.read_only |= faults.read_only;
      all.unreadable_from = std::min(all.unreadable_from, faults.unreadable_from);
    }
  }
  return all;
}

Status SimDiskState::check_writable(const std::string& path) const {
  const SimDiskFaults faults = faults_of(path);
  if (faults.fail_writes) {
    return make_error(ErrorCode::kIo, path + ": injected EIO");
  }
  if (faults.read_only) {
    return make_error(ErrorCode::kReadOnly, path + ": read-only");
  }
  return ok();
}

void SimDiskState::apply(std::map<std::string, FilePtr>& names, const NameChange& change) const {
  if (!change.from.empty()) {
    names.erase(change.from);
  }
  if (change.file != nullptr) {
    names[change.to] = change.file;
  } else {
    names.erase(change.to);
  }
}

void SimDiskState::log_change(const std::string& directory, NameChange change) {
  apply(names_, change);
  unsynced_names_[directory].push_back(std::move(change));
}

Result<SimDiskState::FilePtr> SimDiskState::open(const std::string& path, OpenMode mode) {
  if (faults_of(path).fail_opens) {
    return make_error(ErrorCode::kBusy, path + ": injected EMFILE");
  }
  const auto it = names_.find(path);
  if (mode == OpenMode::kCreate) {
    if (it != names_.end() || is_directory(path)) {
      return make_error(ErrorCode::kExists, path);
    }
    if (!is_directory(parent_of(path))) {
      return make_error(ErrorCode::kNotFound, path);
    }
    DFS_CHECK_OK(check_writable(path));
    auto file = std::make_shared<File>(path);
    log_change(parent_of(path), {path, file, ""});
    return file;
  }
  if (it == names_.end()) {
    return make_error(ErrorCode::kNotFound, path);
  }
  if (mode == OpenMode::kReadWrite && faults_of(path).read_only) {
    return make_error(ErrorCode::kReadOnly, path);
  }
  return it->second;
}

SimDiskState::FilePtr SimDiskState::open_unnamed() {
  auto file = std::make_shared<File>("");
  file->is_named_ = false;
  return file;
}

Result<std::string> SimDiskState::read(const File& file, std::uint64_t offset,
                                       std::uint64_t size_bytes) const {
  const SimDiskFaults faults = faults_of(file.path_);
  if (faults.fail_reads || offset + size_bytes > faults.unreadable_from) {
    return make_error(ErrorCode::kIo, file.path_ + ": injected EIO");
  }
  if (offset >= file.bytes_.size()) {
    return std::string();
  }
  return file.bytes_.substr(offset, size_bytes);
}

void SimDiskState::set_size(File& file, std::uint64_t size_bytes) {
  if (file.is_named_) {  // what only a handle keeps is not counted: its space is free at once
    used_bytes_ = used_bytes_ - file.bytes_.size() + size_bytes;
  }
}

Status SimDiskState::write(File& file, std::uint64_t offset, std::string_view data) {
  DFS_CHECK_OK(check_writable(file.path_));
  const std::uint64_t size_after =
      std::max<std::uint64_t>(file.bytes_.size(), offset + data.size());
  if (used_bytes_ - file.bytes_.size() + size_after > capacity_bytes_) {
    return make_error(ErrorCode::kNoSpace, file.path_);
  }
  set_size(file, size_after);
  File::Change change{false, offset, std::string(data)};
  File::apply(file.bytes_, change);
  file.unsynced_.push_back(std::move(change));
  ++file.changes_;
  return ok();
}

Status SimDiskState::truncate(File& file, std::uint64_t size_bytes) {
  DFS_CHECK_OK(check_writable(file.path_));
  set_size(file, size_bytes);
  File::Change change{true, size_bytes, {}};
  File::apply(file.bytes_, change);
  file.unsynced_.push_back(std::move(change));
  ++file.changes_;
  return ok();
}

Status SimDiskState::sync(File& file, std::optional<std::uint64_t> changes) {
  const std::uint64_t already = file.changes_ - file.unsynced_.size();
  const std::uint64_t wanted = changes.value_or(file.changes_);
  const std::uint64_t count = wanted > already ? wanted - already : 0;
  DFS_ASSERT(count <= file.unsynced_.size());
  const auto end = file.unsynced_.begin() + static_cast<std::ptrdiff_t>(count);
  if (faults_of(file.path_).fail_syncs) {
    file.unsynced_.erase(file.unsynced_.begin(), end);
    return make_error(ErrorCode::kIo, file.path_ + ": injected EIO");
  }
  for (auto it = file.unsynced_.begin(); it != end; ++it) {
    File::apply(file.durable_, *it);
  }
  file.unsynced_.erase(file.unsynced_.begin(), end);
  return ok();
}

Status SimDiskState::make_directory(const std::string& path) {
  DFS_CHECK_OK(check_writable(path));
  for (std::size_t slash = path.find('/', 1); slash != std::string::npos;
       slash = path.find('/', slash + 1)) {
    directories_.insert(path.substr(0, slash));
  }
  directories_.insert(path);
  return ok();
}

Result<std::vector<std::string>> SimDiskState::list(const std::string& path) const {
  if (!is_directory(path)) {
    return make_error(ErrorCode::kNotFound, path);
  }
  if (faults_of(path).fail_reads) {
    return make_error(ErrorCode::kIo, path + ": injected EIO");
  }
  const std::string prefix = path == "/" ? path : path + "/";
  std::set<std::string> found;
  const auto take = [&](const std::string& full) {
    if (full.size() > prefix.size() && full.starts_with(prefix) &&
        full.find('/', prefix.size()) == std::string::npos) {
      found.insert(full.substr(prefix.size()));
    }
  };
  for (auto it = names_.lower_bound(prefix); it != names_.end() && it->first.starts_with(prefix);
       ++it) {
    take(it->first);
  }
  for (const std::string& directory : directories_) {
    take(directory);
  }
  return std::vector<std::string>(found.begin(), found.end());
}

Status SimDiskState::rename(const std::string& from, const std::string& to) {
  DFS_CHECK_OK(check_writable(from));
  const auto it = names_.find(from);
  if (it == names_.end() || !is_directory(parent_of(to))) {
    return make_error(ErrorCode::kNotFound, from + " to " + to);
  }
  if (from == to) {
    return ok();
  }
  const FilePtr file = it->second;
  if (const auto target = names_.find(to); target != names_.end()) {
    set_size(*target->second, 0);
    target->second->is_named_ = false;
  }
  file->path_ = to;
  log_change(parent_of(to), {to, file, from});
  return ok();
}

Status SimDiskState::remove(const std::string& path) {
  DFS_CHECK_OK(check_writable(path));
  const auto it = names_.find(path);
  if (it == names_.end()) {
    return make_error(ErrorCode::kNotFound, path);
  }
  set_size(*it->second, 0);
  it->second->is_named_ = false;
  log_change(parent_of(path), {path, nullptr, ""});
  return ok();
}

Status SimDiskState::sync_directory(const std::string& path) {
  if (!is_directory(path)) {
    return make_error(ErrorCode::kNotFound, path);
  }
  if (faults_of(path).fail_syncs) {
    return make_error(ErrorCode::kIo, path + ": injected EIO");
  }
  const auto it = unsynced_names_.find(path);
  if (it != unsynced_names_.end()) {
    for (const NameChange& change : it->second) {
      apply(durable_names_, change);
    }
    unsynced_names_.erase(it);
  }
  return ok();
}

Result<DiskSpace> SimDiskState::space(const std::string& path) const {
  if (faults_of(path).fail_reads) {
    return make_error(ErrorCode::kIo, path + ": injected EIO");
  }
  const std::uint64_t used = std::min(used_bytes_, capacity_bytes_);
  return DiskSpace{capacity_bytes_, capacity_bytes_ - used};
}

Status SimDiskState::write_file(const std::string& path, std::string_view contents) {
  if (!is_directory(parent_of(path))) {
    return make_error(ErrorCode::kNotFound, path);
  }
  DFS_CHECK_OK(check_writable(path));
  DFS_CHECK_OK(sync_directory(parent_of(path)));
  const auto old = names_.find(path);
  const std::uint64_t old_bytes = old == names_.end() ? 0 : old->second->bytes_.size();
  if (used_bytes_ - old_bytes + contents.size() > capacity_bytes_) {
    return make_error(ErrorCode::kNoSpace, path);
  }
  if (old != names_.end()) {
    old->second->is_named_ = false;
  }
  auto file = std::make_shared<File>(path);
  file->bytes_ = contents;
  file->durable_ = contents;
  names_[path] = file;
  durable_names_[path] = file;
  used_bytes_ = used_bytes_ - old_bytes + contents.size();
  return ok();
}

std::string SimDiskState::bytes(const std::string& path) const {
  const auto found = names_.find(path);
  return found == names_.end() ? std::string() : found->second->bytes_;
}

std::vector<std::string> SimDiskState::all_files() const {
  std::vector<std::string> paths;
  for (const auto& [path, file] : names_) {
    paths.push_back(path);
  }
  return paths;
}

void SimDiskState::recount_used() {
  used_bytes_ = 0;
  for (const auto& [path, file] : names_) {
    used_bytes_ += file->bytes_.size();
  }
}

}  // namespace dfs::sim
