#include "fuse-client/fuse/file_sizes.h"

#include <algorithm>
#include <utility>

namespace dfs::fuse {

void FileSizes::changes(InodeId id) {
  File& file = files_[id];
  file.version = next_version_++;
  file.is_unknown = true;
}

void FileSizes::cuts(InodeId id) {
  if (const auto place = files_.find(id); place != files_.end()) {
    place->second.version = next_version_++;
  }
}

std::uint64_t FileSizes::version(InodeId id) const {
  const auto place = files_.find(id);
  return place == files_.end() ? 0 : place->second.version;
}

bool FileSizes::is_unknown(InodeId id) const {
  const auto place = files_.find(id);
  return place != files_.end() && place->second.is_unknown;
}

void FileSizes::tell(InodeId id, std::uint64_t size_bytes, bool is_kept, Task told) {
  if (!is_unknown(id) || size_bytes == 0) {
    told();
    return;
  }
  File& file = files_.at(id);
  const bool is_under_way =
      std::any_of(file.under_way.begin(), file.under_way.end(), [&](const auto& entry) {
        return entry.second.version == file.version && entry.second.size_bytes >= size_bytes &&
               (entry.second.is_kept || !is_kept);
      });
  if (!is_under_way && file.under_way.size() < kNotificationsMax) {
    begin(id, file, size_bytes, is_kept);
  }
  when_told({id}, std::move(told));
}

void FileSizes::begin(InodeId id, File& file, std::uint64_t size_bytes, bool is_kept) {
  const std::uint64_t number = next_number_++;
  const Telling telling{.size_bytes = size_bytes,
                        .version = file.version,
                        .is_kept = is_kept,
                        .notification = std::make_shared<SizeNotification>()};
  file.under_way.emplace(number, telling);
  notify_(id, size_bytes, telling.notification,
          lifetime_.guard([this, id, number] { ended(id, number); }));
}

void FileSizes::ended(InodeId id, std::uint64_t number) {
  File& file = files_.at(id);
  const Telling telling = file.under_way.extract(number).mapped();
  if (telling.is_kept && telling.notification->has_begun() && telling.version == file.version) {
    file.is_unknown = false;
  }
  tidy(id);
  // One at a time: each may have something told that another one waits for.
  while (true) {
    const auto place = std::find_if(waiting_.begin(), waiting_.end(), [this](const auto& entry) {
      return is_told(entry.second.files);
    });
    if (place == waiting_.end()) {
      return;
    }
    run(place->first);
  }
}

// --- Waiting -------------------------------------------------------------------------------------

void FileSizes::when_told(std::vector<InodeId> files, Task task) {
  if (is_told(files)) {
    task();
    return;
  }
  const std::uint64_t number = next_number_++;
  waiting_.emplace(number, Waiting{.files = std::move(files),
                                   .limit = scheduler_.now() + kTellWait,
                                   .task = std::move(task)});
  scheduler_.run_after(kTellStep, lifetime_.guard([this, number] { look_again(number); }));
}

void FileSizes::when_cut(InodeId id, const Task& reply) {
  when_told({id}, [this, id, reply] {
    cuts(id);
    reply();
  });
}

void FileSizes::look_again(std::uint64_t number) {
  const auto place = waiting_.find(number);
  if (place == waiting_.end()) {
    return;
  }
  const Waiting& waiting = place->second;
  const bool have_begun = all_of_under_way(
      waiting.files, [](const SizeNotification& notification) { return notification.has_begun(); });
  if (!have_begun && scheduler_.now() < waiting.limit) {
    scheduler_.run_after(kTellStep, lifetime_.guard([this, number] { look_again(number); }));
    return;
  }
  for (const InodeId id : waiting.files) {
    give_up(id);
  }
  run(number);
}

void FileSizes::run(std::uint64_t number) {
  const Task task = waiting_.extract(number).mapped().task;
  task();
}

void FileSizes::give_up(InodeId id) {
  if (const auto place = files_.find(id); place != files_.end()) {
    for (const auto& [number, telling] : place->second.under_way) {
      telling.notification->give_up();
    }
  }
}

bool FileSizes::is_told(const std::vector<InodeId>& files) const {
  return all_of_under_way(files, [](const SizeNotification&) { return false; });
}

bool FileSizes::all_of_under_way(
    const std::vector<InodeId>& files,
    const std::function<bool(const SizeNotification&)>& condition) const {
  return std::all_of(files.begin(), files.end(), [&](InodeId id) {
    const auto place = files_.find(id);
    return place == files_.end() ||
           std::all_of(place->second.under_way.begin(), place->second.under_way.end(),
                       [&](const auto& entry) { return condition(*entry.second.notification); });
  });
}

void FileSizes::forget(InodeId id) {
  if (const auto place = files_.find(id); place != files_.end()) {
    place->second.is_unknown = false;
    tidy(id);
  }
}

void FileSizes::tidy(InodeId id) {
  const File& file = files_.at(id);
  if (!file.is_unknown && file.under_way.empty()) {
    files_.erase(id);
  }
}

}  // namespace dfs::fuse
