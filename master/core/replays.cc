#include "master/core/replays.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <tuple>
#include <utility>

#include "master/core/dispatch.h"
#include "proto/limits.h"

namespace dfs::master {
namespace {

constexpr std::uint32_t kPagesMax = 2 * kReplayBytesMax / kReplayPageBytes;

Result<RpcRequest> decode_change(SessionId session, const std::string& encoded) {
  RpcRequest request;
  request.head = Buffer::copy_of(encoded);
  DFS_TRY(DecodedHead head, decode_head(request.head.bytes()));
  request.envelope = std::move(head.envelope);
  request.body = head.body;
  const Envelope& envelope = request.envelope;
  const Operation* operation = find_operation(envelope.type);
  if (operation == nullptr || operation->effect != Effect::kOnce || envelope.session != session ||
      envelope.sequence == 0 || envelope.stamp.index == 0) {
    return make_error(ErrorCode::kBadMessage, "a replayed change is none of this session's");
  }
  return request;
}

}  // namespace

bool Replays::waits_for(SessionId session) const {
  const auto told = told_.find(session);
  return told != told_.end() && !told->second.is_all();
}

bool Replays::is_complete() const {
  return std::all_of(told_.begin(), told_.end(),
                     [](const auto& each) { return each.second.is_all(); });
}

Status Replays::add(SessionId session, const ReplayChangesRequest& page) {
  const auto place = told_.find(session);
  if (page.incarnation != incarnation_ || place == told_.end()) {
    return ok();
  }
  Told& told = place->second;
  if (page.pages == 0 || page.pages > kPagesMax || page.page >= page.pages ||
      (told.pages_expected != 0 && told.pages_expected != page.pages)) {
    return make_error(ErrorCode::kBadMessage, "a replay of impossible pages");
  }
  if (told.pages.contains(page.page)) {
    return ok();
  }
  std::vector<RpcRequest> changes;
  std::size_t size_bytes = 0;
  for (const std::string& encoded : page.changes) {
    DFS_TRY(RpcRequest change, decode_change(session, encoded));
    size_bytes += encoded.size();
    changes.push_back(std::move(change));
  }
  if (told.size_bytes + size_bytes > kReplayBytesMax) {
    return make_error(ErrorCode::kTooLarge, "a session replays too much");
  }
  told.pages.insert(page.page);
  told.pages_expected = page.pages;
  told.size_bytes += size_bytes;
  std::move(changes.begin(), changes.end(), std::back_inserter(told.changes));
  return ok();
}

std::vector<RpcRequest> Replays::take() {
  std::vector<RpcRequest> all;
  for (auto& [session, told] : std::exchange(told_, {})) {
    std::move(told.changes.begin(), told.changes.end(), std::back_inserter(all));
  }
  std::sort(all.begin(), all.end(), [](const RpcRequest& left, const RpcRequest& right) {
    const auto place = [](const Envelope& envelope) {
      return std::tuple(envelope.stamp.index, envelope.session, envelope.sequence);
    };
    return place(left.envelope) < place(right.envelope);
  });
  return all;
}

}  // namespace dfs::master
