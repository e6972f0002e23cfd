// At the end of a run: the cluster is filled up. Writers must be told, what was taken must be
// stored, and once it is removed writing must work again.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "fuse-client/core/client.h"
#include "tests/sim/sim_events.h"

namespace dfs::sim {

class FullCheck {
 public:
  FullCheck(SimEvents& events, client::Client& client) : events_(events), client_(client) {}

  // What is wrong; empty when all is well. Precondition: little, but some room on all servers.
  std::string run();

 private:
  static constexpr std::uint32_t kPieceBytes = 200'000;

  // The answer of a call; kTimedOut when there is none for long.
  template <class T>
  Result<T> wait_for(const std::function<void(client::Done<T>)>& call);
  Result<client::HandleId> make(const std::string& name);
  Result<Unit> write(client::HandleId file, std::uint64_t piece);
  std::string fill(client::HandleId file);
  std::string read_back(client::HandleId file);
  std::string write_again();

  SimEvents& events_;
  client::Client& client_;
  std::uint64_t pieces_ = 0;
};

}  // namespace dfs::sim
