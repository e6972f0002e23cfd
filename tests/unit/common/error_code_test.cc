#include "common/error_code.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace dfs {
namespace {

TEST(ErrorCodes, each_has_a_name_of_its_own) {
  std::set<std::string> names;
  for (std::uint16_t number = 0; number <= kErrorCodeMax; ++number) {
    const std::string name = error_code_name(error_code_from_wire(number));
    EXPECT_NE(name, "unknown") << number;
    EXPECT_EQ(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_"), std::string::npos) << name;
    EXPECT_TRUE(names.insert(name).second) << name;
  }
}

TEST(ErrorCodes, number_from_the_wire_is_checked_before_the_cast) {
  EXPECT_EQ(error_code_from_wire(0), ErrorCode::kOk);
  EXPECT_EQ(error_code_from_wire(kErrorCodeMax), ErrorCode::kLeaseLost);
  EXPECT_EQ(error_code_from_wire(kErrorCodeMax + 1), ErrorCode::kInternal);
  EXPECT_EQ(error_code_from_wire(0x1'0000), ErrorCode::kInternal);
  EXPECT_EQ(error_code_from_wire(~std::uint64_t{0}), ErrorCode::kInternal);
}

// Numbers are part of the wire format.
TEST(ErrorCodes, numbers_stay) {
  EXPECT_EQ(static_cast<int>(ErrorCode::kNotFound), 1);
  EXPECT_EQ(static_cast<int>(ErrorCode::kNoSpace), 8);
  EXPECT_EQ(static_cast<int>(ErrorCode::kInterrupted), 20);
  EXPECT_EQ(static_cast<int>(ErrorCode::kIo), 24);
  EXPECT_EQ(static_cast<int>(ErrorCode::kBadMessage), 31);
  EXPECT_EQ(static_cast<int>(ErrorCode::kVersionMismatch), 32);
  EXPECT_EQ(static_cast<int>(ErrorCode::kInternal), 39);
  EXPECT_EQ(static_cast<int>(ErrorCode::kNoData), 40);
  EXPECT_EQ(static_cast<int>(ErrorCode::kTooManyLocks), 43);
}

}  // namespace
}  // namespace dfs
