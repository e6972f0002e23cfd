#include "master/core/metadata_check.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "common/assert.h"
#include "master/core/chunk_manager.h"
#include "master/core/xattr_rows.h"

namespace dfs::master {

Result<CheckMetadataReply> MetadataCheck::next(OpContext& context, const std::string& asked) {
  if (asked.empty()) {
    begin(context);
  } else if (id_ != 0 && asked == answered_) {
    return answer_;
  } else if (id_ == 0 || asked != cursor()) {
    return make_error(ErrorCode::kStale, "the check was ended by another one or by a restart");
  }
  answer_ = CheckMetadataReply{};
  DFS_CHECK_OK(run_slice(context));
  ++slice_;
  answered_ = asked;
  answer_.cursor = step_ == Step::kDone ? std::string{} : cursor();
  return answer_;
}

void MetadataCheck::chunk_changed(ChunkId chunk) {
  const bool sums_chunks =
      step_ == Step::kContents || step_ == Step::kCutOff || step_ == Step::kChunks;
  if (sums_chunks && chunk.value >= range_first_ &&
      chunk.value - range_first_ < live_bytes_.size()) {
    changed_.insert(chunk.value);
  }
}

void MetadataCheck::begin(OpContext& context) {
  *this = MetadataCheck{};
  id_ = context.chunks.world().random.next_u64() | 1;
  step_ = Step::kEntries;
}

std::string MetadataCheck::cursor() const {
  return std::to_string(id_) + ":" + std::to_string(slice_);
}

Status MetadataCheck::run_slice(OpContext& context) {
  switch (step_) {
    case Step::kEntries: return check_entries(context);
    case Step::kInodes: return check_inodes(context);
    case Step::kContents: return check_contents(context);
    case Step::kCutOff: return check_cut_off(context);
    case Step::kChunks: return check_chunks(context);
    case Step::kDone: return ok();
  }
  return ok();
}

void MetadataCheck::report(InodeId inode, ChunkId chunk, std::string problem) {
  if (answer_.problems.size() < kCheckProblemsPerSlice) {
    answer_.problems.push_back({inode, chunk, std::move(problem)});
  }
}

// Leads to pass 2 when there is no further inode.
Status MetadataCheck::begin_inode_range(OpContext& context) {
  DFS_TRY(const auto inodes, context.store.scan_inodes(InodeId{range_first_ - 1}, 1));
  if (inodes.empty()) {
    names_ = {};
    subdirs_ = {};
    range_first_ = 1;
    is_first_range_ = true;
    return begin_chunk_range(context);
  }
  range_first_ = inodes.front().attributes.inode.value;
  DFS_TRY(const std::uint64_t end, context.store.counter(Counter::kNextInode));
  // What is made later is not looked at.
  const std::uint64_t size = std::clamp<std::uint64_t>(end > range_first_ ? end - range_first_ : 1,
                                                       1, kCheckInodesPerRange);
  names_.assign(size, 0);
  subdirs_.assign(size, 0);
  range_begun_ = context.now;
  entry_parent_ = InodeId{};
  entry_cookie_ = 0;
  inode_after_ = InodeId{range_first_ - 1};
  step_ = Step::kEntries;
  return ok();
}

Status MetadataCheck::check_entries(OpContext& context) {
  if (names_.empty()) {
    DFS_CHECK_OK(begin_inode_range(context));
    if (step_ != Step::kEntries) {
      return ok();
    }
  }
  DFS_TRY(const auto entries,
          context.store.scan_entries(entry_parent_, entry_cookie_, kCheckRowsPerSlice));
  for (const EntryRow& entry : entries) {
    DFS_CHECK_OK(check_entry(context, entry));
    entry_parent_ = entry.parent;
    entry_cookie_ = entry.cookie;
  }
  answer_.rows_checked += is_first_range_ ? entries.size() : 0;
  if (entries.size() < kCheckRowsPerSlice) {
    step_ = Step::kInodes;
  }
  return ok();
}

Status MetadataCheck::check_entry(OpContext& context, const EntryRow& entry) {
  const auto index_of = [this](InodeId inode) -> std::optional<std::size_t> {
    const bool is_inside =
        inode.value >= range_first_ && inode.value - range_first_ < names_.size();
    return is_inside ? std::optional<std::size_t>(inode.value - range_first_) : std::nullopt;
  };
  const auto name_index = index_of(entry.inode);
  const auto parent_index = index_of(entry.parent);
  if (!is_first_range_ && !name_index && !parent_index) {
    return ok();
  }
  DFS_TRY(const auto inode, context.store.inode(entry.inode));
  if (!inode) {
    if (is_first_range_) {
      report(entry.inode, ChunkId{},
             "an entry of directory " + std::to_string(entry.parent.value) +
                 " names an inode that does not exist");
    }
    return ok();
  }
  if (is_first_range_ && entry.parent != entry_parent_) {
    DFS_TRY(const auto parent, context.store.inode(entry.parent));
    if (!parent || !parent->attributes.is_directory()) {
      report(entry.parent, ChunkId{}, "has entries but is not a directory");
    }
  }
  if (name_index) {
    ++names_[*name_index];
  }
  if (parent_index && inode->attributes.is_directory()) {
    ++subdirs_[*parent_index];
  }
  return ok();
}

Status MetadataCheck::check_inodes(OpContext& context) {
  DFS_TRY(const auto inodes, context.store.scan_inodes(inode_after_, kCheckRowsPerSlice));
  bool is_over = inodes.size() < kCheckRowsPerSlice;
  for (const InodeRow& inode : inodes) {
    inode_after_ = inode.attributes.inode;
    if (inode_after_.value - range_first_ >= names_.size()) {
      is_over = true;
      break;
    }
    ++answer_.rows_checked;
    DFS_CHECK_OK(check_xattrs(context, inode));
    if (inode.attributes.ctime < range_begun_) {
      DFS_CHECK_OK(check_link_count(context, inode));
    }
  }
  if (is_over) {
    range_first_ += names_.size();
    is_first_range_ = false;
    return begin_inode_range(context);
  }
  return ok();
}

Status MetadataCheck::check_link_count(OpContext& context, const InodeRow& inode) {
  const Attributes& attributes = inode.attributes;
  const std::uint32_t names = names_[attributes.inode.value - range_first_];
  const std::uint32_t subdirs = subdirs_[attributes.inode.value - range_first_];
  std::uint32_t names_expected = attributes.link_count;
  std::uint32_t links_expected = names;
  if (attributes.is_directory() && attributes.link_count > 0) {
    names_expected = attributes.inode == kRootInode ? 0 : 1;
    links_expected = 2 + subdirs;
  }
  if (names != names_expected) {
    report(attributes.inode, ChunkId{},
           "has " + std::to_string(names) + " names, not " + std::to_string(names_expected));
  } else if (attributes.link_count != links_expected) {
    report(attributes.inode, ChunkId{},
           "has link count " + std::to_string(attributes.link_count) + ", not " +
               std::to_string(links_expected));
  }
  return attributes.link_count == 0 ? check_is_orphan(context, attributes.inode) : ok();
}

Status MetadataCheck::check_xattrs(OpContext& context, const InodeRow& inode) {
  const Attributes& attributes = inode.attributes;
  DFS_TRY(const std::vector<std::string> names, context.store.xattr_names(attributes.inode));
  if (attributes.xattr_kinds != xattr_kinds(names)) {
    report(attributes.inode, ChunkId{},
           "has other extended attributes than its row says: some cannot be seen");
    return ok();
  }
  for (const std::string_view name : {kAccessAclName, kDefaultAclName}) {
    const auto acl = stored_acl(context, inode, name);
    if (!acl && acl.code() != ErrorCode::kCorrupt) {
      return acl.error();
    }
    const bool is_wrong = !acl || (name == kAccessAclName && !acl->is_empty() &&
                                   acl->permissions() != (attributes.mode & kModeAccess));
    if (is_wrong) {
      report(attributes.inode, ChunkId{},
             std::string(name) + " is damaged or differs from the permission bits");
    }
  }
  return ok();
}

Status MetadataCheck::check_is_orphan(OpContext& context, InodeId inode) {
  DFS_TRY(const auto orphans, context.store.scan_orphans(InodeId{inode.value - 1}, 1));
  if (orphans.empty() || orphans.front().inode != inode) {
    report(inode, ChunkId{}, "has no name and is not an orphan: it will never be freed");
  }
  return ok();
}

}  // namespace dfs::master
