#include "common/real/settings.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <utility>

#include "common/assert.h"
#include "common/real/settings_file.h"
#include "common/real/units.h"
#include "common/version.h"

namespace dfs::real {
namespace {

constexpr int kUsageExitCode = 2;
constexpr const char* kVariablePrefix = "DFS_";

// One setting: how it is called, and how a text becomes its value.
struct Entry {
  std::string name;
  bool is_list = false;
  // Checks the texts and returns what sets the target, so that nothing is set when another setting
  // is wrong.
  std::function<Result<std::function<void()>>(const std::vector<std::string>&)> read;
  CLI::Option* option = nullptr;
  std::vector<std::string> arguments;  // from the command line
};

// Texts of a setting and where they come from, for messages.
struct Origin {
  std::vector<std::string> texts;
  std::string where;
};

std::string long_name(const std::string& name) {
  const std::size_t comma = name.find(',');
  return comma == std::string::npos ? name : name.substr(comma + 1);
}

std::string flag_names(const std::string& name) {
  const std::size_t comma = name.find(',');
  return (comma == std::string::npos ? "" : "-" + name.substr(0, comma) + ",") + "--" +
         long_name(name);
}

std::string variable_of(const std::string& name) {
  std::string variable = kVariablePrefix;
  for (const char c : name) {
    const bool is_lower = c >= 'a' && c <= 'z';
    variable += c == '-' ? '_' : is_lower ? static_cast<char>(c - 'a' + 'A') : c;
  }
  return variable;
}

Result<bool> parse_yes_no(const std::string& text) {
  for (const char* yes : {"yes", "true", "on", "1"}) {
    if (text == yes) {
      return true;
    }
  }
  for (const char* no : {"no", "false", "off", "0"}) {
    if (text == no) {
      return false;
    }
  }
  return make_error(ErrorCode::kInvalidArgument, "\"" + text + "\" is neither yes nor no");
}

Result<std::uint64_t> parse_count(const std::string& text) {
  const bool is_number = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
  if (!is_number) {
    return make_error(ErrorCode::kInvalidArgument, "\"" + text + "\" is not a whole number");
  }
  return parse_size(text);  // without a unit it is just the number
}

// The texts of a list may come in one variable.
std::vector<std::string> split_at_commas(const std::string& text) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t comma = std::min(text.find(',', begin), text.size());
    if (comma > begin) {
      parts.push_back(text.substr(begin, comma - begin));
    }
    begin = comma + 1;
  }
  return parts;
}

// A reader of one text, made of a parser.
template <class Value>
auto single(Value& target, std::function<Result<Value>(const std::string&)> parse) {
  return [&target, parse = std::move(parse)](
             const std::vector<std::string>& texts) -> Result<std::function<void()>> {
    DFS_ASSERT(texts.size() == 1);
    DFS_TRY(Value value, parse(texts.front()));
    return std::function<void()>([&target, value = std::move(value)] { target = value; });
  };
}

template <class Value>
std::function<Result<Value>(const std::string&)> within(SettingsGroup::Range<Value> allowed,
                                                        Result<Value> (*parse)(const std::string&),
                                                        std::string (*format)(Value)) {
  return [=](const std::string& text) -> Result<Value> {
    DFS_TRY(const Value value, parse(text));
    if (value < allowed.min || value > allowed.max) {
      return make_error(
          ErrorCode::kInvalidArgument,
          "\"" + text + "\" is not between " + format(allowed.min) + " and " + format(allowed.max));
    }
    return value;
  };
}

}  // namespace

struct SettingsGroup::Impl {
  // `app` is owned by the root's `owned_app`, or by the CLI::App above it.
  std::unique_ptr<CLI::App> owned_app;
  CLI::App* app = nullptr;
  bool has_variables = false;  // also read from the environment and the file
  std::vector<std::unique_ptr<Entry>> entries;
  std::map<std::string, std::unique_ptr<SettingsGroup>> commands;

  struct Look {
    std::string type;
    std::string default_text;
  };

