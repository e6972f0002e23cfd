#include "common/result.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace dfs {
namespace {

Result<int> half(int number) {
  if (number % 2 != 0) {
    return make_error(ErrorCode::kInvalidArgument, "odd");
  }
  return number / 2;
}

Result<int> quarter(int number) {
  DFS_TRY(const int first, half(number));
  DFS_TRY(const int second, half(first));
  return second;
}

Status check_even(int number) {
  DFS_CHECK_OK(half(number));
  return ok();
}

TEST(Result, holds_a_value_or_an_error) {
  const Result<int> good = half(4);
  ASSERT_TRUE(good.has_value());
  EXPECT_TRUE(static_cast<bool>(good));
  EXPECT_EQ(*good, 2);
  EXPECT_EQ(good.code(), ErrorCode::kOk);

  const Result<int> bad = half(3);
  ASSERT_FALSE(bad.has_value());
  EXPECT_EQ(bad.code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(bad.error().detail, "odd");
}

TEST(Result, macros_pass_the_first_error_on) {
  EXPECT_EQ(*quarter(8), 2);
  EXPECT_EQ(quarter(6).error().detail, "odd");
  EXPECT_TRUE(check_even(2).has_value());
  EXPECT_EQ(check_even(1).code(), ErrorCode::kInvalidArgument);
}

TEST(Result, value_can_be_moved_out_and_reached_through) {
  Result<std::unique_ptr<std::string>> result(std::make_unique<std::string>("text"));
  EXPECT_EQ((*result)->size(), 4u);
  const std::unique_ptr<std::string> taken = std::move(result).value();
  EXPECT_EQ(*taken, "text");

  Result<std::string> text(std::string("abc"));
  text->push_back('d');
  EXPECT_EQ(text.value(), "abcd");
}

TEST(Result, error_can_be_moved_into_a_result_of_another_type) {
  Result<int> bad = half(1);
  const Result<std::string> other = std::move(bad).error();
  EXPECT_EQ(other.error().detail, "odd");
}

TEST(ResultDeathTest, wrong_access_stops_the_process) {
  const Result<int> bad = half(1);
  EXPECT_DEATH((void)bad.value(), "has_value");
  const Result<int> good = half(2);
  EXPECT_DEATH((void)good.error(), "has_value");
  EXPECT_DEATH((void)Result<int>(Error{ErrorCode::kOk, ""}), "kOk");
}

TEST(AssertDeathTest, message_names_the_place_and_the_context) {
  set_assert_context("seed=42");
  EXPECT_DEATH(DFS_ASSERT(1 + 1 == 3), "1 \\+ 1 == 3 at .*result_test.cc.*seed=42");
  EXPECT_DEATH(DFS_ASSERT_MSG(false, std::string("why")), "why");
  set_assert_context("");
}

}  // namespace
}  // namespace dfs
