// Alive: lets callbacks that may outlive their owner find out that it is gone.
//
// Disk completions cannot be cancelled; an owner wraps the ones it hands out with `guard` and they
// turn into nothing once it is destroyed. One thread.
#pragma once

#include <memory>
#include <utility>

namespace dfs::chunkserver {

class Alive {
 public:
  Alive() : token_(std::make_shared<char>('\0')) {}
  Alive(const Alive&) = delete;
  Alive& operator=(const Alive&) = delete;

  template <class Function>
  auto guard(Function function) const {
    return [token = std::weak_ptr<char>(token_), run = std::move(function)](auto&&... arguments) {
      if (!token.expired()) {
        run(std::forward<decltype(arguments)>(arguments)...);
      }
    };
  }

 private:
  std::shared_ptr<char> token_;
};

}  // namespace dfs::chunkserver
