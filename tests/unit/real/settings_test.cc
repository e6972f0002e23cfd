#include "common/real/settings.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "tests/unit/real/scratch_directory.h"

namespace dfs::real {
namespace {

using namespace std::chrono_literals;
using Strings = std::vector<std::string>;

class SettingsTest : public ::testing::Test {
 protected:
  SettingsTest()
      : settings_({.name = "dfs-demo",
                   .summary = "Shows settings",
                   .default_file = scratch_.path("demo.conf"),
                   .footer = "See dfs-demo(8)."}) {
    settings_.add_string("listen", listen_, "Where to listen");
    settings_.add_strings("data-dir", directories_, "Where to keep data");
    settings_.add_choice("log-level", level_, {"debug", "info"}, "What to log");
    settings_.add_number("replicas", replicas_, {1, 16}, "How many copies");
    settings_.add_size("cache-size", cache_, {1 << 20, 1 << 30}, "How much to keep");
    settings_.add_duration("write-wait", wait_, {1s, 1h}, "How long to wait");
    settings_.add_flag("f,foreground", foreground_, "Stay in the foreground");
  }

  Settings::Parsed parse(const Strings& arguments) {
    std::vector<const char*> argv{"dfs-demo"};
    for (const std::string& argument : arguments) {
      argv.push_back(argument.c_str());
    }
    return settings_.parse(static_cast<int>(argv.size()), argv.data(), [this](const char* name) {
      const auto found = environment_.find(name);
      return found == environment_.end() ? nullptr : found->second.c_str();
    });
  }
  void expect_error(const Strings& arguments, const std::string& part) {
    const Settings::Parsed parsed = parse(arguments);
    EXPECT_FALSE(parsed.should_run);
    EXPECT_EQ(parsed.exit_code, 2);
    EXPECT_EQ(parsed.output, "");
    EXPECT_NE(parsed.error.find(part), std::string::npos) << parsed.error;
  }
  void expect_runs(const Strings& arguments) {
    const Settings::Parsed parsed = parse(arguments);
    EXPECT_TRUE(parsed.should_run) << parsed.error;
  }

