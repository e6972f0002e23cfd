#include "common/cluster_tag.h"

#include <charconv>

namespace dfs {
namespace {

constexpr std::size_t kIdDigits = 32;
constexpr int kHex = 16;

}  // namespace

ClusterTag cluster_tag(std::string_view cluster_id) {
  if (cluster_id.size() != kIdDigits) {
    return {};
  }
  const std::string_view half = cluster_id.substr(0, kIdDigits / 2);
  ClusterTag tag;
  const auto [end, error] =
      std::from_chars(half.data(), half.data() + half.size(), tag.value, kHex);
  return error == std::errc() && end == half.data() + half.size() ? tag : ClusterTag{};
}

}  // namespace dfs
