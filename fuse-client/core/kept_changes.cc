#include "fuse-client/core/kept_changes.h"

#include <string>

#include "common/assert.h"
#include "proto/limits.h"

namespace dfs::client {

void KeptChanges::add(KeptChange change) {
  DFS_ASSERT(change.stamp.index > 0 && change.request != nullptr);
  const std::uint64_t index = change.stamp.index;
  changes_.insert_or_assign(index, std::move(change));
}

std::vector<std::uint64_t> KeptChanges::settle(std::uint64_t durable_index) {
  std::vector<std::uint64_t> sequences;
  while (!changes_.empty() && changes_.begin()->first <= durable_index) {
    sequences.push_back(changes_.begin()->second.sequence);
    changes_.erase(changes_.begin());
  }
  return sequences;
}

// Answers come nearly in the order of the indices, so the first is as good as the oldest.
MonoTime KeptChanges::oldest() const {
  DFS_ASSERT(!changes_.empty());
  return changes_.begin()->second.answered;
}

std::vector<KeptChange> KeptChanges::all() const {
  std::vector<KeptChange> changes;
  for (const auto& [index, change] : changes_) {
    changes.push_back(change);
  }
  return changes;
}

std::vector<KeptChanges::Page> KeptChanges::pages(SessionId session,
                                                  std::uint64_t incarnation) const {
  std::vector<Page> pages(1);
  std::size_t page_bytes = 0;
  for (const auto& [index, change] : changes_) {
    Envelope envelope;
    envelope.version = kProtocolVersion;
    envelope.type = change.request->type();
    envelope.session = session;
    envelope.sequence = change.sequence;
    envelope.stamp = change.stamp;
    std::string encoded(change.request->encode(envelope).text());
    if (page_bytes >= kReplayPageBytes) {
      pages.emplace_back();
      page_bytes = 0;
    }
    page_bytes += encoded.size();
    pages.back().request.changes.push_back(std::move(encoded));
    pages.back().changes.push_back(change);
  }
  for (std::size_t i = 0; i < pages.size(); ++i) {
    pages[i].request.incarnation = incarnation;
    pages[i].request.page = static_cast<std::uint32_t>(i);
    pages[i].request.pages = static_cast<std::uint32_t>(pages.size());
  }
  return pages;
}

}  // namespace dfs::client
