#include "fuse-client/mount/mount_request.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <string_view>

#include "common/real/address.h"
#include "common/real/units.h"

namespace dfs::mount {
namespace {

Error bad(std::string detail) { return make_error(ErrorCode::kInvalidArgument, std::move(detail)); }

// Options of mount(8) that are for mount(8) alone, or say what is so anyhow.
constexpr std::array kIgnoredOptions = {"rw",
                                        "defaults",
                                        "auto",
                                        "noauto",
                                        "_netdev",
                                        "nofail",
                                        "user",
                                        "nouser",
                                        "users",
                                        "owner",
                                        "group",
                                        "async",
                                        "relatime",
                                        "atime",
                                        "norelatime",
                                        "suid",
                                        "dev",
                                        "exec",
                                        "loud",
                                        "silent",
                                        "default_permissions",
                                        "nostrictatime",
                                        "diratime",
                                        "nolazytime",
                                        "nomand",
                                        "noiversion"};
constexpr std::array kKernelFlags = {"nosuid", "nodev", "noexec", "dirsync", "sync", "nodiratime"};
// The second row is what the kernel shows of a mount and mount(8) repeats when it remounts it.
constexpr std::array kIgnoredPrefixes = {
    "x-",       "X-",        "comment=",  "user=",     "uhelper=", "helper=",
    "user_id=", "group_id=", "rootmode=", "max_read=", "blksize=", "fd="};

template <class List>
bool contains(const List& list, std::string_view word) {
  return std::any_of(list.begin(), list.end(), [&](const char* entry) { return word == entry; });
}

bool is_ignored(std::string_view option) {
  return contains(kIgnoredOptions, option) ||
         std::any_of(kIgnoredPrefixes.begin(), kIgnoredPrefixes.end(),
                     [&](const char* prefix) { return option.starts_with(prefix); });
}

Error bad_value(std::string_view option, const Error& why) {
  return bad("option " + std::string(option) + ": " + why.detail);
}

Result<std::uint64_t> parse_memory(std::string_view option, std::string_view text) {
  const auto bytes = real::parse_size(std::string(text));
  if (!bytes) {
    return bad_value(option, bytes.error());
  }
  if (*bytes < kMemoryBytesMin) {
    return bad("option " + std::string(option) + ": at least 16MiB are needed");
  }
  return *bytes;
}

Result<Duration> parse_wait(std::string_view option, std::string_view text) {
  const auto wait = real::parse_duration(std::string(text));
  if (!wait) {
    return bad_value(option, wait.error());
  }
  if (*wait > std::chrono::hours(24)) {
    return bad("option " + std::string(option) + ": at most a day (24h) is possible");
  }
  return *wait;
}

Result<LogLevel> parse_level(std::string_view text) {
  static const std::map<std::string_view, LogLevel> kLevels = {{"debug", LogLevel::kDebug},
                                                               {"info", LogLevel::kInfo},
                                                               {"warning", LogLevel::kWarning},
                                                               {"error", LogLevel::kError}};
  const auto found = kLevels.find(text);
  if (found == kLevels.end()) {
    return bad("option log_level: '" + std::string(text) +
               "' is not debug, info, warning or error");
  }
  return found->second;
}

// Options with a value. Empty result: not one of them.
Result<bool> take_valued_option(std::string_view option, MountRequest& request) {
  const std::size_t equals = option.find('=');
  const std::string_view name = option.substr(0, equals);
  const std::string_view value =
      equals == std::string_view::npos ? std::string_view() : option.substr(equals + 1);
  if (name == "mem_limit") {
    DFS_TRY(request.memory_bytes, parse_memory(name, value));
  } else if (name == "connect_wait") {
    DFS_TRY(request.connect_wait, parse_wait(name, value));
  } else if (name == "write_wait") {
    DFS_TRY(request.write_wait, parse_wait(name, value));
  } else if (name == "umount_wait") {
    DFS_TRY(request.umount_wait, parse_wait(name, value));
  } else if (name == "log_level") {
    DFS_TRY(request.log_level, parse_level(value));
  } else if (name == "log_file") {
    if (!value.starts_with('/')) {
      return bad("option log_file: a path that begins with / is needed");
    }
    request.log_file = value;
  } else {
    return false;
  }
  request.own_options.emplace_back(name);
  return true;
}

Status take_option(std::string_view option, MountRequest& request, bool& allow_other) {
  if (option == "ro") {
    request.read_only = true;
  } else if (option == "rw") {
    request.read_only = false;
  } else if (option == "remount") {
    request.remount = true;
  } else if (option == "nonempty") {
    request.nonempty = true;
  } else if (option == "noatime") {
    request.no_atime = true;
  } else if (option == "allow_other") {
    allow_other = true;
    request.own_options.emplace_back(option);
  } else if (contains(kKernelFlags, option)) {
    request.kernel_options.emplace_back(option);
  } else if (!is_ignored(option)) {
    DFS_TRY(const bool taken, take_valued_option(option, request));
    if (!taken && !request.sloppy) {
      return bad("unknown mount option '" + std::string(option) + "', see dfs(8)");
    }
  }
  return ok();
}

Status take_options(std::string_view list, MountRequest& request, bool& allow_other) {
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    const std::string_view option = list.substr(0, comma);
    if (!option.empty()) {
      DFS_CHECK_OK(take_option(option, request, allow_other));
    }
    list = comma == std::string_view::npos ? std::string_view() : list.substr(comma + 1);
  }
  return ok();
}

// Commas and backslashes separate and quote in libfuse's option lists.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == ',' || c == '\\') {
      out.push_back('\\');
    }
    out.push_back(c);
  }
  return out;
}

