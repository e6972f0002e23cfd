#include "fuse-client/core/inode_cache.h"

#include <algorithm>
#include <limits>

#include "proto/limits.h"

namespace dfs::client {
namespace {

constexpr std::uint64_t kNoEnd = std::numeric_limits<std::uint64_t>::max();

std::uint64_t window_of(std::uint64_t offset) { return offset / kExtentWindowBytes; }
std::uint64_t window_begin(std::uint64_t window) { return window * kExtentWindowBytes; }

// What ExtentList relies on, of extents a peer sent.
bool are_sound(const std::vector<Extent>& extents) {
  std::uint64_t end = 0;
  for (const Extent& extent : extents) {
    if (!validate(extent) || extent.file_offset < end) {
      return false;
    }
    end = extent.end();
  }
  return true;
}

}  // namespace

// --- Learning ------------------------------------------------------------------------------------

bool InodeCache::is_overtaken(const Entry& entry, const Attributes& attributes,
                              const Told& told) const {
  const MonoTime sent_at = told.sent_at;
  // The master grants nothing before it was told that what its notices say is dropped: an answer
  // with a lease was made after that, whenever it was asked for.
  const MonoTime noticed_at = told.is_leased ? MonoTime::min() : entry.noticed_at;
  if (sent_at < std::max({entry.valid_from, noticed_at, all_valid_from_})) {
    return true;
  }
  if (!entry.is_known) {
    return false;
  }
  const bool is_older = attributes.data_version < entry.attributes.data_version;
  return (is_older && sent_at <= entry.received_at) ||
         (attributes.data_version == entry.attributes.data_version && sent_at < entry.fetched_at);
}

void InodeCache::take(Entry& entry, const Attributes& attributes, const Told& told) {
  const bool is_other_data =
      !entry.is_known || entry.attributes.data_version != attributes.data_version;
  if (is_other_data) {
    clear_windows(entry);
  }
  entry.attributes = attributes;
  entry.is_known = true;
  entry.fetched_at = told.sent_at;
  entry.received_at = scheduler_.now();
  note_told(entry, attributes.inode, told);
  if (attributes.size_bytes == 0) {
    entry.is_complete = true;
  }
  if (std::exchange(entry.are_pages_dropped, false) && entry.pages_version != 0) {
    entry.pages_version = attributes.data_version;
  } else if (is_other_data) {
    pages_changed(entry, attributes.inode);
  }
}

void InodeCache::learn(const Attributes& attributes, const Told& told) {
  Entry& entry = touch(attributes.inode);
  if (!is_overtaken(entry, attributes, told)) {
    take(entry, attributes, told);
  }
  evict(attributes.inode);
}

void InodeCache::learn_entry(const EntryReply& reply, const Told& told) {
  learn(reply.attributes, told);
  if (!reply.has_extents || !are_sound(reply.extents)) {
    return;  // they were a gift; the reader asks
  }
  learn_locations(reply.locations);
  Entry& entry = touch(reply.attributes.inode);
  if (entry.is_known && entry.attributes.data_version == reply.attributes.data_version &&
      !entry.is_complete) {
    clear_windows(entry);
    entry.is_complete = set_windows(entry, reply.extents, 0, reply.attributes.size_bytes);
    evict(reply.attributes.inode);
  }
}

Status InodeCache::learn_extents(const GetExtentsReply& reply, std::uint64_t offset,
                                 const Told& told) {
  if (!are_sound(reply.extents)) {
    return make_error(ErrorCode::kBadMessage, "extents out of order or out of bounds");
  }
  learn(reply.attributes, told);
  learn_locations(reply.locations);
  Entry& entry = touch(reply.attributes.inode);
  if (!entry.is_known || entry.attributes.data_version != reply.attributes.data_version) {
    return ok();  // overtaken: the reader asks again
  }
  const bool reaches_end = reply.covered_end >= reply.attributes.size_bytes;
  // A window that begins before the end of the file is known up to its own end then.
  const std::uint64_t end =
      reaches_end ? window_begin(window_of(reply.attributes.size_bytes) + 1) : reply.covered_end;
  if (!entry.is_complete) {
    set_windows(entry, reply.extents, offset, end);
    evict(reply.attributes.inode);
  }
  return ok();
}

void InodeCache::take_own(Entry& entry, const Attributes& attributes, const Told& told) {
  // The kernel saw this client's change as it was made.
  if (entry.pages_version == entry.attributes.data_version) {
    entry.pages_version = attributes.data_version;
  }
  entry.attributes = attributes;
  entry.fetched_at = told.sent_at;
  entry.received_at = scheduler_.now();
  note_told(entry, attributes.inode, told);
}

void InodeCache::learn_change(const Attributes& attributes, std::uint64_t version_before,
                              const Told& told) {
  Entry& entry = touch(attributes.inode);
  const bool is_next = entry.is_known && version_before != 0 &&
                       entry.attributes.data_version == version_before &&
                       attributes.data_version > version_before;
  if (!is_next) {
    learn(attributes, told);
    return;
  }
  cut_windows(entry, attributes.size_bytes);
  take_own(entry, attributes, told);
  if (attributes.size_bytes == 0) {
    entry.is_complete = true;
  }
}

void InodeCache::learn_changed(const Attributes& attributes, const Told& told) {
  Entry& entry = touch(attributes.inode);
  const bool is_newer = !entry.is_known || attributes.data_version > entry.attributes.data_version;
  const bool is_older = entry.is_known && attributes.data_version < entry.attributes.data_version;
  if (told.sent_at < all_valid_from_ ||
      (!is_newer && !is_older && is_overtaken(entry, attributes, told))) {
    expire(attributes.inode);
    return;
  }
  // Changes of several calls may be answered in another order than they were made in.
  if (!is_older) {
    take(entry, attributes, told);
  }
  entry.valid_from = scheduler_.now();
  evict(attributes.inode);
}

MonoTime InodeCache::latest_question(const Entry& entry) const {
  return std::max({entry.fetched_at, entry.valid_from, entry.noticed_at, all_valid_from_});
}

void InodeCache::learn_commit(const FileCommitResult& result, const std::vector<Extent>& extents,
                              const std::vector<ChunkLocation>& locations, bool is_leased) {
  const Attributes& attributes = result.attributes;
  learn_locations(locations);
  Entry& entry = touch(attributes.inode);
  const bool is_next = entry.is_known && result.data_version_before != 0 &&
                       entry.attributes.data_version == result.data_version_before &&
                       attributes.data_version > result.data_version_before;
  if (!is_next) {
    // When it was sent is not known here: certainly not before the last answer that mattered.
    learn(attributes, {latest_question(entry), is_leased});
    return;
  }
  for (const Extent& extent : extents) {
    insert(entry, extent);
  }
  take_own(entry, attributes, {latest_question(entry), is_leased});
  evict(attributes.inode);
}

bool InodeCache::is_outdated_by(const Attributes& answered) const {
  const Attributes* known = attributes(answered.inode);
  return known == nullptr ||
         (!is_fresh(answered.inode) &&
          (answered.data_version > known->data_version ||
           (answered.data_version == known->data_version && answered.ctime >= known->ctime)));
}

void InodeCache::note_told(Entry& entry, InodeId inode, const Told& told) {
  if (told.is_settled) {
    entry.data_at = std::max(entry.data_at, told.sent_at);
  }
  entry.is_leased = told.is_leased;
  if (told.is_leased) {
    leases_.insert(inode);
  }
}

void InodeCache::end_lease(InodeId inode) {
  leases_.erase(inode);
  expire_by_notice(inode);
  const auto left = entries_.find(inode);
  if (left != entries_.end()) {
    clear_windows(left->second);
    note_dropped_pages(left->second);
  }
}

void InodeCache::begin_ending_lease(InodeId inode) {
  expire_by_notice(inode);
  const auto left = entries_.find(inode);
  if (left != entries_.end()) {
    clear_windows(left->second);
    note_dropped_pages(left->second);
  }
}

void InodeCache::note_dropped_pages(Entry& entry) {
  // Pages of a file that is not open are dropped when it is opened.
  entry.are_pages_dropped = entry.hold_count > 0;
}

void InodeCache::end_all_leases() {
  leases_.clear();
  expire_all();
}

void InodeCache::expire(InodeId inode) {
  Entry& entry = touch(inode);
  entry.valid_from = scheduler_.now();
  make_old(entry);
  evict(inode);
}

void InodeCache::expire_by_notice(InodeId inode) {
  const auto place = entries_.find(inode);
  if (place != entries_.end()) {
    place->second.noticed_at = scheduler_.now();
    make_old(place->second);
  }
}

void InodeCache::make_old(Entry& entry) {
  entry.is_leased = false;
  entry.fetched_at = MonoTime::min();
  entry.data_at = MonoTime::min();
}

void InodeCache::expire_if_known(InodeId inode) {
  if (entries_.contains(inode)) {
    expire(inode);
  }
}

void InodeCache::drop_extents(InodeId inode) {
  expire(inode);
  const auto place = entries_.find(inode);
  if (place != entries_.end()) {
    for (const auto& [window, list] : place->second.windows) {
      for (const Extent& extent : list.extents()) {
        const auto location = locations_.find(extent.chunk);
        if (location != locations_.end()) {
          location_ages_.erase(location->second.age);
          locations_.erase(location);
        }
      }
    }
    clear_windows(place->second);
  }
}

void InodeCache::erase(InodeId inode) {
  const auto place = entries_.find(inode);
  if (place == entries_.end()) {
    return;
  }
  if (place->second.hold_count == 0) {
    remove(place);
    return;
  }
  expire(inode);
  clear_windows(place->second);
}

void InodeCache::directory_removed(InodeId inode) {
  if (events_.is_in_kernel(inode)) {
    expire_if_known(inode);
  } else {
    erase(inode);
  }
}

void InodeCache::expire_all() {
  all_valid_from_ = scheduler_.now();
  std::vector<InodeId> held;
  for (auto place = entries_.begin(); place != entries_.end();) {
    const auto next = std::next(place);
    if (place->second.hold_count == 0) {
      remove(place);
    } else {
      held.push_back(place->first);
      Entry& entry = place->second;
      clear_windows(entry);
      entry.is_known = false;
      entry.is_leased = false;
      entry.valid_from = scheduler_.now();
      entry.fetched_at = entry.data_at = MonoTime::min();
    }
    place = next;
  }
  for (const InodeId inode : held) {
    pages_changed(entries_.at(inode), inode);
  }
}

void InodeCache::forget(InodeId inode) {
  const auto place = entries_.find(inode);
  if (place == entries_.end()) {
    leave_lease(inode);
  } else if (!place->second.is_leased && place->second.hold_count == 0) {
    remove(place);
    leave_lease(inode);
  }
}

void InodeCache::pages_changed(Entry& entry, InodeId inode) {
  const bool had_pages = entry.pages_version != 0 &&
                         (!entry.is_known || entry.pages_version != entry.attributes.data_version);
  if (!had_pages) {
    return;
  }
  if (entry.hold_count == 0) {
    entry.pages_version = 0;
    return;
  }
  // The kernel drops them now and may cache what it reads next.
  entry.pages_version = entry.is_known ? entry.attributes.data_version : 0;
  events_.changed(inode);
}

// --- What is known -------------------------------------------------------------------------------

const InodeCache::Entry* InodeCache::find(InodeId inode) const {
  const auto place = entries_.find(inode);
  return place == entries_.end() || !place->second.is_known ? nullptr : &place->second;
}

const Attributes* InodeCache::attributes(InodeId inode) const {
  const Entry* entry = find(inode);
  return entry == nullptr ? nullptr : &entry->attributes;
}

std::optional<Attributes> InodeCache::removed_directory(InodeId inode) const {
  const Entry* entry = find(inode);
  const bool is_in_use = entry != nullptr && (entry->hold_count > 0 || events_.is_in_kernel(inode));
  if (!is_in_use || !entry->attributes.is_directory()) {
    return std::nullopt;
  }
  Attributes removed = entry->attributes;
  removed.link_count = 0;
  return removed;
}

bool InodeCache::is_fresh(InodeId inode) const {
  const Entry* entry = find(inode);
  return entry != nullptr && entry->is_leased && term_.holds();
}

bool InodeCache::is_data_as_of(InodeId inode, MonoTime since) const {
  const Entry* entry = find(inode);
  return entry != nullptr && entry->data_at >= since;
}

std::uint64_t InodeCache::known_until(InodeId inode, std::uint64_t begin, std::uint64_t end) const {
  const Entry* entry = find(inode);
  if (entry == nullptr) {
    return begin;
  }
  if (entry->is_complete) {
    return end;
  }
  for (std::uint64_t at = begin; at < end; at = window_begin(window_of(at) + 1)) {
    if (!entry->windows.contains(window_of(at))) {
      return window_begin(window_of(at));
    }
  }
  return end;
}

std::optional<std::vector<Extent>> InodeCache::extents(InodeId inode, std::uint64_t begin,
                                                       std::uint64_t end) const {
  if (begin < end && known_until(inode, begin, end) < end) {
    return std::nullopt;
  }
  std::vector<Extent> found;
  const Entry* entry = find(inode);
  if (entry == nullptr || begin >= end) {
    return found;
  }
  for (auto window = entry->windows.lower_bound(window_of(begin));
       window != entry->windows.end() && window_begin(window->first) < end; ++window) {
    const std::vector<Extent> pieces = window->second.find(begin, end);
    found.insert(found.end(), pieces.begin(), pieces.end());
  }
  return found;
}

const ChunkLocation* InodeCache::location(ChunkId chunk) const {
  const auto place = locations_.find(chunk);
  return place == locations_.end() ? nullptr : &place->second.where;
}

// --- Open inodes ---------------------------------------------------------------------------------

void InodeCache::hold(InodeId inode) {
  Entry& entry = touch(inode);
  if (entry.hold_count++ == 0) {
    idle_.erase(entry.lru);
  }
}

void InodeCache::release(InodeId inode) {
  Entry& entry = entries_.at(inode);
  DFS_ASSERT(entry.hold_count > 0);
  if (--entry.hold_count == 0) {
    entry.lru = idle_.insert(idle_.end(), inode);
    evict(inode);
  }
}

bool InodeCache::is_held(InodeId inode) const {
  const auto place = entries_.find(inode);
  return place != entries_.end() && place->second.hold_count > 0;
}

bool InodeCache::pages_are_current(InodeId inode) {
  Entry& entry = entries_.at(inode);
  DFS_ASSERT(entry.is_known);
  return std::exchange(entry.pages_version, entry.attributes.data_version) ==
         entry.attributes.data_version;
}

// --- Windows -------------------------------------------------------------------------------------

void InodeCache::clear_windows(Entry& entry) {
  for (const auto& [window, list] : entry.windows) {
    extent_count_ -= list.size();
  }
  entry.windows.clear();
  entry.is_complete = false;
}

void InodeCache::insert(Entry& entry, const Extent& extent) {
  for (std::uint64_t at = extent.file_offset; at < extent.end();
       at = window_begin(window_of(at) + 1)) {
    const auto known = entry.windows.find(window_of(at));
    if (known == entry.windows.end() && !entry.is_complete) {
      continue;
    }
    ExtentList& list = known == entry.windows.end() ? entry.windows[window_of(at)] : known->second;
    extent_count_ -= list.size();
    list.insert(clip(extent, at, window_begin(window_of(at) + 1)));
    extent_count_ += list.size();
  }
}

bool InodeCache::set_windows(Entry& entry, const std::vector<Extent>& extents, std::uint64_t begin,
                             std::uint64_t end) {
  if (extents.size() > limits_.extents_max) {
    return false;
  }
  if (extent_count_ + extents.size() > limits_.extents_max) {
    // Make room within this inode first: the reader needs what it just asked for.
    const bool was_complete = entry.is_complete;
    clear_windows(entry);
    DFS_ASSERT(!was_complete);
  }
  for (std::uint64_t at = begin; at < end; at = window_begin(window_of(at) + 1)) {
    const std::uint64_t until = window_begin(window_of(at) + 1);
    std::vector<Extent> pieces;
    const auto first = std::partition_point(
        extents.begin(), extents.end(), [at](const Extent& extent) { return extent.end() <= at; });
    for (auto extent = first; extent != extents.end() && extent->file_offset < until; ++extent) {
      pieces.push_back(clip(*extent, at, until));
    }
    ExtentList& list = entry.windows[window_of(at)];
    extent_count_ -= list.size();
    list = ExtentList(std::move(pieces));
    extent_count_ += list.size();
  }
  return true;
}

void InodeCache::cut_windows(Entry& entry, std::uint64_t size_bytes) {
  for (auto window = entry.windows.lower_bound(window_of(size_bytes));
       window != entry.windows.end();) {
    extent_count_ -= window->second.size();
    window->second.remove(size_bytes, kNoEnd);
    extent_count_ += window->second.size();
    window = window->second.empty() && entry.is_complete ? entry.windows.erase(window)
                                                         : std::next(window);
  }
}

void InodeCache::learn_locations(const std::vector<ChunkLocation>& locations) {
  for (const ChunkLocation& where : locations) {
    if (where.nodes.size() != where.addresses.size()) {
      continue;  // not to be used; without a location the reader asks again and then says so
    }
    const auto [place, is_new] = locations_.try_emplace(where.chunk);
    if (!is_new) {
      location_ages_.erase(place->second.age);
    }
    place->second.where = where;
    place->second.age = location_ages_.insert(location_ages_.end(), where.chunk);
  }
  while (locations_.size() > limits_.locations_max) {
    locations_.erase(location_ages_.front());
    location_ages_.pop_front();
  }
}

// --- Bounds --------------------------------------------------------------------------------------

InodeCache::Entry& InodeCache::touch(InodeId inode) {
  const auto [place, is_new] = entries_.try_emplace(inode);
  Entry& entry = place->second;
  if (is_new) {
    entry.lru = idle_.insert(idle_.end(), inode);
  } else if (entry.hold_count == 0) {
    idle_.splice(idle_.end(), idle_, entry.lru);
  }
  return entry;
}

void InodeCache::evict(InodeId keep) {
  while (entries_.size() > limits_.inodes_max && !idle_.empty() && idle_.front() != keep) {
    remove(entries_.find(idle_.front()));
  }
  if (extent_count_ <= limits_.extents_max) {
    return;
  }
  for (auto& [inode, entry] : entries_) {
    if (inode != keep) {
      clear_windows(entry);
    }
  }
  if (extent_count_ > limits_.extents_max) {
    clear_windows(entries_.at(keep));
  }
}

void InodeCache::remove(Entries::iterator place) {
  DFS_ASSERT(place->second.hold_count == 0);
  const InodeId inode = place->first;
  clear_windows(place->second);
  idle_.erase(place->second.lru);
  entries_.erase(place);
  if (!events_.is_in_kernel(inode)) {
    leave_lease(inode);
  }
}

void InodeCache::leave_lease(InodeId inode) {
  leases_.erase(inode);
  events_.lease_left(inode);
}

}  // namespace dfs::client
