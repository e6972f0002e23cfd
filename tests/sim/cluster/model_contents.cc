#include "tests/sim/cluster/model_contents.h"

#include <algorithm>

namespace dfs::sim {
namespace {

std::string describe(std::uint64_t offset, const std::string& expected, const std::string& got) {
  const auto at = [offset](const std::string& bytes) {
    return offset < bytes.size()
               ? std::to_string(static_cast<int>(static_cast<unsigned char>(bytes[offset])))
               : std::string("nothing");
  };
  return "at byte " + std::to_string(offset) + " expected " + at(expected) + " got " + at(got) +
         " (sizes " + std::to_string(expected.size()) + " and " + std::to_string(got.size()) + ")";
}

void lay_over(std::string& bytes, std::uint64_t offset, const std::string& data) {
  if (bytes.size() < offset + data.size()) {
    bytes.resize(offset + data.size(), '\0');
  }
  bytes.replace(offset, data.size(), data);
}

}  // namespace

std::optional<std::string> first_difference(const std::string& expected, const std::string& got) {
  if (expected == got) {
    return std::nullopt;
  }
  const auto pair = std::mismatch(expected.begin(), expected.end(), got.begin(), got.end());
  return describe(static_cast<std::uint64_t>(pair.first - expected.begin()), expected, got);
}

void FileContents::begin_write(std::uint64_t offset, const std::string& data) {
  since_committed_.push_back({false, offset, data});
  since_durable_.push_back({false, offset, data});
}

void FileContents::finish_write(std::uint64_t offset, const std::string& data) {
  lay_over(now_, offset, data);
}

void FileContents::give_up_write() {
  since_committed_.pop_back();
  since_durable_.pop_back();
}

void FileContents::begin_truncate(std::uint64_t size_bytes) {
  cut_begun_ = size_bytes;
  since_committed_.push_back({true, size_bytes, {}});
  since_durable_.push_back({true, size_bytes, {}});
}

void FileContents::finish_truncate(std::uint64_t size_bytes) {
  cut_begun_.reset();
  now_.resize(size_bytes, '\0');
  // The master answered: what lay beyond is gone from the committed state and from the buffers.
  committed_.resize(size_bytes, '\0');
  std::vector<Change> kept;
  for (Change& change : since_committed_) {
    if (!change.is_truncate && change.offset < size_bytes) {
      change.data.resize(std::min<std::uint64_t>(change.data.size(), size_bytes - change.offset));
      kept.push_back(std::move(change));
    }
  }
  since_committed_ = std::move(kept);
}

void FileContents::synced() {
  committed_ = now_;
  durable_ = now_;
  cut_begun_.reset();
  since_committed_.clear();
  since_durable_.clear();
}

void FileContents::settle(const std::string& observed) {
  now_ = observed;
  synced();
}

std::optional<std::string> FileContents::mismatch(const std::string& observed, Loss loss) const {
  switch (loss) {
    case Loss::kNothing: return first_difference(now_, observed);
    case Loss::kAnswer: return unless_cut(observed);
    case Loss::kClient: return between(committed_, since_committed_, observed);
    case Loss::kMaster: return between(durable_, since_durable_, observed);
  }
  return "unknown loss";
}

// The contents as they were, or as the truncation under way makes them: never a mixture.
std::optional<std::string> FileContents::unless_cut(const std::string& observed) const {
  if (cut_begun_) {
    std::string cut = now_;
    cut.resize(*cut_begun_, '\0');
    if (observed == cut) {
      return std::nullopt;
    }
  }
  return first_difference(now_, observed);
}

std::optional<std::string> FileContents::between(const std::string& base,
                                                 const std::vector<Change>& changes,
                                                 const std::string& observed) {
  std::uint64_t size_min = base.size();
  std::uint64_t size_max = base.size();
  for (const Change& change : changes) {
    if (change.is_truncate) {
      size_min = std::min(size_min, change.offset);
      size_max = std::max(size_max, change.offset);
    } else {
      size_max = std::max(size_max, change.offset + change.data.size());
    }
  }
  if (observed.size() < size_min || observed.size() > size_max) {
    return "size " + std::to_string(observed.size()) + " is not in " + std::to_string(size_min) +
           " … " + std::to_string(size_max);
  }
  std::vector<bool> explained(observed.size());
  const auto explain = [&](std::uint64_t offset, const std::string& data) {
    const std::uint64_t end = std::min<std::uint64_t>(observed.size(), offset + data.size());
    for (std::uint64_t i = offset; i < end; ++i) {
      explained[i] = explained[i] || observed[i] == data[i - offset];
    }
  };
  explain(0, base);
  // Zeros: behind the old end, and behind every cut.
  for (std::uint64_t i = size_min; i < observed.size(); ++i) {
    explained[i] = explained[i] || observed[i] == '\0';
  }
  for (const Change& change : changes) {
    explain(change.offset, change.data);
  }
  const auto bad = std::find(explained.begin(), explained.end(), false);
  if (bad == explained.end()) {
    return std::nullopt;
  }
  return "no state since the last sure one explains it: " +
         describe(static_cast<std::uint64_t>(bad - explained.begin()), base, observed);
}

}  // namespace dfs::sim