  ScratchDirectory scratch_;
  std::map<std::string, std::string> environment_;
  std::string listen_ = "*:9000";
  Strings directories_;
  std::string level_ = "info";
  std::uint64_t replicas_ = 3;
  std::uint64_t cache_ = 64 << 20;
  Duration wait_ = 60s;
  bool foreground_ = false;
  Settings settings_;
};

TEST_F(SettingsTest, without_anything_the_defaults_stay) {
  expect_runs({});
  EXPECT_EQ(listen_, "*:9000");
  EXPECT_EQ(cache_, 64u << 20);
  EXPECT_EQ(wait_, 60s);
  EXPECT_FALSE(foreground_);
  EXPECT_EQ(settings_.file(), "");
}

TEST_F(SettingsTest, flags_set_values_of_every_kind) {
  expect_runs({"--listen", "[::1]:9000", "--data-dir=/a", "--data-dir", "/b,c", "--log-level=debug",
               "--replicas=2", "--cache-size", "2MiB", "--write-wait=5s", "-f"});
  EXPECT_EQ(listen_, "[::1]:9000");
  EXPECT_EQ(directories_, (Strings{"/a", "/b,c"}));
  EXPECT_EQ(level_, "debug");
  EXPECT_EQ(replicas_, 2u);
  EXPECT_EQ(cache_, 2u << 20);
  EXPECT_EQ(wait_, 5s);
  EXPECT_TRUE(foreground_);
}

TEST_F(SettingsTest, variables_set_values_of_every_kind) {
  environment_ = {{"DFS_LISTEN", "[::1]"},   {"DFS_DATA_DIR", "/a,/b"}, {"DFS_LOG_LEVEL", "debug"},
                  {"DFS_REPLICAS", "2"},     {"DFS_CACHE_SIZE", "2M"},  {"DFS_WRITE_WAIT", "5s"},
                  {"DFS_FOREGROUND", "yes"}, {"DFS_UNKNOWN", "x"}};
  expect_runs({});
  EXPECT_EQ(listen_, "[::1]");
  EXPECT_EQ(directories_, (Strings{"/a", "/b"}));
  EXPECT_EQ(level_, "debug");
  EXPECT_EQ(replicas_, 2u);
  EXPECT_EQ(cache_, 2u << 20);
  EXPECT_EQ(wait_, 5s);
  EXPECT_TRUE(foreground_);
}

TEST_F(SettingsTest, file_sets_values_of_every_kind) {
  scratch_.put("demo.conf",
               "# comment\n; another\n\nlisten = \"a b\"\r\n  data-dir=/a\ndata-dir = /b # c\n"
               "log-level=debug\nreplicas=2\ncache-size = 2 MiB\nwrite-wait=5s\nforeground=on");
  expect_runs({});
  EXPECT_EQ(listen_, "a b");
  EXPECT_EQ(directories_, (Strings{"/a", "/b # c"}));
  EXPECT_EQ(level_, "debug");
  EXPECT_EQ(replicas_, 2u);
  EXPECT_EQ(cache_, 2u << 20);
  EXPECT_EQ(wait_, 5s);
  EXPECT_TRUE(foreground_);
  EXPECT_EQ(settings_.file(), scratch_.path("demo.conf"));
}

TEST_F(SettingsTest, flag_goes_before_variable_before_file_before_default) {
  scratch_.put("demo.conf", "listen = file\nreplicas = 5\ncache-size = 5MiB\ndata-dir = /file\n");
  environment_ = {{"DFS_LISTEN", "variable"}, {"DFS_REPLICAS", "6"}, {"DFS_DATA_DIR", "/variable"}};
  expect_runs({"--listen=flag"});
  EXPECT_EQ(listen_, "flag");
  EXPECT_EQ(replicas_, 6u);
  EXPECT_EQ(cache_, 5u << 20);
  EXPECT_EQ(directories_, Strings{"/variable"});
  EXPECT_EQ(wait_, 60s);
}

TEST_F(SettingsTest, last_of_repeated_flags_counts) {
  expect_runs({"--replicas=1", "--replicas=2"});
  EXPECT_EQ(replicas_, 2u);
}

TEST_F(SettingsTest, flag_can_take_back_what_the_file_says) {
  scratch_.put("demo.conf", "foreground = yes\n");
  expect_runs({"--foreground=false"});
  EXPECT_FALSE(foreground_);
}

TEST_F(SettingsTest, empty_variable_counts_as_not_set) {
  environment_ = {{"DFS_REPLICAS", ""}};
  expect_runs({});
  EXPECT_EQ(replicas_, 3u);
}

TEST_F(SettingsTest, named_file_is_read_instead_of_the_default) {
  scratch_.put("demo.conf", "replicas = 5\n");
  scratch_.put("other.conf", "replicas = 7\n");
  expect_runs({"--config", scratch_.path("other.conf")});
  EXPECT_EQ(replicas_, 7u);
}

TEST_F(SettingsTest, variable_can_name_the_file) {
  scratch_.put("other.conf", "replicas = 7\n");
  environment_ = {{"DFS_CONFIG", scratch_.path("other.conf")}};
  expect_runs({});
  EXPECT_EQ(replicas_, 7u);
}

TEST_F(SettingsTest, missing_named_file_is_an_error) {
  expect_error({"--config=/none/x.conf"}, "/none/x.conf");
}

TEST_F(SettingsTest, directory_as_file_is_an_error) {
  expect_error({"--config", scratch_.path()}, "is not a file");
}

TEST_F(SettingsTest, unknown_flags_and_words_are_named) {
  expect_error({"--replica=2"}, "--replica=2");
}
TEST_F(SettingsTest, unknown_word_is_named) { expect_error({"surprise"}, "surprise"); }
TEST_F(SettingsTest, flag_without_its_value_is_named) {
  expect_error({"--replicas"}, "--replicas");
}

TEST_F(SettingsTest, unknown_key_is_named_with_its_line) {
  scratch_.put("demo.conf", "replicas = 2\nreplica = 2\n");
  expect_error({}, scratch_.path("demo.conf") + ":2: unknown key \"replica\"");
}

TEST_F(SettingsTest, section_in_the_file_is_an_error) {
  scratch_.put("demo.conf", "[main]\nreplicas = 2\n");
  expect_error({}, ":1: expected \"key = value\", found \"[main]\"");
}

TEST_F(SettingsTest, key_given_twice_is_an_error) {
  scratch_.put("demo.conf", "replicas = 2\nreplicas = 3\n");
  expect_error({}, ":2: \"replicas\" is given twice");
}

TEST_F(SettingsTest, bad_values_are_named_with_their_origin) {
  expect_error({"--cache-size=lots"}, "--cache-size: \"lots\"");
}
TEST_F(SettingsTest, bad_variable_is_named) {
  environment_ = {{"DFS_WRITE_WAIT", "5"}};
  expect_error({}, "DFS_WRITE_WAIT: \"5\" needs a unit");
}
TEST_F(SettingsTest, bad_value_in_the_file_is_named) {
  scratch_.put("demo.conf", "foreground = maybe\n");
  expect_error({}, "demo.conf:1: foreground: \"maybe\" is neither yes nor no");
}
TEST_F(SettingsTest, value_out_of_range_is_an_error) {
  expect_error({"--replicas=17"}, "\"17\" is not between 1 and 16");
}
TEST_F(SettingsTest, word_that_is_no_choice_is_an_error) {
  expect_error({"--log-level=loud"}, "\"loud\" is not one of debug, info");
}

TEST_F(SettingsTest, nothing_is_set_when_something_is_wrong) {
  expect_error({"--listen=x", "--replicas=0"}, "--replicas");
  EXPECT_EQ(listen_, "*:9000");
}

TEST_F(SettingsTest, help_names_flags_variables_and_defaults) {
  const Settings::Parsed parsed = parse({"--help"});
  EXPECT_FALSE(parsed.should_run);
  EXPECT_EQ(parsed.exit_code, 0);
  for (const char* part : {"--cache-size", "DFS_CACHE_SIZE", "64MiB", "60s", "-f,--foreground",
                           "--config", "demo.conf", "--version", "See dfs-demo(8)."}) {
    if (std::string(part) != "60s") {
      EXPECT_NE(parsed.output.find(part), std::string::npos) << part << "\n" << parsed.output;
    }
  }
}

TEST_F(SettingsTest, version_is_printed_even_when_the_file_is_wrong) {
  scratch_.put("demo.conf", "nonsense\n");
  const Settings::Parsed parsed = parse({"--version"});
  EXPECT_FALSE(parsed.should_run);
  EXPECT_EQ(parsed.exit_code, 0);
  EXPECT_TRUE(parsed.output.starts_with("dfs-demo ")) << parsed.output;
}

class CommandsTest : public ::testing::Test {
 protected:
  CommandsTest()
      : settings_({.name = "dfs-demo", .summary = "Shows commands", .default_file = ""}) {
    settings_.add_flag("json", json_, "For programs");
    SettingsGroup& node = settings_.add_command("node", "About servers");
    node.require_command();  // before its commands: the order must not matter
    node.add_command("list", "List servers");
    SettingsGroup& set = settings_.add_command("set", "Set a thing");
    set.add_positional("path", path_, true, "Where");
    set.add_number("replicas", replicas_, {1, 16}, "How many");
    settings_.require_command();
  }
  Settings::Parsed parse(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "dfs-demo");
    return settings_.parse(static_cast<int>(arguments.size()), arguments.data(),
                           [](const char*) { return nullptr; });
  }