  Entry& add(const std::string& name, const Look& look, const std::string& help) {
    auto entry = std::make_unique<Entry>();
    entry->name = long_name(name);
    // Const, or CLI11 takes the text for the variable that the flag is to set.
    const std::string text = has_variables ? help + " [" + variable_of(entry->name) + "]" : help;
    if (look.type.empty()) {
      entry->option = app->add_flag(flag_names(name), text);
    } else {
      entry->option = app->add_option(flag_names(name), entry->arguments, text);
      // Extra arguments would make it swallow the words that follow, and take "[::1]" for a list.
      entry->option->type_name(look.type)->expected(1)->allow_extra_args(false);
      entry->option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
      entry->option->default_str(look.default_text);
    }
    entries.push_back(std::move(entry));
    return *entries.back();
  }
};

SettingsGroup::SettingsGroup() : impl_(std::make_unique<Impl>()) {}
SettingsGroup::~SettingsGroup() = default;

void SettingsGroup::add_string(const std::string& name, std::string& target,
                               const std::string& help) {
  impl_->add(name, {"TEXT", target}, help).read = single<std::string>(
      target, [](const std::string& text) -> Result<std::string> { return text; });
}

void SettingsGroup::add_strings(const std::string& name, std::vector<std::string>& target,
                                const std::string& help) {
  Entry& entry = impl_->add(name, {"TEXT", {}}, help + "; may be repeated");
  entry.is_list = true;
  entry.option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  entry.read = [&target](const std::vector<std::string>& texts) -> Result<std::function<void()>> {
    return std::function<void()>([&target, texts] { target = texts; });
  };
}

void SettingsGroup::add_choice(const std::string& name, std::string& target,
                               const std::vector<std::string>& choices, const std::string& help) {
  std::string listed;
  for (const std::string& choice : choices) {
    listed += (listed.empty() ? "" : ", ") + choice;
  }
  impl_->add(name, {"WORD", target}, help + ": " + listed).read = single<std::string>(
      target, [choices, listed](const std::string& text) -> Result<std::string> {
        if (std::find(choices.begin(), choices.end(), text) == choices.end()) {
          return make_error(ErrorCode::kInvalidArgument,
                            "\"" + text + "\" is not one of " + listed);
        }
        return text;
      });
}

void SettingsGroup::add_number(const std::string& name, std::uint64_t& target, Counts allowed,
                               const std::string& help) {
  const auto format = [](std::uint64_t number) { return std::to_string(number); };
  impl_->add(name, {"NUMBER", format(target)}, help).read =
      single<std::uint64_t>(target, within<std::uint64_t>(allowed, parse_count, format));
}

void SettingsGroup::add_size(const std::string& name, std::uint64_t& target, Counts allowed,
                             const std::string& help) {
  impl_->add(name, {"SIZE", format_size(target)}, help).read =
      single<std::uint64_t>(target, within<std::uint64_t>(allowed, parse_size, format_size));
}

void SettingsGroup::add_duration(const std::string& name, Duration& target, Times allowed,
                                 const std::string& help) {
  impl_->add(name, {"TIME", format_duration(target)}, help).read =
      single<Duration>(target, within<Duration>(allowed, parse_duration, format_duration));
}

void SettingsGroup::add_flag(const std::string& name, bool& target, const std::string& help) {
  impl_->add(name, {}, help).read = single<bool>(target, parse_yes_no);
}

void SettingsGroup::add_positional(const std::string& name, std::string& target, bool is_required,
                                   const std::string& help) {
  // Only ever set by the command line, so CLI11 may set the target.
  impl_->app->add_option(name, target, help)->required(is_required)->type_name("");
}

SettingsGroup& SettingsGroup::add_command(const std::string& name, const std::string& help) {
  std::unique_ptr<SettingsGroup>& group = impl_->commands[name];
  DFS_ASSERT(group == nullptr);
  group = std::make_unique<SettingsGroup>();
  group->impl_->app = impl_->app->add_subcommand(name, help);
  group->impl_->app->fallthrough();
  // As many as are required already: at least one after require_command().
  impl_->app->require_subcommand(static_cast<int>(impl_->app->get_require_subcommand_min()), 1);
  return *group;
}

void SettingsGroup::require_command() { impl_->app->require_subcommand(1, 1); }

