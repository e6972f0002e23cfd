// Random values for every member of a message, by the same field lists the codec uses.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "common/ids.h"
#include "common/random.h"

namespace dfs::test {

class RandomFill {
 public:
  explicit RandomFill(Random& random) : random_(random) {}

  template <class... Fields>
  void operator()(Fields&... fields) {
    (fill(fields), ...);
  }

 private:
  template <class Value>
  void fill(Value& value) {
    if constexpr (requires(RandomFill & self) { value.visit(self); }) {
      value.visit(*this);
    } else {
      fill_one(value);
    }
  }

  void fill_one(bool& value) { value = random_.below(2) == 1; }

  // Small, any and largest values alike: each has a wire form of its own.
  template <class Number>
  requires std::is_integral_v<Number>
  void fill_one(Number& value) {
    switch (random_.below(4)) {
      case 0: value = static_cast<Number>(random_.below(100)); break;
      case 1: value = std::numeric_limits<Number>::max(); break;
      case 2: value = std::numeric_limits<Number>::min(); break;
      default: value = static_cast<Number>(random_.next_u64()); break;
    }
  }

  void fill_one(std::string& value) {
    value.clear();
    for (auto count = random_.below(random_.below(8) == 0 ? 300 : 20); count > 0; --count) {
      value.push_back(static_cast<char>(random_.below(256)));
    }
  }

  void fill_one(Timestamp& value) {
    fill_one(value.seconds);
    value.nanoseconds = static_cast<std::uint32_t>(random_.below(1'000'000'000));
  }

  template <class Tag, class Number>
  void fill_one(StrongId<Tag, Number>& id) {
    fill_one(id.value);
  }

  template <class Item>
  void fill_one(std::vector<Item>& items) {
    items.resize(random_.below(random_.below(8) == 0 ? 40 : 4));
    for (Item& item : items) {
      fill(item);
    }
  }

  template <class Item>
  void fill_one(std::optional<Item>& item) {
    item.reset();
    if (random_.below(2) == 1) {
      fill(item.emplace());
    }
  }

  Random& random_;
};

template <class Body>
Body random_body(Random& random) {
  Body body;
  RandomFill fill(random);
  body.visit(fill);
  return body;
}

// Whether a field list names every member of its struct, in order: each field must begin where
// the one before it ends, up to alignment, and the last must end the struct.
class LayoutCheck {
 public:
  explicit LayoutCheck(const void* object) : next_(static_cast<const char*>(object)) {}

  template <class... Fields>
  void operator()(const Fields&... fields) {
    (check(fields), ...);
  }
  bool is_complete(const void* object, std::size_t size_bytes, std::size_t alignment) const {
    const auto used = static_cast<std::size_t>(next_ - static_cast<const char*>(object));
    return good_ && (used + alignment - 1) / alignment * alignment == size_bytes;
  }

 private:
  template <class Field>
  void check(const Field& field) {
    const auto begin = reinterpret_cast<std::uintptr_t>(next_);
    const auto aligned = (begin + alignof(Field) - 1) / alignof(Field) * alignof(Field);
    good_ = good_ && reinterpret_cast<std::uintptr_t>(&field) == aligned;
    next_ = reinterpret_cast<const char*>(&field) + sizeof field;
    check_nested(field);
  }
  template <class Field>
  void check_nested(const Field& field) {
    if constexpr (requires(LayoutCheck & self) { field.visit(self); }) {
      LayoutCheck nested(&field);
      field.visit(nested);
      good_ = good_ && nested.is_complete(&field, sizeof field, alignof(Field));
    }
  }
  template <class Item>
  void check_nested(const std::vector<Item>&) {
    if constexpr (!std::is_same_v<Item, bool>) {
      check_nested(Item{});
    }
  }

  const char* next_;
  bool good_ = true;
};

template <class Body>
bool fields_are_all_members() {
  if constexpr (std::is_empty_v<Body>) {
    return true;
  } else {
    const Body body;
    LayoutCheck check(&body);
    body.visit(check);
    return check.is_complete(&body, sizeof body, alignof(Body));
  }
}

}  // namespace dfs::test