void imply_kernel_options(MountRequest& request, bool allow_other, bool by_root) {
  auto& options = request.kernel_options;
  const auto lacks = [&](const char* option) {
    return std::find(options.begin(), options.end(), option) == options.end();
  };
  if (by_root && lacks("nosuid")) {
    options.emplace_back("suid");  // libfuse drops both unless told
  }
  if (by_root && lacks("nodev")) {
    options.emplace_back("dev");
  }
  if (request.read_only) {
    options.emplace_back("ro");
  }
  if (request.no_atime) {
    options.emplace_back("noatime");
  }
  options.emplace_back("default_permissions");
  request.allow_other = by_root || allow_other;
  if (request.allow_other) {
    options.emplace_back("allow_other");
  }
  options.emplace_back("subtype=dfs");
  options.emplace_back("fsname=" + escaped(request.source_text));
}

// Splits "-sfnv" into single flags.
Status take_flags(std::string_view flags, bool as_mount_helper, MountRequest& request) {
  for (const char flag : flags) {
    switch (flag) {
      case 'f': (as_mount_helper ? request.fake : request.foreground) = true; break;
      case 's': request.sloppy = true; break;
      case 'n': request.no_utab = true; break;
      case 'v': request.verbose = true; break;
      case 'r': request.read_only = true; break;
      case 'w': request.read_only = false; break;
      case 'h': request.help = true; break;
      case 'V': request.version = true; break;
      default: return bad(std::string("unknown flag -") + flag + ", see dfs --help");
    }
  }
  return ok();
}

}  // namespace

Address Source::address() const {
  const bool is_v6 = host.find(':') != std::string::npos;
  return (is_v6 ? "[" + host + "]" : host) + ":" + port;
}

Result<Source> parse_source(const std::string& text) {
  const Error wrong = bad("'" + text + "' is not HOST[:PORT][/SUBDIR] (IPv6 in brackets)");
  Source source;
  std::string_view rest = text;
  if (rest.starts_with('[')) {
    const std::size_t close = rest.find(']');
    if (close == std::string_view::npos) {
      return wrong;
    }
    source.host = rest.substr(1, close - 1);
    rest.remove_prefix(close + 1);
  } else {
    const std::size_t end = std::min(rest.find_first_of(":/"), rest.size());
    source.host = rest.substr(0, end);
    rest.remove_prefix(end);
  }
  source.port = real::kDefaultMasterPort;
  if (rest.starts_with(':')) {
    const std::size_t end = std::min(rest.find('/'), rest.size());
    const std::string_view port = rest.substr(1, end - 1);
    std::uint16_t number = 0;
    const auto [last, error] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (!port.empty()) {
      if (error != std::errc{} || last != port.data() + port.size() || number == 0) {
        return wrong;
      }
      source.port = port;
    }
    rest.remove_prefix(end);
  }
  if (source.host.empty() || (!rest.empty() && !rest.starts_with('/'))) {
    return wrong;
  }
  const std::size_t first = std::min(rest.find_first_not_of('/'), rest.size());
  rest.remove_prefix(first);
  while (rest.ends_with('/')) {
    rest.remove_suffix(1);
  }
  source.subdirectory = rest;
  if (("/" + source.subdirectory + "/").find("/../") != std::string::npos) {
    return bad("'" + text + "': SUBDIR is a path from the top of the filesystem, without '..'");
  }
  return source;
}

