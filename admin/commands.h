// The commands of dfs-admin, each a function from calls to what is printed.
//
// Exit codes: kExitOk all is well; kExitProblems the command worked and found something wrong;
// kExitUsage bad words; kExitFailed the command could not do its work.
#pragma once

#include <functional>
#include <string>

#include "admin/cluster_calls.h"
#include "proto/attributes.h"

namespace dfs::admin {

inline constexpr int kExitOk = 0;
inline constexpr int kExitProblems = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitFailed = 3;

struct Output {
  std::string text;  // for stdout
  int exit_code = kExitOk;
};

// Called now and then by a long command with one line of how far it is.
using Progress = std::function<void(const std::string& line)>;

// How the cluster is: figures and one line of verdict. kExitProblems unless healthy.
Result<Output> status(ClusterCalls& calls, bool as_json);

// The calls that wait; with a path only those concerning what it names, or what lies below that.
// kExitProblems if there are any.
Result<Output> why(ClusterCalls& calls, const std::string& path, bool as_json);

// The servers with their space and replicas. kExitProblems if one is down or a directory failed.
Result<Output> node_list(ClusterCalls& calls, bool as_json);

// Extents, chunks and replicas of the file at `path` in the filesystem.
Result<Output> file_info(ClusterCalls& calls, const std::string& path, bool as_json);

Result<Output> policy_get(ClusterCalls& calls, const std::string& path, bool as_json);
Result<Output> policy_set(ClusterCalls& calls, const std::string& path,
                          const StoragePolicy& policy);

// Checks the metadata in itself and against the inventories of all servers; with `checksums` has
// each server read every replica. Problems are looked at twice, since files change meanwhile.
Result<Output> fsck(ClusterCalls& calls, bool checksums, bool as_json, const Progress& progress);

// The attributes of a path of the filesystem, "/" being its root. Fails naming the part that is not
// there.
Result<Attributes> resolve_path(ClusterCalls& calls, const std::string& path);

// A path inside a local dfs mount, seen from the filesystem's root; other paths as they are.
// `mountinfo` is the text of /proc/self/mountinfo. Sets `master` to the mount's.
std::string path_in_filesystem(const std::string& path, const std::string& mountinfo,
                               std::string& master);

}  // namespace dfs::admin
