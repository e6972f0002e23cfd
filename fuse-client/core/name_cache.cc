#include "fuse-client/core/name_cache.h"

#include <algorithm>

namespace dfs::client {

NameCache::Directory& NameCache::touch(InodeId id) {
  const auto [place, is_new] = directories_.try_emplace(id);
  Directory& directory = place->second;
  if (is_new) {
    directory.age = ages_.insert(ages_.end(), id);
    directory.valid_from = all_valid_from_;
  } else {
    ages_.splice(ages_.end(), ages_, directory.age);
  }
  return directory;
}

std::pair<NameCache::Answer, InodeId> NameCache::find(InodeId id, const std::string& name) {
  const auto place = directories_.find(id);
  if (place == directories_.end()) {
    return {Answer::kUnknown, InodeId{}};
  }
  const Directory& directory = touch(id);
  const auto known = directory.names.find(name);
  if (known != directory.names.end()) {
    return {Answer::kPresent, known->second};
  }
  return {directory.is_whole ? Answer::kAbsent : Answer::kUnknown, InodeId{}};
}

void NameCache::put(Directory& directory, const std::string& name, InodeId inode) {
  if (directory.names.insert_or_assign(name, inode).second) {
    ++name_count_;
  }
}

void NameCache::learn(InodeId id, const std::string& name, InodeId inode, const Told& told) {
  if (!told.is_leased) {
    return;
  }
  Directory& directory = touch(id);
  if (told.sent_at >= directory.valid_from) {
    put(directory, name, inode);
    evict(id);
  }
}

void NameCache::learn_page(InodeId id, std::uint64_t cookie, const ReadDirectoryReply& page,
                           const Told& told) {
  Directory& directory = touch(id);
  const bool counts = told.is_leased && told.sent_at >= directory.valid_from;
  if (!counts) {
    directory.next_cookie.reset();
    return;
  }
  const bool goes_on = cookie == 0 || directory.next_cookie == cookie;
  for (const DirectoryEntry& entry : page.entries) {
    put(directory, entry.name, entry.attributes.inode);
  }
  directory.next_cookie.reset();
  if (goes_on && page.end) {
    directory.is_whole = true;
  } else if (goes_on && !page.entries.empty()) {
    directory.next_cookie = page.entries.back().cookie;
  }
  evict(id);
}

void NameCache::learn_new_directory(InodeId id) {
  Directory& directory = touch(id);
  directory.is_whole = directory.names.empty();
}

bool NameCache::is_overtaken(InodeId id, const std::string& name, MonoTime sent_at) {
  if (newer_answers_.size() >= kAnsweredChangesMax / 2) {
    older_answers_ = std::exchange(newer_answers_, {});
    forgotten_until_ = std::exchange(newer_from_, scheduler_.now());
  }
  const std::pair change{id, name};
  const auto older = older_answers_.find(change);
  const MonoTime last = older == older_answers_.end() ? forgotten_until_ : older->second;
  const auto place = newer_answers_.try_emplace(change, last).first;
  return sent_at < std::exchange(place->second, scheduler_.now());
}

void NameCache::changed(InodeId id, const std::string& name, InodeId inode, const Told& told) {
  if (is_overtaken(id, name, told.sent_at) || !told.is_leased) {
    forget_name(id, name);
    return;
  }
  Directory& directory = touch(id);
  directory.valid_from = scheduler_.now();
  // A listing under way may have passed the place of a name that is new, and will not of one that
  // is gone: it shows the latter as it was before.
  directory.next_cookie.reset();
  if (inode.is_set()) {
    put(directory, name, inode);
    evict(id);
  } else {
    name_count_ -= directory.names.erase(name);
  }
}

void NameCache::forget_name(InodeId id, const std::string& name) {
  Directory& directory = touch(id);
  directory.valid_from = scheduler_.now();
  directory.is_whole = false;
  directory.next_cookie.reset();
  name_count_ -= directory.names.erase(name);
}

void NameCache::forget(InodeId id) {
  const auto place = directories_.find(id);
  if (place == directories_.end()) {
    return;
  }
  name_count_ -= place->second.names.size();
  ages_.erase(place->second.age);
  directories_.erase(place);
  // Answers on their way are about a directory that is not remembered to have changed.
  all_valid_from_ = scheduler_.now();
}

void NameCache::clear() {
  directories_.clear();
  ages_.clear();
  name_count_ = 0;
  all_valid_from_ = scheduler_.now();
}

void NameCache::evict(InodeId keep) {
  while (name_count_ > names_max_ && ages_.front() != keep) {
    forget(ages_.front());
  }
  if (name_count_ > names_max_) {
    forget(keep);  // one directory that is larger than all may be
  }
}

}  // namespace dfs::client
