// Callbacks that do nothing once their owner is gone: posted tasks and calls cannot all be
// withdrawn.
#pragma once

#include <memory>
#include <utility>

namespace dfs::client {

class Lifetime {
 public:
  Lifetime() : token_(std::make_shared<char>()) {}
  Lifetime(const Lifetime&) = delete;
  Lifetime& operator=(const Lifetime&) = delete;

  // `callback`, or nothing after this object was destroyed.
  template <class F>
  auto guard(F callback) const {
    return [token = std::weak_ptr<const char>(token_),
            run = std::move(callback)]<class... A>(A&&... arguments) mutable {
      if (!token.expired()) {
        run(std::forward<A>(arguments)...);
      }
    };
  }

 private:
  std::shared_ptr<const char> token_;
};

}  // namespace dfs::client
