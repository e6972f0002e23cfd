// The model of one file's contents: what a read must give, and what may be found after a loss.
//
// Three states are kept. `now` is what the application sees. What a killed client leaves is between
// the committed state (everything up to the last fsync or truncation that was answered) and now.
// What a power loss of the master leaves is between the durable state (the last fsync) and now.
// "Between" is judged for each byte: it has the value of the older state, or of any write since;
// zero only where some state in between had no data. Anything else is garbage.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace dfs::sim {

// What may have been lost since the model was last sure.
enum class Loss {
  kNothing,
  kAnswer,  // a change was interrupted: it came to be or not, and nothing else is in doubt
  kClient,
  kMaster,
};

class FileContents {
 public:
  const std::string& now() const { return now_; }

  // A change is begun when it is asked for, and takes effect in `now` when it is answered.
  void begin_write(std::uint64_t offset, const std::string& data);
  void finish_write(std::uint64_t offset, const std::string& data);
  // The write that was begun last was surely not made.
  void give_up_write();
  void begin_truncate(std::uint64_t size_bytes);
  void finish_truncate(std::uint64_t size_bytes);
  // fsync was answered; nothing was written in the meantime.
  void synced();

  // Why `observed` cannot be what is left after `loss`; nothing if it can.
  std::optional<std::string> mismatch(const std::string& observed, Loss loss) const;
  // The observed state is durable and all there is.
  void settle(const std::string& observed);

  // Written and not yet synced: times and sizes at the master are not known exactly.
  bool is_unsynced() const { return !since_durable_.empty(); }

 private:
  struct Change {
    bool is_truncate = false;
    std::uint64_t offset = 0;  // or the new size
    std::string data;
  };

  std::optional<std::string> unless_cut(const std::string& observed) const;
  static std::optional<std::string> between(const std::string& base,
                                            const std::vector<Change>& changes,
                                            const std::string& observed);

  std::string now_;
  std::optional<std::uint64_t> cut_begun_;  // not answered yet
  std::string committed_;
  std::vector<Change> since_committed_;
  std::string durable_;
  std::vector<Change> since_durable_;
};

// How two byte strings differ first, for people; nothing if they are equal.
std::optional<std::string> first_difference(const std::string& expected, const std::string& got);

}  // namespace dfs::sim
