#include "fuse-client/mount/session_note.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <system_error>

namespace dfs::mount {
namespace {

constexpr std::size_t kNotesMax = 64;  // taken at once

std::uint64_t read_nonce(int file) {
  char text[32];
  const ssize_t size = pread(file, text, sizeof text, 0);
  std::uint64_t nonce = 0;
  if (size > 0) {
    std::from_chars(text, text + size, nonce);
  }
  return nonce;
}

}  // namespace

std::string SessionNote::path() const { return directory_ + "/" + std::to_string(getpid()); }

void SessionNote::set(std::uint64_t nonce) {
  if (nonce == 0) {
    remove();
    return;
  }
  if (file_.get() < 0) {
    std::error_code error;
    std::filesystem::create_directories(directory_, error);
    file_ = real::OwnedFd(open(path().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (file_.get() < 0 || flock(file_.get(), LOCK_EX | LOCK_NB) != 0) {
      file_.reset();
      return;
    }
  }
  const std::string text = std::to_string(nonce);
  if (ftruncate(file_.get(), 0) != 0 ||
      pwrite(file_.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    remove();
  }
}

void SessionNote::remove() {
  if (file_.get() >= 0) {
    unlink(path().c_str());
    file_.reset();
  }
}

std::vector<std::uint64_t> SessionNote::take_dead(const std::string& directory) {
  std::vector<std::uint64_t> dead;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    const real::OwnedFd file(open(entry.path().c_str(), O_RDWR | O_CLOEXEC));
    if (dead.size() == kNotesMax || file.get() < 0 || flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
      continue;
    }
    if (const std::uint64_t nonce = read_nonce(file.get()); nonce != 0) {
      dead.push_back(nonce);
      unlink(entry.path().c_str());
    }
  }
  return dead;
}

}  // namespace dfs::mount
