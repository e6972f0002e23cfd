// dfs-sim: runs the simulated cluster for a range of seeds.
//
//   dfs-sim [--seeds A..B] [--seed-file FILE] [--ops N] [--calm] [--shared] [--twice]
//           [--until-failure] [--verbose]
//
// One line for each seed: the seed, its trace hash, and what failed. Exit status: 0 if none did, 3
// if all that failed contradict the model, else 1; 2 for bad arguments. Shared histories in which
// too much was possible at once are not judged; more than one in fifty seeds is a failure.
// --calm: nothing goes wrong. --shared: all applications work in one directory. --twice: each seed
// must give the same trace twice.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "tests/sim/cluster/simulation.h"

namespace {

struct Arguments {
  std::vector<std::uint64_t> seeds;
  dfs::sim::SimulationOptions options;
  bool twice = false;
  bool until_failure = false;
};

int usage() {
  std::fprintf(stderr,
               "usage: dfs-sim [--seeds A..B] [--seed-file FILE] [--ops N] [--calm] [--shared] "
               "[--twice] [--until-failure] [--verbose]\n");
  return 2;
}

bool take_range(const std::string& text, std::vector<std::uint64_t>& seeds) {
  const std::size_t dots = text.find("..");
  const std::uint64_t first = std::strtoull(text.c_str(), nullptr, 10);
  const std::uint64_t last =
      dots == std::string::npos ? first : std::strtoull(text.c_str() + dots + 2, nullptr, 10);
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    seeds.push_back(seed);
  }
  return first <= last;
}

// One seed a line; what follows a '#' is for people.
bool take_file(const std::string& path, std::vector<std::uint64_t>& seeds) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line[0] != '#') {
      seeds.push_back(std::strtoull(line.c_str(), nullptr, 10));
    }
  }
  return file.eof();
}

bool parse(int count, char** values, Arguments& arguments) {
  for (int i = 1; i < count; ++i) {
    const std::string name = values[i];
    const char* const next = i + 1 < count ? values[i + 1] : nullptr;
    if (name == "--verbose") {
      arguments.options.verbose = true;
    } else if (name == "--calm") {
      arguments.options.with_nuisances = false;
    } else if (name == "--shared") {
      arguments.options.applications_per_client = 0;
      arguments.options.sharers_per_client = 2;
    } else if (name == "--until-failure") {
      arguments.until_failure = true;
    } else if (name == "--twice") {
      arguments.twice = true;
    } else if (next == nullptr) {
      return false;
    } else if (name == "--seeds" && take_range(next, arguments.seeds)) {
      ++i;
    } else if (name == "--seed-file" && take_file(next, arguments.seeds)) {
      ++i;
    } else if (name == "--ops") {
      arguments.options.operations = std::strtoull(next, nullptr, 10);
      ++i;
    } else {
      return false;
    }
  }
  return true;
}

constexpr int kExitFailed = 1;
constexpr int kExitModelContradicted = 3;
constexpr std::size_t kUndecidedOneOf = 50;

// The exit status for this seed alone.
int run_seed(const Arguments& arguments, std::uint64_t seed, std::size_t& undecided) {
  dfs::sim::SimulationOptions options = arguments.options;
  options.seed = seed;
  auto outcome = dfs::sim::Simulation(options).run();
  if (arguments.twice) {
    const auto again = dfs::sim::Simulation(options).run();
    if (again.trace_hash != outcome.trace_hash && outcome.failure.empty()) {
      outcome.failure = "the second run differs";
      outcome.is_model_contradicted = false;
    }
  }
  undecided += outcome.undecided > 0 ? 1 : 0;
  std::printf("seed %llu hash %016llx events %llu troubles %llu time %.1f s %s%s%s\n",
              static_cast<unsigned long long>(seed),
              static_cast<unsigned long long>(outcome.trace_hash),
              static_cast<unsigned long long>(outcome.events),
              static_cast<unsigned long long>(outcome.nuisances),
              std::chrono::duration<double>(outcome.virtual_time).count(),
              outcome.failure.empty() ? "ok" : "FAILED: ", outcome.failure.c_str(),
              outcome.undecided > 0 ? " (in part undecided)" : "");
  std::fflush(stdout);
  if (outcome.failure.empty()) {
    return 0;
  }
  return outcome.is_model_contradicted ? kExitModelContradicted : kExitFailed;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  if (!parse(argc, argv, arguments)) {
    return usage();
  }
  if (arguments.seeds.empty()) {
    take_range("1..20", arguments.seeds);
  }
  std::size_t failed = 0;
  std::size_t undecided = 0;
  int status = 0;
  for (const std::uint64_t seed : arguments.seeds) {
    if (const int status_of_seed = run_seed(arguments, seed, undecided); status_of_seed != 0) {
      status = status == kExitFailed ? kExitFailed : status_of_seed;
      ++failed;
    }
    if (failed > 0 && arguments.until_failure) {
      break;
    }
  }
  if (undecided > 1 + arguments.seeds.size() / kUndecidedOneOf) {
    status = kExitFailed;
  }
  std::printf("%zu seeds, %zu failed, %zu in part undecided\n", arguments.seeds.size(), failed,
              undecided);
  return status;
}
