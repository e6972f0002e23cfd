#include "tests/coherence/history.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <sstream>

namespace dfs::coherence {
namespace {

constexpr std::string_view kHead = "dfs-coherence-1";

constexpr std::array<std::string_view, 28> kKindNames = {
    "create",   "open",      "lookup",    "unlink",   "rename", "rename-noreplace",
    "exchange", "link",      "stat",      "list",     "fstat",  "write",
    "read",     "truncate",  "append",    "read-all", "lock",   "try-lock",
    "unlock",   "link-open", "punch",     "allocate", "copy",   "sync",
    "lose",     "set-xattr", "get-xattr", "hide"};

std::string word_or_dash(const std::string& word) { return word.empty() ? "-" : word; }

template <class Items, class Print>
std::string join(const Items& items, char separator, Print print) {
  std::string text;
  for (const auto& item : items) {
    text += (text.empty() ? "" : std::string(1, separator)) + print(item);
  }
  return text;
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream in(text == "-" ? "" : text);
  for (std::string part; std::getline(in, part, separator);) {
    parts.push_back(part);
  }
  return parts;
}

bool take_number(const std::string& word, std::uint64_t& number) {
  char* end = nullptr;
  number = std::strtoull(word.c_str(), &end, 10);
  return !word.empty() && *end == '\0';
}

bool take_word(std::istringstream& in, std::string& word) {
  in >> word;
  if (word == "-") {
    word.clear();
  }
  return static_cast<bool>(in);
}

class Parser {
 public:
  // False: the line makes no sense here.
  bool take(const std::string& line) {
    std::istringstream in(line);
    std::string what;
    in >> what;
    if (what == kHead) {
      is_headed_ = true;
      return static_cast<bool>(in >> process_ >> mount_);
    }
    return is_headed_ && (what == "B" ? take_begin(in) : what == "E" && take_end(in));
  }

  History take_history() { return std::move(history_); }

 private:
  bool take_begin(std::istringstream& in) {
    Operation op;
    op.process = process_;
    op.mount = mount_;
    std::string kind;
    in >> op.sequence >> op.invoked_ns >> kind;
    const auto known = kind_from(kind);
    if (!known || !take_word(in, op.name) || !take_word(in, op.other)) {
      return false;
    }
    op.kind = *known;
    in >> op.file >> op.slot >> op.bytes >> op.value;
    history_.push_back(std::move(op));
    return static_cast<bool>(in);
  }

  bool take_end(std::istringstream& in) {
    std::uint64_t sequence = 0;
    if (!(in >> sequence) || history_.empty() || history_.back().sequence != sequence) {
      return false;
    }
    Operation& op = history_.back();
    std::string ids, listing;
    in >> op.invoked_ns >> op.completed_ns >> op.error >> op.inode >> op.links >> op.size >> ids >>
        listing;
    for (const std::string& id : split(ids, ',')) {
      if (!take_number(id, op.ids.emplace_back())) {
        return false;
      }
    }
    for (const std::string& entry : split(listing, ',')) {
      const std::size_t middle = entry.find('=');
      if (middle == std::string::npos) {
        return false;
      }
      op.listing.push_back({entry.substr(0, middle), 0});
      if (!take_number(entry.substr(middle + 1), op.listing.back().inode)) {
        return false;
      }
    }
    return static_cast<bool>(in) && op.listing.size() <= kListingEntriesMax;
  }