struct Settings::State {
  Program program;
  std::string config_flag;
  std::string file;
  std::vector<std::string> commands;

  // Everything below is what parse() does, in order; the first error ends it.
  Result<std::map<std::string, Origin>> read_file(
      const std::vector<std::unique_ptr<Entry>>& entries, const Environment& environment);
  Status apply(const SettingsGroup& root, const Environment& environment);
};

namespace {

// Arguments and files may hold anything; a message is one line, and drives no terminal.
std::string one_line(std::string text) {
  for (char& c : text) {
    const bool is_control = (c >= '\0' && c < ' ') || c == '\x7f';
    c = is_control ? '?' : c;
  }
  return text + "\n";
}

const char* process_variable(const char* name) { return std::getenv(name); }

// An empty variable counts as not set: that is how an EnvironmentFile takes one back.
std::optional<std::string> variable(const Settings::Environment& environment,
                                    const std::string& name) {
  const char* const value = environment(variable_of(name).c_str());
  return value == nullptr || *value == '\0' ? std::nullopt : std::optional<std::string>(value);
}

std::optional<Origin> command_line_origin(const Entry& entry) {
  if (entry.option->count() == 0) {
    return std::nullopt;
  }
  // As they were written; what CLI11 made of them for `arguments` depends on its policies.
  const std::vector<std::string>& given = entry.option->results();
  const std::vector<std::string> texts =
      entry.is_list ? given : std::vector<std::string>{given.back()};
  return Origin{texts, "--" + entry.name};
}

std::optional<Origin> variable_origin(const Entry& entry,
                                      const Settings::Environment& environment) {
  const std::optional<std::string> text = variable(environment, entry.name);
  if (!text) {
    return std::nullopt;
  }
  return Origin{entry.is_list ? split_at_commas(*text) : std::vector<std::string>{*text},
                variable_of(entry.name)};
}

// Checks the entries' texts and adds what sets their targets.
Status read_entries(const std::vector<std::unique_ptr<Entry>>& entries,
                    const std::function<std::optional<Origin>(const Entry&)>& origin_of,
                    std::vector<std::function<void()>>& assignments) {
  for (const auto& entry : entries) {
    const std::optional<Origin> origin = origin_of(*entry);
    if (origin) {
      auto assignment = entry->read(origin->texts);
      if (!assignment) {
        return make_error(assignment.code(), origin->where + ": " + assignment.error().detail);
      }
      assignments.push_back(std::move(*assignment));
    }
  }
  return ok();
}

// The path of commands given, and their groups.
std::vector<std::string> given_commands(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* at = &app; !at->get_subcommands().empty();) {
    at = at->get_subcommands().front();
    names.push_back(at->get_name());
  }
  return names;
}

// Which commands there are where one is needed and none was given; empty: that is not so.
std::string missing_command(const CLI::App& app) {
  const CLI::App* at = &app;
  while (!at->get_subcommands().empty()) {
    at = at->get_subcommands().front();
  }
  if (at->get_require_subcommand_min() == 0) {
    return {};
  }
  std::string names;
  for (const CLI::App* command : at->get_subcommands([](const CLI::App*) { return true; })) {
    names += (names.empty() ? "" : ", ") + command->get_name();
  }
  return (at == &app ? "a command" : at->get_name() + " needs a command, which") +
         (at == &app ? " is needed: " : " is one of: ") + names;
}

}  // namespace

Result<std::map<std::string, Origin>> Settings::State::read_file(
    const std::vector<std::unique_ptr<Entry>>& entries, const Environment& environment) {
  std::map<std::string, Origin> origins;
  if (program.default_file.empty()) {
    return origins;
  }
  const std::string named =
      config_flag.empty() ? variable(environment, "config").value_or("") : config_flag;
  const std::string path = named.empty() ? program.default_file : named;
  auto lines = read_settings_file(path);
  if (!lines && lines.code() == ErrorCode::kNotFound && named.empty()) {
    return origins;
  }
  if (!lines) {
    return std::move(lines).error();
  }
  file = path;
  for (const SettingsLine& line : *lines) {
    const std::string place = path + ":" + std::to_string(line.line) + ": ";
    const auto found = std::find_if(entries.begin(), entries.end(),
                                    [&](const auto& entry) { return entry->name == line.key; });
    if (found == entries.end()) {
      return make_error(ErrorCode::kInvalidArgument, place + "unknown key \"" + line.key + "\"");
    }
    Origin& origin = origins[line.key];
    if (!origin.texts.empty() && !(*found)->is_list) {
      return make_error(ErrorCode::kInvalidArgument, place + "\"" + line.key + "\" is given twice");
    }
    origin.texts.push_back(line.value);
    origin.where = place + line.key;
  }
  return origins;
}