std::string describe_own_options(const MountRequest& request) {
  const auto ms = [](Duration time) {
    return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(time).count());
  };
  return "mem_limit=" + std::to_string(request.memory_bytes) +
         "\nconnect_wait=" + ms(request.connect_wait) + "\nwrite_wait=" + ms(request.write_wait) +
         "\numount_wait=" + ms(request.umount_wait) +
         "\nlog_level=" + std::to_string(static_cast<int>(request.log_level)) +
         "\nlog_file=" + request.log_file +
         "\nallow_other=" + (request.allow_other ? "yes" : "no") + "\n";
}

Status check_own_options(const MountRequest& request, const std::string& in_force) {
  const std::string wanted = "\n" + describe_own_options(request);
  for (const std::string& name : request.own_options) {
    const std::size_t at = wanted.find("\n" + name + "=");
    const std::string line = wanted.substr(at, wanted.find('\n', at + 1) + 1 - at);
    if (("\n" + in_force).find(line) == std::string::npos) {
      return bad("option " + name + " cannot be changed while mounted: unmount, and mount anew");
    }
  }
  return ok();
}

Result<MountRequest> parse_mount_request(const std::vector<std::string>& arguments,
                                         bool as_mount_helper, bool by_root) {
  MountRequest request;
  std::vector<std::string> option_lists;
  std::vector<std::string> words;
  bool only_words = false;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (only_words || word.size() < 2 || word[0] != '-') {
      words.push_back(word);
    } else if (word == "--") {
      only_words = true;
    } else if (word == "--help") {
      request.help = true;
    } else if (word == "--version") {
      request.version = true;
    } else if (word == "-o" || word == "-t" || word == "-N") {
      if (++i == arguments.size()) {
        return bad("flag " + word + " needs a value, see dfs --help");
      }
      if (word == "-o") {
        option_lists.push_back(arguments[i]);
      } else if (word == "-N") {
        return bad("mounting into another namespace (-N) is not supported");
      }
    } else if (word.starts_with("-o")) {
      option_lists.push_back(word.substr(2));
    } else if (word.starts_with("--")) {
      return bad("unknown flag " + word + ", see dfs --help");
    } else {
      DFS_CHECK_OK(take_flags(std::string_view(word).substr(1), as_mount_helper, request));
    }
  }
  if (request.help || request.version) {
    return request;
  }
  if (words.size() != 2) {
    return bad("a source (HOST[:PORT][/SUBDIR]) and a directory are needed, see dfs --help");
  }
  request.source_text = words[0];
  request.directory = words[1];
  bool allow_other = false;
  for (const std::string& list : option_lists) {
    DFS_CHECK_OK(take_options(list, request, allow_other));
  }
  DFS_TRY(request.source, parse_source(request.source_text));
  imply_kernel_options(request, allow_other, by_root);
  return request;
}

std::string mount_usage() {
  return R"(Usage: dfs [-f] [-o OPTION[,OPTION...]] HOST[:PORT][/SUBDIR] DIR
       mount -t fuse.dfs HOST[:PORT][/SUBDIR] DIR [-o OPTION[,OPTION...]]

Mounts the dfs filesystem of the master at HOST (port 9420 unless given; IPv6 in brackets), or its
directory SUBDIR, at DIR. Returns when the mount answers.

Flags:
  -f             stay in the foreground and log to stderr
  -o OPTION,...  options, below
  -r             as -o ro
  --help         this text
  --version      the version

Options:
  ro, rw                      read-only, or writable (default)
  remount                     change ro/rw, [no]suid, [no]dev, [no]exec, noatime of a mounted DIR
  [no]suid, [no]dev, [no]exec as for any filesystem
  noatime                     do not keep times of last access
  nonempty                    mount over a directory that is not empty
  allow_other                 let other users in (implied when root mounts)
  mem_limit=SIZE              cap for caches and unwritten data (default 256MiB)
  connect_wait=TIME           give up mounting after this long (default 10s)
  write_wait=TIME             wait this long for servers that take data, then EIO (default 60s)
  umount_wait=TIME            umount fails when data waits longer for servers (default 30s)
  log_file=PATH               log there (default: syslog, or stderr with -f)
  log_level=LEVEL             debug, info (default), warning, error

To unmount: umount DIR. It returns when everything is on the servers, or says what is not.
)";
}

}  // namespace dfs::mount
