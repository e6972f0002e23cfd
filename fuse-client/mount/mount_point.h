// The directory to mount at, and what is mounted there now.
#pragma once

#include <istream>
#include <string>
#include <vector>

#include "common/result.h"
#include "fuse-client/mount/mount_request.h"

namespace dfs::mount {

inline constexpr const char* kFilesystemType = "fuse.dfs";

// Makes sure that DIR is an absolute path to a directory that may be mounted over; returns it
// without symlinks. A dead dfs mount there (its client is gone) is detached first. Fails with
// kNotFound, kNotDirectory, kNotEmpty (unless request.nonempty), kAccessDenied, each in one line.
Result<std::string> prepare_mount_point(const MountRequest& request);

// A line of /proc/self/mountinfo.
struct MountEntry {
  std::string device;  // "major:minor": tells this mount from others at the same place
  std::string directory;
  std::string type;
  bool no_atime = false;
};
// All of them. `mount_table` has the form of that file, and what it lists of a lower mount comes
// before what is mounted over it.
std::vector<MountEntry> read_mounts(std::istream& mount_table);
// Those at exactly this path, the lowest first.
std::vector<MountEntry> mounts_at(const std::string& directory, std::istream& mount_table);
// As of now. Read from the table: asking the mount itself could wait.
std::vector<MountEntry> mounts_at(const std::string& directory);

// The filesystem type mounted at exactly this path, "" for none.
std::string mounted_type(const std::string& directory);

// Changes the flags of the dfs mounted at request.directory.
Status remount(const MountRequest& request);

// Lets the kernel read this much ahead, so that sequential reads come as large requests. Only root
// can; otherwise the kernel's default stays.
void raise_read_ahead(const std::string& directory, unsigned kibibytes);

// Whether HOST resolves and something accepts connections there. Fails with kNotFound (unknown
// host) or kUnavailable (refused, no route, silent for `wait`).
Status probe_master(const Source& source, Duration wait);

// Notes the mount in util-linux's table, so that umount(8) calls umount.fuse.dfs; and takes one
// such note away. Without root there is no table: nothing happens.
Status note_in_utab(const std::string& source, const std::string& directory);
void remove_from_utab(const std::string& directory);
// For umount.fuse.dfs, after it unmounted: takes all notes away unless another dfs is still mounted
// there. umount(8) takes one away itself if it finds one, so with another below it is left to it.
void clean_utab(const std::string& directory);

}  // namespace dfs::mount
