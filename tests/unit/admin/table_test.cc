#include "admin/table.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace dfs::admin {
namespace {

TEST(Table, columns_line_up_and_numbers_to_the_right) {
  EXPECT_EQ(
      format_table(
          {{"node", "address", "free"}, {"1", "a:1", "9 GiB"}, {"12", "long-name:9421", "10 GiB"}}),
      "node  address           free\n"
      "   1  a:1              9 GiB\n"
      "  12  long-name:9421  10 GiB\n");
}

TEST(Table, no_line_ends_with_spaces) {
  EXPECT_EQ(format_table({{"a", "b"}, {"x", "long"}, {"y", ""}}), "a  b\nx  long\ny\n");
}

TEST(Table, characters_count_and_not_bytes) {
  EXPECT_EQ(format_table({{"name", "x"}, {"größe", "y"}, {"a", "z"}}),
            "name   x\n"
            "größe  y\n"
            "a      z\n");
}

TEST(Table, addresses_are_no_numbers) {
  EXPECT_EQ(format_table({{"address"}, {"10.0.0.1:1"}, {"1:2"}}), "address\n10.0.0.1:1\n1:2\n");
}

TEST(Table, facts_line_up) {
  EXPECT_EQ(format_facts({{"a", "1"}, {"long", "2"}}), "a     1\nlong  2\n");
}

TEST(Table, sizes_have_at_most_four_digits) {
  EXPECT_EQ(format_size(0), "0 B");
  EXPECT_EQ(format_size(1023), "1023 B");
  EXPECT_EQ(format_size(1024), "1.0 KiB");
  EXPECT_EQ(format_size(1536), "1.5 KiB");
  EXPECT_EQ(format_size(std::uint64_t{12} << 30), "12.0 GiB");
  EXPECT_EQ(format_size(std::uint64_t{999} << 40), "999 TiB");
  EXPECT_EQ(format_size(UINT64_MAX), "16.0 EiB");
}

TEST(Escape, what_can_be_printed_stays) {
  for (const char* text : {"", "plain name", "größe", "日本", "\U0001F600", "\u00a0"}) {
    EXPECT_EQ(escape(text), text);
  }
}

TEST(Escape, nothing_drives_a_terminal_or_forges_a_line) {
  EXPECT_EQ(escape("a\nb\x1b[31m\x7f"), "a\\x0ab\\x1b[31m\\x7f");
  EXPECT_EQ(escape("\\x0a"), "\\\\x0a");
  EXPECT_EQ(escape("\xc2\x9b"), "\\xc2\\x9b");           // a C1 control
  EXPECT_EQ(escape("\xff\xc3"), "\\xff\\xc3");           // no UTF-8, cut off
  EXPECT_EQ(escape("\xe0\x80\x8a"), "\\xe0\\x80\\x8a");  // an overlong newline
  EXPECT_EQ(escape("\xc3("), "\\xc3(");
}

TEST(Escape, whatever_comes_is_valid_json_afterwards) {
  const std::string surrogate = "\xed\xa0\x80";
  const std::string beyond = "\xf4\x90\x80\x80";
  std::string all;
  for (int byte = 0; byte < 256; ++byte) {
    all.push_back(static_cast<char>(byte));
  }
  for (const std::string& bytes : {surrogate, beyond, all}) {
    EXPECT_EQ(nlohmann::json::parse(nlohmann::json(escape(bytes)).dump()), escape(bytes));
  }
}

}  // namespace
}  // namespace dfs::admin
