// dfs-coherence: records what several processes see of one shared directory, and checks it.
//
//   dfs-coherence record --directory DIR --out FILE --mount N --process N [--seed N] [--seconds N]
//                        [--operations LIST] [--slot-bytes N] [--sync]
//   dfs-coherence check [--pause MOUNT:FROM:TO]... [--forget-after SECONDS] FILE...
//
// LIST is of names, contents, appends, locks, separated by commas; without it, all. Times are of
// CLOCK_MONOTONIC in ns. Exit status: 0 if all is well, 1 for a contradiction, 2 for bad arguments
// or files, 3 if the check was given up.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include "tests/coherence/checker.h"
#include "tests/coherence/parts.h"
#include "tests/coherence/recorder.h"
#include "tests/coherence/report.h"

namespace {

namespace coherence = dfs::coherence;

constexpr int kExitContradiction = 1;
constexpr int kExitUsage = 2;
constexpr int kExitUndecided = 3;
constexpr std::size_t kReportsMax = 3;

int usage() {
  std::fprintf(stderr,
               "usage: dfs-coherence record --directory DIR --out FILE --mount N --process N "
               "[--seed N] [--seconds N]\n"
               "                     [--operations names,contents,appends,locks] "
               "[--slot-bytes N] [--sync]\n"
               "       dfs-coherence check [--pause MOUNT:FROM:TO]... [--forget-after SECONDS] "
               "FILE...\n");
  return kExitUsage;
}

int fail(const dfs::Error& error) {
  std::fprintf(stderr, "dfs-coherence: %s\n", error.detail.c_str());
  return kExitUsage;
}

bool take_operations(const std::string& list, coherence::RecorderOptions& options) {
  std::map<std::string, bool*> groups = {{"names", &options.names},
                                         {"contents", &options.contents},
                                         {"appends", &options.appends},
                                         {"locks", &options.locks}};
  std::istringstream in(list);
  for (std::string group; std::getline(in, group, ',');) {
    if (!groups.contains(group)) {
      return false;
    }
    *groups[group] = true;
  }
  return true;
}

bool take_option(const std::string& name, const std::string& value,
                 coherence::RecorderOptions& options) {
  const auto number = static_cast<std::uint32_t>(std::strtoul(value.c_str(), nullptr, 10));
  if (name == "--directory") {
    options.directory = value;
  } else if (name == "--out") {
    options.file = value;
  } else if (name == "--process") {
    options.process = number;
  } else if (name == "--mount") {
    options.mount = number;
  } else if (name == "--seed") {
    options.seed = std::strtoull(value.c_str(), nullptr, 10);
  } else if (name == "--seconds") {
    options.seconds = std::strtod(value.c_str(), nullptr);
  } else if (name == "--slot-bytes") {
    options.slot_bytes = number;
    return number >= 8 && number % 8 == 0;
  } else {
    return name == "--operations" && take_operations(value, options);
  }
  return true;
}

int record(const std::vector<std::string>& words) {
  coherence::RecorderOptions options;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--sync") {
      options.is_syncing = true;
    } else if (i + 1 == words.size() || !take_option(words[i], words[i + 1], options)) {
      return usage();
    } else {
      ++i;
    }
  }
  if (!options.names && !options.contents && !options.appends && !options.locks) {
    options.names = options.contents = options.appends = options.locks = true;
  }
  if (options.directory.empty() || options.file.empty()) {
    return usage();
  }
  const dfs::Status done = coherence::record(options);
  return done ? 0 : fail(done.error());
}

dfs::Result<coherence::History> read_histories(const std::vector<std::string>& paths) {
  coherence::History all;
  for (const std::string& path : paths) {
    std::ifstream file(path);
    if (!file) {
      return dfs::make_error(dfs::ErrorCode::kNotFound, "cannot read " + path);
    }
    const std::string text(std::istreambuf_iterator<char>(file), {});
    auto history = coherence::parse_history(text);
    if (!history) {
      return dfs::make_error(history.code(), path + ": " + history.error().detail);
    }
    all.insert(all.end(), history->begin(), history->end());
  }
  return all;
}

// The exit status.
int judge(const coherence::History& history, const coherence::CheckOptions& options) {
  auto parts = coherence::take_apart(history);
  if (!parts) {
    return fail(parts.error());
  }
  std::size_t contradictions = 0, undecided = 0;
  for (const coherence::Part& part : *parts) {
    const auto found = coherence::check(*part.object, part.history, options);
    if (!found) {
      continue;
    }
    if (contradictions + undecided < kReportsMax) {
      std::printf("%s\n", coherence::report(part, *found).c_str());
    }
    ++(found->is_undecided ? undecided : contradictions);
  }
  const auto never =
      std::count_if(history.begin(), history.end(), [](const auto& op) { return !op.is_known(); });
  std::printf(
      "%zu operations, %td of them without an answer, on %zu objects: %zu contradictions, "
      "%zu undecided\n",
      history.size(), never, parts->size(), contradictions, undecided);
  return contradictions > 0 ? kExitContradiction : undecided > 0 ? kExitUndecided : 0;
}

bool take_pause(const std::string& word, std::vector<coherence::Pause>& pauses) {
  coherence::Pause& pause = pauses.emplace_back();
  char colon = 0, second = 0;
  std::istringstream in(word);
  return (in >> pause.mount >> colon >> pause.from_ns >> second >> pause.to_ns) && colon == ':' &&
         second == ':';
}

bool take_seconds(const std::string& word, std::chrono::nanoseconds& time) {
  std::uint32_t seconds = 0;
  const char* const end = word.data() + word.size();
  const auto [last, error] = std::from_chars(word.data(), end, seconds);
  time = std::chrono::seconds(seconds);
  return error == std::errc{} && last == end;
}

int check(const std::vector<std::string>& words) {
  std::vector<coherence::Pause> pauses;
  std::vector<std::string> paths;
  coherence::CheckOptions options;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string next = i + 1 < words.size() ? words[i + 1] : "";
    if (words[i] == "--pause" || words[i] == "--forget-after") {
      if (words[i] == "--pause" ? !take_pause(next, pauses)
                                : !take_seconds(next, options.forget_after)) {
        return usage();
      }
      ++i;
    } else {
      paths.push_back(words[i]);
    }
  }
  if (paths.empty()) {
    return usage();
  }
  auto history = read_histories(paths);
  return history ? judge(coherence::excuse(std::move(*history), pauses), options)
                 : fail(history.error());
}

}  // namespace

int main(int count, char** values) {
  const std::vector<std::string> words(values + 1, values + count);
  if (words.empty() || (words.front() != "record" && words.front() != "check")) {
    return usage();
  }
  const std::vector<std::string> rest(words.begin() + 1, words.end());
  return words.front() == "record" ? record(rest) : check(rest);
}
