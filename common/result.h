// Result<T>: a value or an Error; Status: success or an Error.
//
// Member names follow std::expected, which this becomes when the compiler allows C++23. Errors are
// values: a code some caller acts on, and a sentence for the log and the person who reads it.
#pragma once

#include <string>
#include <utility>
#include <variant>

#include "common/assert.h"
#include "common/error_code.h"

namespace dfs {

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string detail;  // a sentence that names the thing; may be empty
};

struct Unit {};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {
    DFS_ASSERT(std::get<1>(state_).code != ErrorCode::kOk);
  }

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }

  // Precondition of value(), * and ->: has_value(). Of error(): !has_value().
  T& value() & {
    DFS_ASSERT(has_value());
    return std::get<0>(state_);
  }
  const T& value() const& {
    DFS_ASSERT(has_value());
    return std::get<0>(state_);
  }
  T&& value() && {
    DFS_ASSERT(has_value());
    return std::get<0>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const& {
    DFS_ASSERT(!has_value());
    return std::get<1>(state_);
  }
  Error&& error() && {
    DFS_ASSERT(!has_value());
    return std::get<1>(std::move(state_));
  }

  // kOk for a value.
  ErrorCode code() const { return has_value() ? ErrorCode::kOk : std::get<1>(state_).code; }

 private:
  std::variant<T, Error> state_;
};

using Status = Result<Unit>;

inline Status ok() { return Unit{}; }

inline Error make_error(ErrorCode code, std::string detail = {}) {
  return Error{code, std::move(detail)};
}

}  // namespace dfs
// A declaration cannot be put into parentheses. NOLINTBEGIN(bugprone-macro-parentheses)
#define DFS_CONCAT_(a, b) a##b
#define DFS_CONCAT(a, b) DFS_CONCAT_(a, b)
#define DFS_TRY_IMPL_(result, declaration, expression) \
  auto result = (expression);                          \
  if (!result)                                         \
    return std::move(result).error();                  \
  declaration = std::move(result).value()
// NOLINTEND(bugprone-macro-parentheses)
// DFS_TRY(auto row, store.get(inode)): declares `row`, or returns the error from this function.
#define DFS_TRY(declaration, expression) \
  DFS_TRY_IMPL_(DFS_CONCAT(dfs_result_, __LINE__), declaration, expression)

// Returns the error of a Status (or of a Result whose value is not wanted) from this function.
#define DFS_CHECK_OK(expression)             \
  do {                                       \
    auto dfs_status_ = (expression);         \
    if (!dfs_status_)                        \
      return std::move(dfs_status_).error(); \
  } while (false)