  std::uint32_t process_ = 0, mount_ = 0;
  bool is_headed_ = false;
  History history_;
};

}  // namespace

std::string_view to_string(Kind kind) { return kKindNames.at(static_cast<std::size_t>(kind)); }

std::optional<Kind> kind_from(std::string_view word) {
  const auto* const place = std::find(kKindNames.begin(), kKindNames.end(), word);
  return place == kKindNames.end() ? std::nullopt
                                   : std::optional(static_cast<Kind>(place - kKindNames.begin()));
}

bool is_reading(Kind kind) {
  return kind == Kind::kLookup || kind == Kind::kStat || kind == Kind::kList ||
         kind == Kind::kFstat || kind == Kind::kRead || kind == Kind::kReadAll ||
         kind == Kind::kSync || kind == Kind::kGetXattr;
}

std::uint64_t make_id(std::uint32_t process, std::uint32_t count) {
  return (std::uint64_t{process} + 1) << 32 | count;
}

std::string head_line(std::uint32_t process, std::uint32_t mount) {
  std::ostringstream out;
  out << kHead << ' ' << process << ' ' << mount << '\n';
  return out.str();
}

std::string begin_line(const Operation& op) {
  std::ostringstream out;
  out << "B " << op.sequence << ' ' << op.invoked_ns << ' ' << to_string(op.kind) << ' '
      << word_or_dash(op.name) << ' ' << word_or_dash(op.other) << ' ' << op.file << ' ' << op.slot
      << ' ' << op.bytes << ' ' << op.value << '\n';
  return out.str();
}

std::string end_line(const Operation& op) {
  const std::string ids = join(op.ids, ',', [](std::uint64_t id) { return std::to_string(id); });
  const std::string listing = join(op.listing, ',', [](const Entry& entry) {
    return entry.name + "=" + std::to_string(entry.inode);
  });
  std::ostringstream out;
  out << "E " << op.sequence << ' ' << op.invoked_ns << ' ' << op.completed_ns << ' ' << op.error
      << ' ' << op.inode << ' ' << op.links << ' ' << op.size << ' ' << word_or_dash(ids) << ' '
      << word_or_dash(listing) << '\n';
  return out.str();
}

Result<History> parse_history(std::string_view text) {
  Parser parser;
  std::size_t number = 0;
  for (std::size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
    ++number;
    const std::string line(text.substr(0, end));
    text.remove_prefix(end + 1);
    if (!parser.take(line)) {
      return make_error(ErrorCode::kInvalidArgument,
                        "line " + std::to_string(number) + " is not of a history: " + line);
    }
  }
  return parser.take_history();
}

std::string describe_id(std::uint64_t id) {
  if (id == 0 || id == kGarbage) {
    return id == 0 ? "hole" : "garbage";
  }
  return std::to_string((id >> 32) - 1) + "." + std::to_string(id & 0xffffffffu);
}

std::string describe_request(const Operation& op) {
  std::string text(to_string(op.kind));
  text += (op.name.empty() ? "" : " " + op.name) + (op.other.empty() ? "" : " " + op.other);
  text += op.file == 0 ? "" : " of inode " + std::to_string(op.file);
  switch (op.kind) {
    case Kind::kWrite:
    case Kind::kPunch:
    case Kind::kAllocate:
    case Kind::kRead: text += " slot " + std::to_string(op.slot); break;
    case Kind::kCopy:
      text += " slot " + std::to_string(op.slot) + " to " + std::to_string(op.value);
      break;
    case Kind::kLock:
    case Kind::kTryLock:
    case Kind::kUnlock: text += " byte " + std::to_string(op.slot); break;
    case Kind::kTruncate: text += " to " + std::to_string(op.value); break;
    default: break;
  }
  const bool has_id =
      op.kind == Kind::kWrite || op.kind == Kind::kAppend || op.kind == Kind::kSetXattr;
  return text + (has_id ? " " + describe_id(op.value) : "");
}

std::string describe_answer(const Operation& op) {
  if (!op.is_known()) {
    return "(not known)";
  }
  if (op.error != 0) {
    return strerrorname_np(op.error) != nullptr ? strerrorname_np(op.error) : "an unknown error";
  }
  const std::string of_inode = "inode " + std::to_string(op.inode);
  const std::string attributes =
      "links " + std::to_string(op.links) + " size " + std::to_string(op.size);
  switch (op.kind) {
    case Kind::kCreate:
    case Kind::kOpen:
    case Kind::kLookup: return of_inode;
    case Kind::kStat: return of_inode + " " + attributes;
    case Kind::kFstat: return attributes;
    case Kind::kGetXattr: return op.ids.empty() ? "none" : join(op.ids, '|', describe_id);
    case Kind::kCopy: return op.size == 0 ? "nothing" : "done";
    case Kind::kRead: return op.ids.empty() ? "end of file" : join(op.ids, '|', describe_id);
    case Kind::kReadAll: return op.ids.empty() ? "nothing" : join(op.ids, ' ', describe_id);
    case Kind::kList:
      return join(op.listing, ' ', [](const Entry& entry) {
        return entry.name + "=" + std::to_string(entry.inode);
      });
    default: return "done";
  }
}

}  // namespace dfs::coherence
