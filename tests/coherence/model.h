// Objects whose operations must look as if made one at a time, each at some moment between its call
// and its answer: the directory, the contents of one file, one lock.
//
// An object is a function of states. An operation is explained by a state in two ways:
//  - observe(): it changes nothing and its answer is right now. It is done as soon as that is so,
//    since to have done it earlier leaves everything else as possible as it was;
//  - steps(): it changes the state, or decides something on the way to that.
// How far an operation has come is its stage; some take several moments, as in any kernel:
//  - link resolves the old name, and later makes the new one;
//  - stat resolves the name, and later asks the inode;
//  - a rename that does nothing, since both names are of one file, looked at one after the other;
//  - a listing is right if each entry was true at some moment of the call, and each name that is
//    missing was absent at some moment (POSIX promises no more); the same goes for a read that got
//    parts of several writes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/coherence/history.h"

namespace dfs::coherence {

using State = std::vector<std::uint64_t>;
using Stage = std::uint64_t;
constexpr Stage kBegun = 0;
constexpr Stage kDone = std::numeric_limits<Stage>::max();

struct Step {
  State state;
  Stage stage = kDone;
  // If set, an inode known as `bound_from` until now is `bound_to`, also in other stages.
  std::uint64_t bound_from = 0, bound_to = 0;
};

class Object {
 public:
  Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object() = default;

  virtual State initial() const = 0;
  // The stage of an operation that is under way while the object is in this state.
  virtual Stage observe(const State& state, const Operation& op, Stage stage) const = 0;
  virtual void steps(const State& state, const Operation& op, Stage stage,
                     std::vector<Step>& steps) const = 0;
  // The operation is complete, and explained.
  virtual void learn(const Operation&) {}
  // What was learned need not stand in states any more.
  virtual void tidy(State&) const {}
  virtual std::string describe(const State& state) const = 0;
};

// All names of one directory, which is empty at first, and how many links each file has.
// Inode numbers are not used again.
class Directory final : public Object {
 public:
  // Precondition: so few names that they and a listing fit a stage.
  explicit Directory(std::vector<std::string> names) : names_(std::move(names)) {}
  static constexpr std::size_t kNamesMax = 20;

  State initial() const override { return State(names_.size(), 0); }
  Stage observe(const State& state, const Operation& op, Stage stage) const override;
  void steps(const State& state, const Operation& op, Stage stage,
             std::vector<Step>& steps) const override;
  void learn(const Operation& op) override;
  void tidy(State& state) const override;
  std::string describe(const State& state) const override;

 private:
  // A state is the inode of each name, 0 for none, and behind that, sorted, the inodes that were
  // born and not yet learned of.
  std::size_t index_of(const std::string& name) const;
  std::uint64_t at(const State& state, const std::string& name) const;
  std::uint32_t links(const State& state, std::uint64_t inode) const;
  bool is_born(const State& state, std::uint64_t inode) const;
  void bear(State& state, std::uint64_t inode) const;
  Stage observe_refusal(const State& state, const Operation& op, Stage stage) const;
  Stage observe_listing(const State& state, const Operation& op, Stage stage) const;
  void creations(const State& state, const Operation& op, std::vector<Step>& steps) const;
  void renames(const State& state, const Operation& op, Stage stage,
               std::vector<Step>& steps) const;
  void links_made(const State& state, const Operation& op, Stage stage,
                  std::vector<Step>& steps) const;
  void bindings(const State& state, const Operation& op, Stage stage,
                std::vector<Step>& steps) const;

  const std::vector<std::string> names_;  // sorted
  std::set<std::uint64_t> seen_;          // born for sure
};

// What the client of a mount buffers is lost when it dies. So of files written by mounts that lost
// something (kLose in their history) a state also says what may be lost: only one mount can have
// that at a time, since whoever else asks for the file has it stored first.
//
// A client whose session was over stores what it had buffered in its next one, if nobody changed
// the file in between; until then others do not see it (kHide). If somebody did, it is lost, and a
// sync by that mount must say so (kLose).

// A file of a few slots; empty at first.
class SlotFile final : public Object {
 public:
  using Mounts = std::set<std::uint32_t>;
  SlotFile(std::uint32_t slots, std::uint32_t slot_bytes, Mounts losing = {})
      : slots_(slots), bytes_(slot_bytes), losing_(std::move(losing)) {}

  State initial() const override { return State(1 + slots_, 0); }
  Stage observe(const State& state, const Operation& op, Stage stage) const override;
  void steps(const State& state, const Operation& op, Stage stage,
             std::vector<Step>& steps) const override;
  std::string describe(const State& state) const override;

 private:
  class Unpacked;
  Stage told_by(const Unpacked& file, const Operation& op, Stage stage) const;
  Stage told(std::uint64_t size, const std::vector<std::uint64_t>& ids, const Operation& op,
             Stage stage) const;
  bool change(Unpacked& file, const Operation& op, std::vector<Step>& steps) const;
  void write(Unpacked& file, const Operation& op) const;
  void lose(Unpacked file, const Operation& op, std::vector<Step>& steps) const;
  void hide(Unpacked file, const Operation& op, Stage stage, std::vector<Step>& steps) const;

  const std::uint32_t slots_, bytes_;
  const Mounts losing_;
};

// A file that is only appended to; empty at first.
class AppendFile final : public Object {
 public:
  using Mounts = std::set<std::uint32_t>;
  explicit AppendFile(std::uint32_t record_bytes, Mounts losing = {})
      : bytes_(record_bytes), losing_(std::move(losing)) {}

  State initial() const override { return State(kHeadWords, 0); }
  Stage observe(const State& state, const Operation& op, Stage stage) const override;
  void steps(const State& state, const Operation& op, Stage stage,
             std::vector<Step>& steps) const override;
  std::string describe(const State& state) const override;

 private:
  static constexpr std::ptrdiff_t kHeadWords = 4;
  class Unpacked;
  Stage told_by(const Unpacked& file, const Operation& op, Stage stage) const;
  Stage told(const std::vector<std::uint64_t>& ids, const Operation& op, Stage stage) const;
  void lose(Unpacked file, const Operation& op, std::vector<Step>& steps) const;
  void hide(Unpacked file, const Operation& op, Stage stage, std::vector<Step>& steps) const;

  const std::uint32_t bytes_;
  const Mounts losing_;
};

// An extended attribute; not there at first. A state is its value, or 0.
class Register final : public Object {
 public:
  State initial() const override { return {0}; }
  Stage observe(const State& state, const Operation& op, Stage stage) const override;
  void steps(const State& state, const Operation& op, Stage stage,
             std::vector<Step>& steps) const override;
  std::string describe(const State& state) const override;
};

// An exclusive lock of one byte; free at first. A state is who has it, plus one.
class Lock final : public Object {
 public:
  State initial() const override { return {0}; }
  Stage observe(const State& state, const Operation& op, Stage stage) const override;
  void steps(const State& state, const Operation& op, Stage stage,
             std::vector<Step>& steps) const override;
  std::string describe(const State& state) const override;
};

}  // namespace dfs::coherence
