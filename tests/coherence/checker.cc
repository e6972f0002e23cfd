#include "tests/coherence/checker.h"

#include <algorithm>
#include <compare>
#include <limits>
#include <map>
#include <utility>

#include "common/assert.h"

namespace dfs::coherence {
namespace {

constexpr std::size_t kStatesShown = 6;
constexpr std::size_t kEarlierShown = 10;

enum class What : std::uint8_t { kCall, kAnswer, kForget };  // in this order at one moment

struct Event {
  std::int64_t at_ns = 0;
  What what = What::kCall;
  std::size_t operation = 0;
  auto operator<=>(const Event&) const = default;
};

std::vector<Event> events_of(const History& history, const CheckOptions& options) {
  std::vector<Event> events;
  for (std::size_t i = 0; i < history.size(); ++i) {
    const Operation& op = history[i];
    events.push_back({op.invoked_ns, What::kCall, i});
    if (op.is_known()) {
      events.push_back({op.completed_ns, What::kAnswer, i});
    } else {
      const std::int64_t forgotten_ns = op.invoked_ns + options.forget_after.count();
      events.push_back({std::min(op.settled_ns, forgotten_ns), What::kForget, i});
    }
  }
  std::sort(events.begin(), events.end());
  return events;
}

struct Configuration {
  std::vector<Stage> stages;  // by place; of an empty place kDone
  State state;
  auto operator<=>(const Configuration&) const = default;
};

class Search {
 public:
  Search(Object& object, const History& history, const CheckOptions& options)
      : object_(object), history_(history), options_(options) {
    possible_.insert({.stages = {}, .state = object.initial()});
  }

  std::optional<Contradiction> run() {
    for (const Event& event : events_of(history_, options_)) {
      if (event.what == What::kCall) {
        call(event.operation);
      } else if (event.what == What::kForget) {
        if (!forget(event.operation)) {
          return contradiction(event.operation);
        }
      } else if (!answer(event.operation)) {
        return contradiction(event.operation);
      }
    }
    return std::nullopt;
  }

 private:
  using Configurations = std::set<Configuration>;

  std::size_t place_of(std::size_t operation) const {
    const auto place = std::find(places_.begin(), places_.end(), operation);
    DFS_ASSERT(place != places_.end());
    return static_cast<std::size_t>(place - places_.begin());
  }

  void call(std::size_t operation) {
    const auto free = std::find(places_.begin(), places_.end(), kFree);
    const std::size_t place = static_cast<std::size_t>(free - places_.begin());
    if (free == places_.end()) {
      places_.push_back(kFree);
    }
    places_[place] = operation;
    change_all([&](Configuration& configuration) {
      configuration.stages.resize(places_.size(), kDone);
      configuration.stages[place] =
          object_.observe(configuration.state, history_[operation], kBegun);
    });
  }

  void empty(std::size_t place) {
    places_[place] = kFree;
    change_all([&](Configuration& configuration) { configuration.stages[place] = kDone; });
  }

  // Of one that is settled both is possible from now on: that it was made, or not. False: too much
  // is possible.
  bool forget(std::size_t operation) {
    const std::size_t place = place_of(operation);
    if (history_[operation].settled_ns != kNever) {
      possible_.merge(explanations(place));
      if (is_undecided_) {
        return false;
      }
    }
    empty(place);
    return true;
  }

  // What is possible with the operation in this place done.
  Configurations explanations(std::size_t place) {
    Configurations explained;
    begin_search(place);
    for (const Configuration& configuration : possible_) {
      add_open(configuration);
    }
    while (auto configuration = next_open()) {
      if (!try_new(*configuration)) {
        continue;
      }
      if (tried_count_ > options_.configurations_max) {
        is_undecided_ = true;
        break;
      }
      if (configuration->stages[place] == kDone) {
        explained.insert(std::move(*configuration));
      } else {
        go_on(*configuration);
      }
    }
    return explained;
  }

  void begin_search(std::size_t place) {
    tried_.clear();
    tried_count_ = 0;
    loose_.clear();
    for (std::size_t i = 0; i < places_.size(); ++i) {
      if (i != place && places_[i] != kFree && !history_[places_[i]].is_known()) {
        loose_.push_back(i);
      }
    }
    open_.assign(loose_.size() + 1, {});
  }

  // Those with the most left to happen come first: they make the most others needless.
  void add_open(Configuration configuration) {
    const auto made = std::count_if(loose_.begin(), loose_.end(), [&](std::size_t place) {
      return configuration.stages[place] == kDone;
    });
    open_[static_cast<std::size_t>(made)].push_back(std::move(configuration));
  }

  std::optional<Configuration> next_open() {
    const auto first =
        std::find_if(open_.begin(), open_.end(), [](const auto& open) { return !open.empty(); });
    if (first == open_.end()) {
      return std::nullopt;
    }
    Configuration configuration = std::move(first->back());
    first->pop_back();
    return configuration;
  }

  // False: what can follow is no more than what can follow one that was tried. What never completed
  // need not happen, so one in which it still may allows all that one allows in which it has.
  bool try_new(const Configuration& configuration) {
    Configuration rest = configuration;
    std::vector<Stage> loose;
    for (const std::size_t place : loose_) {
      loose.push_back(std::exchange(rest.stages[place], kDone));
    }
    auto& tried = tried_[std::move(rest)];
    const auto allows_all = [&](const std::vector<Stage>& other) {
      return std::equal(loose.begin(), loose.end(), other.begin(),
                        [](Stage here, Stage there) { return here == kDone || here == there; });
    };
    if (std::any_of(tried.begin(), tried.end(), allows_all)) {
      return false;
    }
    tried.push_back(std::move(loose));
    ++tried_count_;
    return true;
  }

