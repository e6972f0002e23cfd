// A Log that keeps its lines, for tests of adapters.
#pragma once

#include <string>
#include <vector>

#include "common/log.h"

namespace dfs::real {

class KeptLog final : public Log {
 public:
  bool is_enabled(LogLevel) const override { return true; }
  void write(LogLevel, const std::string& line) override { lines.push_back(line); }

  bool contains(const std::string& text) const {
    for (const std::string& line : lines) {
      if (line.find(text) != std::string::npos) {
        return true;
      }
    }
    return false;
  }

  std::vector<std::string> lines;
};

}  // namespace dfs::real
