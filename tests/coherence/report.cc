#include "tests/coherence/report.h"

#include <algorithm>
#include <cstdio>

namespace dfs::coherence {
namespace {

std::string milliseconds(std::int64_t ns, std::int64_t origin_ns) {
  char text[32] = "never";
  if (ns != kNever) {
    (void)std::snprintf(text, sizeof text, "%.3f", static_cast<double>(ns - origin_ns) / 1e6);
  }
  return text;
}

std::string padded(std::string text, std::size_t width, bool is_right = false) {
  const std::string space(width - std::min(width, text.size()), ' ');
  return is_right ? space + text : text + space;
}

std::string row(const Operation& op, bool is_marked, std::int64_t origin_ns) {
  std::string text = is_marked ? "> " : "  ";
  text += padded(milliseconds(op.invoked_ns, origin_ns), 10, true);
  text += padded(milliseconds(op.completed_ns, origin_ns), 12, true);
  text += padded(std::to_string(op.mount), 7, true);
  text += padded(std::to_string(op.process), 9, true) + "  ";
  return text + padded(describe_request(op), 34) + " " + describe_answer(op) + "\n";
}

}  // namespace

std::string report(const Part& part, const Contradiction& found) {
  if (found.is_undecided) {
    return part.title + ": undecided, too much is possible at once\n";
  }
  std::string text = part.title + ": no order of the operations explains the answer marked by >\n";
  text += "  called, ms    answered  mount  process  asked                              answered\n";
  const std::int64_t origin_ns = found.window.front().invoked_ns;
  for (const Operation& op : found.window) {
    text += row(op, op == found.operation, origin_ns);
  }
  text += "what was possible while it was under way:\n";
  for (const State& state : found.states) {
    text += "  " + part.object->describe(state) + "\n";
  }
  return text;
}

}  // namespace dfs::coherence