Status Settings::State::apply(const SettingsGroup& root, const Environment& environment) {
  std::vector<std::function<void()>> assignments;
  DFS_TRY(auto from_file, read_file(root.impl_->entries, environment));
  const auto first_of_all = [&](const Entry& entry) -> std::optional<Origin> {
    if (auto origin = command_line_origin(entry)) {
      return origin;
    }
    if (auto origin = variable_origin(entry, environment)) {
      return origin;
    }
    const auto found = from_file.find(entry.name);
    return found == from_file.end() ? std::nullopt : std::optional<Origin>(found->second);
  };
  DFS_CHECK_OK(read_entries(root.impl_->entries, first_of_all, assignments));
  commands = given_commands(*root.impl_->app);
  const SettingsGroup* group = &root;
  for (const std::string& command : commands) {
    group = group->impl_->commands.at(command).get();
    DFS_CHECK_OK(read_entries(group->impl_->entries, command_line_origin, assignments));
  }
  for (const auto& assign : assignments) {
    assign();
  }
  return ok();
}

Settings::Settings(Program program) : state_(std::make_unique<State>()) {
  state_->program = std::move(program);
  const Program& about = state_->program;
  impl_->owned_app = std::make_unique<CLI::App>(about.summary, about.name);
  impl_->app = impl_->owned_app.get();
  impl_->has_variables = true;
  impl_->app->set_help_flag("-h,--help", "Print this help and exit");
  impl_->app->set_version_flag("--version", about.name + " " + kVersion,
                               "Print the version and exit");
  impl_->app->footer(about.footer);
  if (!about.default_file.empty()) {
    impl_->app
        ->add_option("--config", state_->config_flag,
                     "The file to read settings from [" + variable_of("config") + "]")
        ->type_name("FILE")
        ->default_str(about.default_file);
  }
}

Settings::~Settings() = default;

Settings::Parsed Settings::parse(int argc, const char* const* argv) {
  return parse(argc, argv, process_variable);
}

Settings::Parsed Settings::parse(int argc, const char* const* argv,
                                 const Environment& environment) {
  const std::string& name = state_->program.name;
  Parsed parsed;
  try {
    impl_->app->parse(argc, argv);
    const Status applied = state_->apply(*this, environment);
    parsed.should_run = applied.has_value();
    if (!applied) {
      parsed.exit_code = kUsageExitCode;
      parsed.error = one_line(name + ": " + applied.error().detail);
    }
  } catch (const CLI::CallForHelp&) {
    parsed.output = impl_->app->help();
  } catch (const CLI::CallForVersion&) {
    parsed.output = impl_->app->version() + "\n";
  } catch (const CLI::ParseError& error) {
    // A word that nothing takes tells more than the word that is missing because of it.
    const std::vector<std::string> unknown = impl_->app->remaining(true);
    const std::string missing = missing_command(*impl_->app);
    std::string reason = missing.empty() || !unknown.empty() ? error.what() : missing;
    if (!unknown.empty()) {
      reason =
          "unknown argument \"" + unknown.front() + "\"" + (missing.empty() ? "" : ", " + missing);
    }
    parsed.exit_code = kUsageExitCode;
    parsed.error = one_line(name + ": " + reason + ", see " + name + " --help");
  }
  return parsed;
}

const std::vector<std::string>& Settings::commands() const { return state_->commands; }
const std::string& Settings::file() const { return state_->file; }

int Settings::Parsed::finish() const {
  const bool is_told = std::fputs(output.c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
  std::fputs(error.c_str(), stderr);
  return exit_code == 0 && !is_told ? 1 : exit_code;
}

}  // namespace dfs::real
