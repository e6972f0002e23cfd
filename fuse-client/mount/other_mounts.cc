#include "fuse-client/mount/other_mounts.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <set>
#include <system_error>

namespace dfs::mount {
namespace {

namespace fs = std::filesystem;

// Where the process, "self" for this one, sees the filesystem mounted.
std::optional<std::string> mounted_for(const std::string& process, const MountEntry& mount) {
  std::ifstream table("/proc/" + process + "/mountinfo");
  const auto mounts = read_mounts(table);
  const auto place = std::find_if(mounts.begin(), mounts.end(), [&](const MountEntry& entry) {
    return entry.device == mount.device && entry.type == mount.type;
  });
  return place == mounts.end() ? std::nullopt : std::optional(place->directory);
}

// Empty for one that is gone, or whose namespace is not ours to know.
std::string namespace_of(const std::string& process) {
  std::error_code failure;
  return fs::read_symlink("/proc/" + process + "/ns/mnt", failure).string();
}

std::string program_of(const std::string& process) {
  std::ifstream file("/proc/" + process + "/comm");
  std::string name;
  std::getline(file, name);
  return name;
}

}  // namespace

std::optional<OtherMount> find_other_mount(const MountEntry& mount) {
  if (mount.device.empty()) {
    return std::nullopt;
  }
  if (const auto directory = mounted_for("self", mount)) {
    return OtherMount{.directory = *directory, .pid = 0, .program = ""};
  }
  std::set<std::string> seen{"", namespace_of("self")};
  std::error_code failure;
  for (fs::directory_iterator entry("/proc", failure), end; !failure && entry != end;
       entry.increment(failure)) {
    const std::string process = entry->path().filename().string();
    int pid = 0;
    std::from_chars(process.data(), process.data() + process.size(), pid);
    if (pid == 0 || !seen.insert(namespace_of(process)).second) {
      continue;
    }
    if (const auto directory = mounted_for(process, mount)) {
      return OtherMount{.directory = *directory, .pid = pid, .program = program_of(process)};
    }
  }
  return std::nullopt;
}

std::string describe(const OtherMount& other) {
  return other.pid == 0 ? "at " + other.directory
                        : "in another mount namespace, at " + other.directory + " for process " +
                              std::to_string(other.pid) + " (" + other.program + ")";
}

}  // namespace dfs::mount
