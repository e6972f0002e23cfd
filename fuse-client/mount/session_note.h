// A file that says which session this process has, for the next mount on this machine: if the
// process was killed, or ended while the master did not answer, its session need not be waited for.
//
// Each client keeps a file of its own in kNotesDirectory, locked as long as it lives, however it
// ends. Only root can; others' sessions end by time-out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/real/owned_fd.h"

namespace dfs::mount {

inline constexpr const char* kNotesDirectory = "/run/dfs/sessions";

class SessionNote {
 public:
  explicit SessionNote(std::string directory = kNotesDirectory)
      : directory_(std::move(directory)) {}
  SessionNote(const SessionNote&) = delete;
  SessionNote& operator=(const SessionNote&) = delete;

  // Notes the session by its nonce, instead of the one before. 0: it was closed, and there is
  // nothing to be ended. Without permission, nothing.
  void set(std::uint64_t nonce);

  // Nonces of processes that are dead; each is told once.
  static std::vector<std::uint64_t> take_dead(const std::string& directory = kNotesDirectory);

 private:
  std::string path() const;
  void remove();

  std::string directory_;
  real::OwnedFd file_;
};

}  // namespace dfs::mount
