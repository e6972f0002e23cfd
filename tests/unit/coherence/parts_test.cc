// Histories as text, taken apart, and excused.
#include "tests/coherence/parts.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "tests/coherence/checker.h"
#include "tests/coherence/report.h"
#include "tests/unit/coherence/story.h"

namespace dfs::coherence {
namespace {

std::string text_of(const History& history) {
  std::string text = head_line(history.front().process, history.front().mount);
  for (const Operation& op : history) {
    text += begin_line(op) + (op.is_known() ? end_line(op) : "");
  }
  return text;
}

History of_one_process() {
  Story story;
  story.opens(1, 2, Kind::kCreate, "a", 7);
  story.add(3, 4, Kind::kRenameNoReplace, "a", "b");
  story.lists(5, 6, {{"a", 7}, {"b", 8}});
  story.reads(7, 8, 2, {11, 12});
  story.fails(9, 10, Kind::kStat, ENOENT, "c");
  story.truncates(11, kNever, 512);
  History history = story.history();
  for (Operation& op : history) {
    op.process = 3;
    op.mount = 1;
  }
  return history;
}

TEST(HistoryText, is_read_as_it_was_written) {
  const History history = of_one_process();
  const auto read = parse_history(text_of(history));
  ASSERT_TRUE(read) << read.error().detail;
  EXPECT_EQ(*read, history);
}

TEST(HistoryText, that_was_cut_off_has_what_was_whole) {
  const History history = of_one_process();
  const std::string text = text_of(history);
  for (std::size_t length = 0; length <= text.size(); ++length) {
    const auto read = parse_history(text.substr(0, length));
    ASSERT_TRUE(read) << read.error().detail;
    EXPECT_LE(read->size(), history.size());
  }
}

TEST(HistoryText, of_something_else_is_refused) {
  for (const char* text : {"B 1 1 stat a - 0 0 0 0\n", "dfs-coherence-1 0\n",
                           "dfs-coherence-1 0 0\nB 1 1 fly a - 0 0 0 0\n",
                           "dfs-coherence-1 0 0\nE 1 1 1 0 0 0 0 - -\n"}) {
    EXPECT_EQ(parse_history(text).code(), ErrorCode::kInvalidArgument) << text;
  }
}

TEST(Parts, are_the_directory_each_file_and_each_lock) {
  Story story;
  story.opens(1, 2, Kind::kCreate, "a", 7);
  story.writes(3, 4, 0, 11);
  story.stats(5, 6, "a", 7, 1);
  story.locks(7, 8, Kind::kLock, 1);
  const auto parts = take_apart(story.history());
  ASSERT_TRUE(parts);
  ASSERT_EQ(parts->size(), 3u);
  EXPECT_EQ((*parts)[0].history.size(), 2u);
  EXPECT_EQ((*parts)[1].history.size(), 2u);
  // The stat did not see what had been written; its name and links are right.
  EXPECT_FALSE(check(*(*parts)[0].object, (*parts)[0].history));
  const auto found = check(*(*parts)[1].object, (*parts)[1].history);
  ASSERT_TRUE(found);
  EXPECT_NE(report((*parts)[1], *found).find("> "), std::string::npos);
}

TEST(Parts, who_ended_with_a_lock_has_given_it_up) {
  Story story;
  story.locks(1, 2, Kind::kLock, 1);
  story.locks(3, kNever, Kind::kUnlock, 1);
  story.locks(4, 5, Kind::kLock, 2);
  story.locks(6, 7, Kind::kLock, 3);
  const auto parts = take_apart(story.history());
  ASSERT_TRUE(parts);
  EXPECT_FALSE(check(*parts->back().object, parts->back().history));
}

TEST(Parts, nothing_is_demanded_of_what_a_paused_mount_told) {
  Story story;
  story.opens(1, 2, Kind::kCreate, "a", 7);
  story.add(3, 4, Kind::kUnlink, "a");
  story.stats(10, 11, "a", 7, 1);
  const auto judge = [&](const std::vector<Pause>& pauses) {
    auto parts = take_apart(excuse(story.history(), pauses));
    return check(*parts->front().object, parts->front().history).has_value();
  };
  EXPECT_TRUE(judge({}));
  EXPECT_TRUE(judge({{.mount = 1, .from_ns = 9, .to_ns = 12}}));
  EXPECT_TRUE(judge({{.mount = 0, .from_ns = 12, .to_ns = 20}}));
  EXPECT_FALSE(judge({{.mount = 0, .from_ns = 9, .to_ns = 12}}));
}

}  // namespace
}  // namespace dfs::coherence
