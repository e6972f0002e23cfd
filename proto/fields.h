// DFS_FIELDS lists the members of a message, in wire order, once for encoding, decoding and
// comparing. New members go to the end: an older peer ignores them, a newer one keeps the default
// of those an older peer did not send.
#pragma once

// NOLINTNEXTLINE(cppcoreguidelines-macro-usage)
#define DFS_FIELDS(...)                \
  template <class Visitor>             \
  void visit(Visitor& visitor) {       \
    visitor(__VA_ARGS__);              \
  }                                    \
  template <class Visitor>             \
  void visit(Visitor& visitor) const { \
    visitor(__VA_ARGS__);              \
  }

#define DFS_NO_FIELDS      \
  template <class Visitor> \
  void visit(Visitor&) const {}
