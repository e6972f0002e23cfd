// What the command line of `dfs` asks for: parsing only, nothing is looked up or touched.
//
// Called in three ways: `dfs [-f] [-o …] SOURCE DIR` by a person, `mount.fuse.dfs SOURCE DIR
// [-sfnv]
// [-o …]` by mount(8), where -f means "fake", and `dfs SOURCE DIR -o …` by mount.fuse.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/log.h"
#include "common/result.h"
#include "common/transport.h"

namespace dfs::mount {

inline constexpr std::uint64_t kMemoryBytesDefault = 256u << 20;
inline constexpr std::uint64_t kMemoryBytesMin = 16u << 20;  // some blocks in each direction

struct Source {
  std::string host;  // without brackets
  std::string port;
  std::string subdirectory;  // "" or "a/b", no leading or trailing slash
  Address address() const;   // "host:port", IPv6 in brackets
};

// HOST[:PORT][/SUBDIR], IPv6 in brackets. Fails with kInvalidArgument.
Result<Source> parse_source(const std::string& text);

struct MountRequest {
  bool help = false;
  bool version = false;
  bool foreground = false;
  bool fake = false;    // do everything but the mount
  bool sloppy = false;  // unknown options are ignored
  bool verbose = false;
  bool no_utab = false;  // -n
  bool remount = false;
  bool read_only = false;
  bool nonempty = false;
  bool no_atime = false;
  std::string source_text;
  Source source;
  std::string directory;
  std::vector<std::string> kernel_options;  // for the kernel and libfuse: nosuid, allow_other, …
  std::uint64_t memory_bytes = kMemoryBytesDefault;
  Duration connect_wait = std::chrono::seconds(10);
  Duration write_wait = std::chrono::seconds(60);
  Duration umount_wait = std::chrono::seconds(30);
  std::string log_file;  // empty: stderr in the foreground, else syslog
  LogLevel log_level = LogLevel::kInfo;
  bool allow_other = false;              // also where it is implied
  std::vector<std::string> own_options;  // names of the options of dfs that were given
};

// The options of dfs that hold for as long as it is mounted, one "NAME=VALUE" a line.
std::string describe_own_options(const MountRequest& request);
// Fails with kInvalidArgument and names an option that was given and is not as in `in_force`, what
// describe_own_options made of the mount that is to be remounted.
Status check_own_options(const MountRequest& request, const std::string& in_force);

// `arguments` without the program's name. Fails with kInvalidArgument and one line that names what
// is wrong. `by_root` decides what is implied: root's mounts are for all, with permissions checked.
Result<MountRequest> parse_mount_request(const std::vector<std::string>& arguments,
                                         bool as_mount_helper, bool by_root);

// What --help prints.
std::string mount_usage();

}  // namespace dfs::mount