  // False: nothing explains the answer, or too much may.
  bool answer(std::size_t operation) {
    const std::size_t place = place_of(operation);
    Configurations explained = explanations(place);
    if (is_undecided_ || explained.empty()) {
      return false;
    }
    possible_ = std::move(explained);
    object_.learn(history_[operation]);
    places_[place] = kFree;
    change_all([&](Configuration& next) { object_.tidy(next.state); });
    return true;
  }

  // Adds what can come next.
  void go_on(const Configuration& configuration) {
    for (std::size_t place = 0; place < places_.size(); ++place) {
      if (configuration.stages[place] == kDone) {
        continue;
      }
      steps_.clear();
      object_.steps(configuration.state, history_[places_[place]], configuration.stages[place],
                    steps_);
      for (Step& step : steps_) {
        Configuration next = {.stages = configuration.stages, .state = std::move(step.state)};
        next.stages[place] = step.stage;
        if (step.bound_from != 0) {
          std::replace(next.stages.begin(), next.stages.end(), step.bound_from, step.bound_to);
        }
        observe_all(next);
        add_open(std::move(next));
      }
    }
  }

  void observe_all(Configuration& configuration) const {
    for (std::size_t place = 0; place < places_.size(); ++place) {
      Stage& stage = configuration.stages[place];
      if (stage != kDone) {
        stage = object_.observe(configuration.state, history_[places_[place]], stage);
      }
    }
  }

  template <class Change>
  void change_all(Change change) {
    Configurations changed;
    while (!possible_.empty()) {
      auto node = possible_.extract(possible_.begin());
      change(node.value());
      changed.insert(std::move(node));
    }
    possible_ = std::move(changed);
  }

  Contradiction contradiction(std::size_t operation) const;

  static constexpr std::size_t kFree = std::numeric_limits<std::size_t>::max();

  Object& object_;
  const History& history_;
  const CheckOptions& options_;
  std::vector<std::size_t> places_;  // of operations under way
  Configurations possible_;
  // For the newest answer: by all but the stages of `loose_`, and these.
  std::map<Configuration, std::vector<std::vector<Stage>>> tried_;
  std::size_t tried_count_ = 0;
  std::vector<std::size_t> loose_;                // places of what never completed
  std::vector<std::vector<Configuration>> open_;  // by how many of these are done
  std::vector<Step> steps_;
  bool is_undecided_ = false;
};

bool concern_each_other(const Operation& left, const Operation& right) {
  const auto names = [](const Operation& one, const Operation& two) {
    return !one.name.empty() &&
           (one.name == two.name || one.name == two.other || two.kind == Kind::kList);
  };
  const auto inodes = [](std::uint64_t one, const Operation& two) {
    return one != 0 && (one == two.file || one == two.inode);
  };
  const bool is_same_slot = left.slot == right.slot || left.kind == Kind::kTruncate ||
                            right.kind == Kind::kTruncate || left.kind != right.kind;
  const bool is_other =
      !left.other.empty() &&
      (left.other == right.name || left.other == right.other || right.kind == Kind::kList);
  return names(left, right) || names(right, left) || is_other ||
         ((inodes(left.file, right) || inodes(left.inode, right)) && is_same_slot);
}

// Operations that ended before it and may have to do with it, the newest of these.
History earlier_ones(const History& history, const Operation& found) {
  History concerning;
  std::map<std::uint32_t, Operation> newest;
  for (const Operation& op : history) {
    if (op.completed_ns >= found.invoked_ns) {
      continue;
    }
    if (op.error == 0 && concern_each_other(op, found)) {
      concerning.push_back(op);
    }
    Operation& known = newest[op.process];
    known = known.invoked_ns <= op.invoked_ns ? op : known;
  }
  std::sort(concerning.begin(), concerning.end(),
            [](const Operation& left, const Operation& right) {
              return left.completed_ns > right.completed_ns;
            });
  concerning.resize(std::min(concerning.size(), kEarlierShown));
  for (const auto& [process, op] : newest) {
    if (std::find(concerning.begin(), concerning.end(), op) == concerning.end()) {
      concerning.push_back(op);
    }
  }
  return concerning;
}

Contradiction Search::contradiction(std::size_t operation) const {
  Contradiction found;
  found.is_undecided = is_undecided_;
  found.operation = history_[operation];
  found.window = earlier_ones(history_, found.operation);
  for (const Operation& op : history_) {
    if (op.invoked_ns <= found.operation.completed_ns &&
        op.completed_ns >= found.operation.invoked_ns) {
      found.window.push_back(op);
    }
  }
  std::sort(found.window.begin(), found.window.end(),
            [](const Operation& left, const Operation& right) {
              return left.invoked_ns < right.invoked_ns;
            });
  std::set<State> states;
  for (const auto& [configuration, loose] : tried_) {
    states.insert(configuration.state);
  }
  for (const State& state : states) {
    if (found.states.size() < kStatesShown) {
      found.states.push_back(state);
    }
  }
  return found;
}

}  // namespace

std::optional<Contradiction> check(Object& object, const History& history,
                                   const CheckOptions& options) {
  return Search(object, history, options).run();
}

}  // namespace dfs::coherence
