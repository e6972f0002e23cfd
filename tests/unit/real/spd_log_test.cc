#include "common/real/spd_log.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <regex>
#include <string>

#include "tests/unit/real/scratch_directory.h"

namespace dfs::real {
namespace {

class SpdLogTest : public ::testing::Test {
 protected:
  std::unique_ptr<SpdLog> open(LogLevel level) {
    auto log = SpdLog::create(level, scratch_.path("log"));
    EXPECT_TRUE(log) << log.error().detail;
    return std::move(*log);
  }
  ScratchDirectory scratch_;
};

TEST_F(SpdLogTest, line_has_time_level_and_text) {
  open(LogLevel::kInfo)->warning("a replica is lost chunk=12 {} %s");
  const std::regex form(
      R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z warning a replica is lost chunk=12 \{\} %s\n)");
  EXPECT_TRUE(std::regex_match(scratch_.get("log"), form)) << scratch_.get("log");
}

TEST_F(SpdLogTest, lines_below_the_level_are_not_kept) {
  const auto log = open(LogLevel::kWarning);
  EXPECT_FALSE(log->is_enabled(LogLevel::kInfo));
  EXPECT_TRUE(log->is_enabled(LogLevel::kError));
  log->info("quiet");
  log->error("loud");
  EXPECT_EQ(scratch_.get("log").find("quiet"), std::string::npos);
  EXPECT_NE(scratch_.get("log").find("loud"), std::string::npos);
}

TEST_F(SpdLogTest, bytes_that_are_not_printable_are_escaped) {
  open(LogLevel::kInfo)->info(std::string("name=\n\x1b[31m\xff\0 end", 17));
  EXPECT_NE(scratch_.get("log").find(R"(name=\x0a\x1b[31m\xff\x00 end)"), std::string::npos)
      << scratch_.get("log");
}

TEST_F(SpdLogTest, reopen_goes_on_in_a_new_file) {
  const auto log = open(LogLevel::kInfo);
  log->info("before");
  ASSERT_EQ(std::rename(scratch_.path("log").c_str(), scratch_.path("log.1").c_str()), 0);
  log->info("moved");
  log->reopen();
  log->info("after");
  EXPECT_NE(scratch_.get("log.1").find("moved"), std::string::npos);
  EXPECT_EQ(scratch_.get("log").find("moved"), std::string::npos);
  EXPECT_NE(scratch_.get("log").find("after"), std::string::npos);
}

TEST_F(SpdLogTest, file_that_cannot_be_opened_is_an_error_that_names_it) {
  const auto log = SpdLog::create(LogLevel::kInfo, "/proc/none/log");
  ASSERT_FALSE(log);
  EXPECT_NE(log.error().detail.find("/proc/none/log"), std::string::npos);
}

TEST_F(SpdLogTest, missing_folder_is_an_error_and_is_not_made) {
  const auto log = SpdLog::create(LogLevel::kInfo, scratch_.path("none/log"));
  ASSERT_EQ(log.code(), ErrorCode::kNotFound);
  EXPECT_NE(log.error().detail.find("none/log"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(scratch_.path("none")));
}

TEST_F(SpdLogTest, system_log_is_no_file_of_that_name) {
  const auto log = SpdLog::create(LogLevel::kInfo, kSystemLog);
  ASSERT_TRUE(log);
  (*log)->reopen();
  (*log)->debug("below the level, so the test leaves no trace");
  EXPECT_FALSE(std::filesystem::exists("syslog"));
}

TEST_F(SpdLogTest, level_names_are_read) {
  EXPECT_EQ(*parse_log_level("debug"), LogLevel::kDebug);
  EXPECT_EQ(*parse_log_level("warning"), LogLevel::kWarning);
  EXPECT_EQ(parse_log_level("loud").code(), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace dfs::real
