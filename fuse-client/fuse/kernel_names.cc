#include "fuse-client/fuse/kernel_names.h"

#include <algorithm>
#include <cstring>

#include "common/assert.h"
#include "proto/limits.h"

namespace dfs::fuse {
namespace {

// The directory, whether it has time, the length, and the bytes.
constexpr std::size_t kHeadBytes = sizeof(std::uint64_t) + 2;
static_assert(kNameBytesMax <= 255);

std::string packed(const KernelName& name) {
  std::string bytes(kHeadBytes, '\0');
  std::memcpy(bytes.data(), &name.directory.value, sizeof name.directory.value);
  bytes[kHeadBytes - 2] = name.has_time ? 1 : 0;
  bytes[kHeadBytes - 1] = static_cast<char>(name.name.size());
  return bytes + name.name;
}

std::vector<KernelName> unpacked(const std::string& bytes) {
  std::vector<KernelName> names;
  for (std::size_t at = 0; at < bytes.size();) {
    KernelName name;
    std::memcpy(&name.directory.value, bytes.data() + at, sizeof name.directory.value);
    name.has_time = bytes[at + kHeadBytes - 2] != 0;
    name.name =
        bytes.substr(at + kHeadBytes, static_cast<unsigned char>(bytes[at + kHeadBytes - 1]));
    at += kHeadBytes + name.name.size();
    names.push_back(std::move(name));
  }
  return names;
}

auto find(std::vector<KernelName>& names, const KernelName& wanted) {
  return std::find_if(names.begin(), names.end(), [&](const KernelName& name) {
    return name.directory == wanted.directory && name.name == wanted.name;
  });
}

}  // namespace

bool KernelNames::forget(InodeId inode, std::uint64_t count) {
  const auto place = inodes_.find(inode);
  if (place == inodes_.end()) {
    return false;
  }
  place->second.lookups -= std::min(place->second.lookups, count);
  if (place->second.lookups > 0) {
    return false;
  }
  bytes_ -= place->second.names.size();
  inodes_.erase(place);
  return true;
}

std::uint64_t KernelNames::lookups(InodeId inode) const {
  const auto place = inodes_.find(inode);
  return place == inodes_.end() ? 0 : place->second.lookups;
}

bool KernelNames::give(InodeId inode, const KernelName& given) {
  DFS_ASSERT(given.name.size() <= kNameBytesMax);
  Known& known = inodes_[inode];
  std::vector<KernelName> names = unpacked(known.names);
  if (const auto place = find(names, given); place != names.end()) {
    if (place->has_time != given.has_time || place + 1 != names.end()) {
      place->has_time = given.has_time;
      std::rotate(place, place + 1, names.end());
      set_names(known, names);
    }
    return true;
  }
  if (bytes_ + kHeadBytes + given.name.size() > bytes_max_) {
    return false;
  }
  if (names.size() >= kNamesPerInode) {
    const auto without_time = std::find_if(names.begin(), names.end(),
                                           [](const KernelName& name) { return !name.has_time; });
    if (without_time == names.end()) {
      return false;
    }
    names.erase(without_time);
  }
  names.push_back(given);
  set_names(known, names);
  return true;
}

// What was given for no time, because it did not fit, is so under its new name, too.
void KernelNames::renamed(InodeId inode, const KernelName& from, const KernelName& to) {
  const auto known = inodes_.find(inode);
  if (known == inodes_.end()) {
    return;
  }
  std::vector<KernelName> names = unpacked(known->second.names);
  const auto moved = find(names, from);
  if (moved == names.end()) {
    return;
  }
  const bool has_time = moved->has_time;
  names.erase(moved);
  if (const auto before = find(names, to); before != names.end()) {
    names.erase(before);
  }
  names.push_back({.directory = to.directory, .name = to.name, .has_time = has_time});
  set_names(known->second, names);
}

std::vector<KernelName> KernelNames::names(InodeId inode) const {
  const auto place = inodes_.find(inode);
  return place == inodes_.end() ? std::vector<KernelName>{} : unpacked(place->second.names);
}

void KernelNames::set_names(Known& known, const std::vector<KernelName>& names) {
  bytes_ -= known.names.size();
  known.names.clear();
  for (const KernelName& name : names) {
    known.names += packed(name);
  }
  bytes_ += known.names.size();
}

}  // namespace dfs::fuse
