#include "common/real/units.h"

#include <charconv>
#include <limits>
#include <span>
#include <string_view>
#include <utility>

namespace dfs::real {
namespace {

struct UnitName {
  std::string_view name;
  std::uint64_t factor;
};

constexpr std::uint64_t kKibi = 1024;
// The first of each factor is the one to print; larger factors come later.
constexpr UnitName kSizeUnits[] = {
    {"", 1},
    {"B", 1},
    {"kB", 1000},
    {"KB", 1000},
    {"KiB", kKibi},
    {"K", kKibi},
    {"k", kKibi},
    {"MB", 1000 * 1000},
    {"MiB", kKibi* kKibi},
    {"M", kKibi* kKibi},
    {"m", kKibi* kKibi},
    {"GB", 1000 * 1000 * 1000},
    {"GiB", kKibi* kKibi* kKibi},
    {"G", kKibi* kKibi* kKibi},
    {"g", kKibi* kKibi* kKibi},
    {"TB", 1000ull * 1000 * 1000 * 1000},
    {"TiB", kKibi* kKibi* kKibi* kKibi},
    {"T", kKibi* kKibi* kKibi* kKibi},
    {"t", kKibi* kKibi* kKibi* kKibi},
};
constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr UnitName kDurationUnits[] = {
    {"ns", 1},
    {"us", 1000},
    {"ms", 1'000'000},
    {"s", kSecond},
    {"min", 60 * kSecond},
    {"m", 60 * kSecond},
    {"h", 3600 * kSecond},
    {"d", 24 * 3600 * kSecond},
};

Error bad_value(const std::string& text, const std::string& why) {
  return make_error(ErrorCode::kInvalidArgument, "\"" + text + "\" " + why);
}

Result<std::uint64_t> parse_with_unit(const std::string& text, std::span<const UnitName> units,
                                      const char* example) {
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [number_end, error] = std::from_chars(text.data(), end, number);
  if (error == std::errc::result_out_of_range) {
    return bad_value(text, "is too large");
  }
  if (error != std::errc{}) {
    return bad_value(text, std::string("must be a whole number with a unit, as in ") + example);
  }
  std::string_view unit(number_end, static_cast<std::size_t>(end - number_end));
  unit.remove_prefix(unit.starts_with(' ') ? 1 : 0);
  for (const UnitName& known : units) {
    if (unit == known.name) {
      if (number > std::numeric_limits<std::uint64_t>::max() / known.factor) {
        return bad_value(text, "is too large");
      }
      return number * known.factor;
    }
  }
  return bad_value(text, unit.empty()
                             ? std::string("needs a unit, as in ") + example
                             : "has an unknown unit; write it as in " + std::string(example));
}

std::string format_with_unit(std::uint64_t number, std::span<const UnitName> units,
                             bool (*is_used)(std::uint64_t factor)) {
  const UnitName* best = &units.front();
  for (const UnitName& unit : units) {
    if (is_used(unit.factor) && unit.factor > best->factor && number % unit.factor == 0) {
      best = &unit;
    }
  }
  return std::to_string(number / best->factor) + std::string(best->name);
}

}  // namespace

Result<std::uint64_t> parse_size(const std::string& text) {
  return parse_with_unit(text, kSizeUnits, "64MiB");
}

Result<Duration> parse_duration(const std::string& text) {
  if (text == "0") {
    return Duration::zero();
  }
  DFS_TRY(const std::uint64_t count, parse_with_unit(text, kDurationUnits, "5s or 500ms"));
  if (count > static_cast<std::uint64_t>(Duration::max().count())) {
    return bad_value(text, "is too large");
  }
  return Duration(static_cast<Duration::rep>(count));
}

std::string format_size(std::uint64_t size_bytes) {
  if (size_bytes == 0) {
    return "0";
  }
  return format_with_unit(size_bytes, kSizeUnits,
                          [](std::uint64_t factor) { return factor % kKibi == 0; });
}

std::string format_duration(Duration duration) {
  if (duration <= Duration::zero()) {
    return "0";
  }
  return format_with_unit(static_cast<std::uint64_t>(duration.count()), kDurationUnits,
                          [](std::uint64_t) { return true; });
}

}  // namespace dfs::real
