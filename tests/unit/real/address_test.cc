#include "common/real/address.h"

#include <gtest/gtest.h>

#include <utility>

namespace dfs::real {
namespace {

TEST(Address, host_and_port_are_told_apart) {
  const auto v4 = parse_connect_address("10.1.2.3:9000");
  ASSERT_TRUE(v4);
  EXPECT_EQ(v4->host, "10.1.2.3");
  EXPECT_EQ(v4->port, 9000);
  EXPECT_TRUE(v4->is_numeric);
  const auto name = parse_connect_address("master-1.example.org:9000");
  ASSERT_TRUE(name);
  EXPECT_FALSE(name->is_numeric);
  const auto v6 = parse_connect_address("[2001:db8::1]:65535");
  ASSERT_TRUE(v6);
  EXPECT_EQ(v6->host, "2001:db8::1");
  EXPECT_EQ(v6->text(), "[2001:db8::1]:65535");
  EXPECT_TRUE(parse_connect_address("[fe80::1%eth0]:1"));
}

TEST(Address, what_is_no_address_is_refused_by_name) {
  for (const char* text :
       {"",         ":",       "host",    "host:",    ":9000",        "host:0",    "host:65536",
        "host:-1",  "host: 1", "host:1x", "::1:9000", "[::1]",        "[::1:9000", "[host]:9000",
        "[::1%]:1", "a b:1",   "a;b:1",   "*:9000",   "tcp://host:1", "-host:1",   "host/dir:1"}) {
    const auto parsed = parse_connect_address(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(parsed.error().detail.find('"' + std::string(text) + '"'), std::string::npos);
  }
}

TEST(Address, a_masters_port_need_not_be_given) {
  for (const auto& [text, whole] : {std::pair{"master", "master:9420"},
                                    {"10.0.0.1", "10.0.0.1:9420"},
                                    {"[::1]", "[::1]:9420"},
                                    {"master:1", "master:1"},
                                    {"[::1]:1", "[::1]:1"}}) {
    const auto parsed = parse_master_address(text);
    ASSERT_TRUE(parsed) << text;
    EXPECT_EQ(parsed->text(), whole);
  }
  for (const char* text : {"", "::1", "[x]", "master:", "[::1]:x"}) {
    EXPECT_FALSE(parse_master_address(text)) << text;
  }
}

TEST(Address, listening_takes_any_port_and_all_hosts_but_no_names) {
  EXPECT_TRUE(parse_listen_address("*:0"));
  EXPECT_TRUE(parse_listen_address("0.0.0.0:9000"));
  EXPECT_TRUE(parse_listen_address("[::]:0"));
  EXPECT_FALSE(parse_listen_address("localhost:9000"));
}

}  // namespace
}  // namespace dfs::real
