// util-linux's private table of mounts, through its library.
#include <libmount/libmount.h>
#include <unistd.h>

#include <memory>

#include "fuse-client/mount/mount_point.h"

namespace dfs::mount {
namespace {

struct UpdateDeleter {
  void operator()(libmnt_update* update) const { mnt_free_update(update); }
};
struct FsDeleter {
  void operator()(libmnt_fs* fs) const { mnt_unref_fs(fs); }
};
using Update = std::unique_ptr<libmnt_update, UpdateDeleter>;
using Fs = std::unique_ptr<libmnt_fs, FsDeleter>;

}  // namespace

Status note_in_utab(const std::string& source, const std::string& directory) {
  if (geteuid() != 0) {
    return ok();
  }
  const Fs fs(mnt_new_fs());
  const Update update(mnt_new_update());
  if (fs == nullptr || update == nullptr) {
    return make_error(ErrorCode::kNoMemory, "utab");
  }
  mnt_fs_set_source(fs.get(), source.c_str());
  mnt_fs_set_target(fs.get(), directory.c_str());
  mnt_fs_set_fstype(fs.get(), kFilesystemType);
  // With an entry of its own, umount(8) does not take its short cut past the helpers.
  mnt_fs_set_options(fs.get(), "uhelper=fuse.dfs");
  const int prepared = mnt_update_set_fs(update.get(), 0, nullptr, fs.get());
  if (prepared != 0 || mnt_update_table(update.get(), nullptr) != 0) {
    return make_error(ErrorCode::kIo, "cannot note the mount in /run/mount/utab: umount of " +
                                          directory + " will not wait for unwritten data");
  }
  return ok();
}

void remove_from_utab(const std::string& directory) {
  if (geteuid() != 0) {
    return;
  }
  const Update update(mnt_new_update());
  // Nothing there to remove is as good as removed.
  if (update != nullptr && mnt_update_set_fs(update.get(), 0, directory.c_str(), nullptr) == 0) {
    mnt_update_table(update.get(), nullptr);
  }
}

void clean_utab(const std::string& directory) {
  if (mounted_type(directory) == kFilesystemType) {
    return;
  }
  constexpr int kStackedMax = 16;  // notes of mounts one over the other, or left by a crash
  for (int i = 0; i < kStackedMax; ++i) {
    remove_from_utab(directory);
  }
}

}  // namespace dfs::mount
