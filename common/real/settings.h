// Settings of a program: declared once, read from the command line, the environment and a file.
//
// The value is that of the first of: flag, environment variable, file, default (what the target
// holds before). Setting "cache-size" of a program is the flag --cache-size, the variable
// DFS_CACHE_SIZE, and in the file a line "cache-size = 64MiB". The file has one "key = value" a
// line; lines that start with # or ; are comments; a value may stand in double quotes. There are no
// sections. A missing default file is fine, a missing one that was named is an error. Unknown flags
// and unknown keys are errors that name them.
//
// --help and --version come by themselves, and --config FILE (DFS_CONFIG) with a default file.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/result.h"

namespace dfs::real {

// What one level of the command line takes: a program, or a command of it ("node list").
//
// Names may have a short letter: "f,foreground". Targets must outlive parse(); those that were not
// set keep what they held.
class SettingsGroup {
 public:
  template <class Number>
  struct Range {
    Number min;
    Number max;
  };
  using Counts = Range<std::uint64_t>;
  using Times = Range<Duration>;

  SettingsGroup();
  ~SettingsGroup();
  SettingsGroup(const SettingsGroup&) = delete;
  SettingsGroup& operator=(const SettingsGroup&) = delete;

  void add_string(const std::string& name, std::string& target, const std::string& help);
  // May be given several times: flags and lines are repeated, the variable is split at commas.
  void add_strings(const std::string& name, std::vector<std::string>& target,
                   const std::string& help);
  void add_choice(const std::string& name, std::string& target,
                  const std::vector<std::string>& choices, const std::string& help);
  void add_number(const std::string& name, std::uint64_t& target, Counts allowed,
                  const std::string& help);
  void add_size(const std::string& name, std::uint64_t& target, Counts allowed,
                const std::string& help);
  void add_duration(const std::string& name, Duration& target, Times allowed,
                    const std::string& help);
  // In the variable and the file: yes, no, true, false, on, off, 1, 0.
  void add_flag(const std::string& name, bool& target, const std::string& help);

  // Command line only.
  void add_positional(const std::string& name, std::string& target, bool is_required,
                      const std::string& help);
  // A word after which its own settings follow. Those are read from the command line only; the ones
  // of the levels above are taken there too. The reference is good as long as the Settings.
  SettingsGroup& add_command(const std::string& name, const std::string& help);
  // A word of `commands` must follow.
  void require_command();

  struct Impl;

 private:
  friend class Settings;
  std::unique_ptr<Impl> impl_;
};

class Settings : public SettingsGroup {
 public:
  struct Program {
    std::string name;
    std::string summary;
    std::string default_file;  // empty: the program has no file
    std::string footer = {};   // after the list of flags in --help
  };
  // What main is to do: go on, or print and end.
  struct Parsed {
    bool should_run = false;
    int exit_code = 0;   // 0 after --help and --version, 2 for a usage error
    std::string output;  // for stdout
    std::string error;   // for stderr, one line

    // Prints what there is to print and returns exit_code, or 1 when it could not be printed.
    int finish() const;
  };
  using Environment = std::function<const char*(const char* name)>;

  explicit Settings(Program program);
  ~Settings();

  // Once. Sets the targets only when all is right.
  Parsed parse(int argc, const char* const* argv);
  // With another environment, for tests.
  Parsed parse(int argc, const char* const* argv, const Environment& environment);

  // The commands that were given, from the outermost: {"node", "list"}.
  const std::vector<std::string>& commands() const;
  // The file that was read; empty if none was.
  const std::string& file() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dfs::real