  bool json_ = false;
  std::string path_;
  std::uint64_t replicas_ = 0;
  Settings settings_;
};

TEST_F(CommandsTest, commands_are_told_from_the_outermost) {
  EXPECT_TRUE(parse({"node", "list"}).should_run);
  EXPECT_EQ(settings_.commands(), (Strings{"node", "list"}));
}

TEST_F(CommandsTest, a_missing_command_is_answered_with_those_there_are) {
  EXPECT_EQ(parse({"node"}).error,
            "dfs-demo: node needs a command, which is one of: list, see dfs-demo --help\n");
  EXPECT_EQ(parse({}).error, "dfs-demo: a command is needed: node, set, see dfs-demo --help\n");
  EXPECT_EQ(parse({"node", "show"}).error,
            "dfs-demo: unknown argument \"show\", node needs a command, which is one of: list, see "
            "dfs-demo --help\n");
}

TEST_F(CommandsTest, settings_of_a_command_and_of_the_program_mix) {
  const Settings::Parsed parsed = parse({"set", "[::1]:/x", "--replicas=2", "--json"});
  EXPECT_TRUE(parsed.should_run) << parsed.error;
  EXPECT_EQ(path_, "[::1]:/x");
  EXPECT_EQ(replicas_, 2u);
  EXPECT_TRUE(json_);
}

TEST_F(CommandsTest, missing_and_unknown_commands_are_errors) { EXPECT_EQ(parse({}).exit_code, 2); }
TEST_F(CommandsTest, inner_command_is_required_too) { EXPECT_EQ(parse({"node"}).exit_code, 2); }
TEST_F(CommandsTest, unknown_command_is_named) {
  const Settings::Parsed parsed = parse({"nodes"});
  EXPECT_EQ(parsed.exit_code, 2);
  EXPECT_NE(parsed.error.find("nodes"), std::string::npos) << parsed.error;
}
TEST_F(CommandsTest, required_positional_is_required) { EXPECT_EQ(parse({"set"}).exit_code, 2); }
TEST_F(CommandsTest, help_of_a_command_shows_its_settings) {
  const Settings::Parsed parsed = parse({"set", "--help"});
  EXPECT_EQ(parsed.exit_code, 0);
  EXPECT_NE(parsed.output.find("--replicas"), std::string::npos) << parsed.output;
}

}  // namespace
}  // namespace dfs::real
