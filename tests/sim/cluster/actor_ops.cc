// Which operation comes next, and what all operations do with their answers.
#include <algorithm>
#include <array>

#include "proto/xattr_kinds.h"
#include "tests/sim/cluster/actor.h"
#include "tests/sim/cluster/model_acl.h"

namespace dfs::sim {
namespace {

constexpr std::uint64_t kNamesPerDirectory = 8;

}  // namespace

void Actor::next_operation() {
  struct Choice {
    std::uint32_t weight;
    void (Actor::*operation)();
  };
  static constexpr std::array<Choice, 26> kChoices = {{
      {100, &Actor::op_create},        {40, &Actor::op_make},
      {50, &Actor::op_unlink},         {25, &Actor::op_remove_directory},
      {60, &Actor::op_rename},         {25, &Actor::op_link},
      {30, &Actor::op_set_attributes}, {15, &Actor::op_set_xattr},
      {8, &Actor::op_remove_xattr},    {70, &Actor::op_open},
      {50, &Actor::op_release},        {180, &Actor::op_write},
      {50, &Actor::op_append},         {30, &Actor::op_truncate},
      {120, &Actor::op_read},          {15, &Actor::op_flush},
      {40, &Actor::op_sync},           {8, &Actor::op_sync_directory},
      {5, &Actor::op_sync_all},        {40, &Actor::op_stat},
      {40, &Actor::op_lookup},         {15, &Actor::op_list},
      {8, &Actor::op_read_link},       {8, &Actor::op_get_xattr},
      {8, &Actor::op_list_xattrs},     {40, &Actor::op_peek},
  }};
  std::uint64_t total = 0;
  for (const Choice& choice : kChoices) {
    total += choice.weight;
  }
  std::uint64_t pick = random_.below(total);
  for (const Choice& choice : kChoices) {
    if (pick < choice.weight) {
      const std::uint64_t begun = operations_begun_;
      (this->*choice.operation)();
      if (operations_begun_ == begun) {  // it found nothing to do
        rest();
      }
      return;
    }
    pick -= choice.weight;
  }
}

void Actor::begin(std::string what) {
  state_ = State::kWaiting;
  ++operations_begun_;
  issued_at_ = host_.events().now();
  known_ = host_.positions();
  current_ = std::move(what);
  host_.events().trace(current_);
  host_.say("actor " + std::to_string(options_.index) + " " + current_);
  plan_interrupt();
}

void Actor::begin_change(TreeChange change, const std::string& what) {
  begin(what);
  changing_ = change.node;
  model_.begin(std::move(change), known_);
}

void Actor::end_change(ErrorCode code, const Attributes* attributes) {
  host_.events().trace(static_cast<std::uint64_t>(code));
  const auto cut = std::exchange(cut_, std::nullopt);
  if (code == ErrorCode::kSessionExpired || is_interrupted(code)) {
    // What became of the change nobody knows; with the session more is lost.
    if (code == ErrorCode::kSessionExpired) {
      lose_with_client();
    } else {
      lose(Loss::kAnswer);
    }
    end_operation();
    return;
  }
  master_answered();
  if (const auto wrong =
          model_.finish(code, attributes != nullptr ? attributes->inode : InodeId{})) {
    fail(*wrong);
    return;
  }
  if (is_sure() && code == ErrorCode::kOk) {
    if (cut) {
      model_.contents(cut->first).finish_truncate(cut->second);
    }
    touched(changing_);
  }
  end_operation();
}

// A sync from now on covers it, and all that was there when it was asked for.
void Actor::touched(NodeKey key) {
  last_touch_ = known_;
  last_touch_[options_.index] = model_.position();
  if (key.is_set()) {
    touched_[key] = last_touch_;
  }
}

void Actor::check_attributes(NodeKey key, const Attributes& attributes) {
  if (!is_sure()) {
    return;
  }
  if (const auto wrong = model_.attributes_mismatch(key, attributes)) {
    fail("attributes: " + *wrong);
  }
}

bool Actor::is_checkable(ErrorCode code) {
  host_.events().trace(static_cast<std::uint64_t>(code));
  if (!is_sure() || is_interrupted(code)) {
    return false;
  }
  if (code == ErrorCode::kOk) {
    return true;
  }
  fail(std::string("failed with ") + error_code_name(code));
  return false;
}

bool Actor::is_taken(NodeKey key, ErrorCode code) {
  const bool is_full = code == ErrorCode::kNoSpace && host_.may_be_full(issued_at_);
  if (!is_full && !is_interrupted(code)) {
    return is_checkable(code);
  }
  host_.events().trace(static_cast<std::uint64_t>(code));
  model_.contents(key).give_up_write();
  return false;
}

NodeKey Actor::random_directory() {
  return random_node(&TreeNode::is_directory).value_or(Tree::kRoot);
}

std::optional<NodeKey> Actor::random_node(bool (TreeNode::*is_wanted)() const) {
  std::vector<NodeKey> found;
  for (const auto& [key, node] : model_.tree().nodes()) {
    if (is_wanted == nullptr || (node.*is_wanted)()) {
      found.push_back(key);
    }
  }
  return found.empty() ? std::nullopt : std::optional(found[random_.below(found.size())]);
}

std::optional<Actor::OpenFile> Actor::random_file(bool writable) {
  std::vector<OpenFile> found;
  for (const OpenFile& file : files_) {
    if (file.is_writable || !writable) {
      found.push_back(file);
    }
  }
  return found.empty() ? std::nullopt : std::optional(found[random_.below(found.size())]);
}

std::string Actor::random_name() {
  const std::uint64_t number = random_.below(kNamesPerDirectory);
  switch (number) {
    case 0: return std::string(255, 'n');
    case 1: return "\xff\xfe not text";
    default: return "name" + std::to_string(number);
  }
}

std::string Actor::random_xattr() {
  const std::uint64_t kind = random_.below(5);
  return kind < 3    ? "user." + std::to_string(kind)
         : kind == 3 ? std::string(kAccessAclName)
                     : std::string(kDefaultAclName);
}

std::string Actor::random_acl() {
  const auto permissions = [this] { return static_cast<std::uint32_t>(random_.below(8)); };
  ModelAcl acl;
  acl.is_extended = random_.below(3) > 0;
  acl.set_permissions(static_cast<std::uint32_t>(random_.below(01000)));
  if (acl.is_extended) {
    acl.user = permissions();
    acl.group = permissions();
  }
  return acl.value();
}

std::pair<NodeKey, std::string> Actor::random_entry() {
  const NodeKey directory = random_directory();
  const auto& children = model_.tree().node(directory).children;
  if (children.empty() || random_.below(10) == 0) {
    return {directory, random_name()};
  }
  auto child = children.begin();
  std::advance(child, static_cast<std::ptrdiff_t>(random_.below(children.size())));
  return {directory, child->first};
}

std::uint64_t Actor::random_size() {
  const std::uint64_t kind = random_.below(100);
  const std::uint64_t bytes_max = kind < 60   ? 4'000
                                  : kind < 88 ? 40'000
                                  : kind < 98 ? 200'000
                                              : 1'048'576;
  return 1 + random_.below(bytes_max);
}

// Never zero, so that a hole and written bytes are told apart.
std::string Actor::random_data(std::uint64_t size_bytes) {
  std::string data(size_bytes, '\0');
  for (std::size_t i = 0; i < data.size(); i += 8) {
    std::uint64_t bits = random_.next_u64();
    for (std::size_t j = i; j < std::min(data.size(), i + 8); ++j) {
      data[j] = static_cast<char>(1 + bits % 255);
      bits >>= 8;
    }
  }
  return data;
}

}  // namespace dfs::sim
