// The file of a program's settings: "key = value" lines, as settings.h describes them.
#pragma once

#include <string>
#include <vector>

#include "common/result.h"

namespace dfs::real {

struct SettingsLine {
  std::string key;
  std::string value;
  int line = 0;  // from 1
};

// kNotFound when there is no such file; kInvalidArgument, with file and line, for a line that is
// none of key, comment and empty.
Result<std::vector<SettingsLine>> read_settings_file(const std::string& path);

}  // namespace dfs::real
