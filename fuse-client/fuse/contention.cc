#include "fuse-client/fuse/contention.h"

namespace dfs::fuse {

bool Contention::changes(InodeId inode, MonoTime now) {
  auto place = inodes_.find(inode);
  if (place == inodes_.end() && inodes_.size() >= kContendedInodesMax) {
    forget_quiet_ones(now);
    if (inodes_.size() >= kContendedInodesMax) {
      return false;
    }
  }
  if (place == inodes_.end()) {
    place = inodes_.try_emplace(inode).first;
  }
  Contended& contended = place->second;
  const bool was_contended = now < contended.until;
  if (!was_contended) {
    // Names may have been given for longer since.
    name_count_ -= contended.names_without_time.size();
    contended.names_without_time.clear();
  }
  contended.until = now + kContendedTime;
  return was_contended;
}

bool Contention::is_contended(InodeId inode, MonoTime now) const {
  const auto place = inodes_.find(inode);
  return place != inodes_.end() && now < place->second.until;
}

bool Contention::is_without_time(InodeId directory, const std::string& name, MonoTime now) const {
  const auto place = inodes_.find(directory);
  return place != inodes_.end() && now < place->second.until &&
         place->second.names_without_time.contains(name);
}

void Contention::note_without_time(InodeId directory, const std::string& name, MonoTime now) {
  const auto place = inodes_.find(directory);
  if (place != inodes_.end() && now < place->second.until && name_count_ < kNamesWithoutTimeMax &&
      place->second.names_without_time.insert(name).second) {
    ++name_count_;
  }
}

void Contention::renamed(InodeId directory, const std::string& name, InodeId new_directory,
                         const std::string& new_name, MonoTime now) {
  const auto place = inodes_.find(new_directory);
  if (place != inodes_.end() && !is_without_time(directory, name, now)) {
    name_count_ -= place->second.names_without_time.erase(new_name);
  }
}

void Contention::forget_quiet_ones(MonoTime now) {
  for (auto place = inodes_.begin(); place != inodes_.end();) {
    if (now < place->second.until) {
      ++place;
    } else {
      name_count_ -= place->second.names_without_time.size();
      place = inodes_.erase(place);
    }
  }
}

}  // namespace dfs::fuse
