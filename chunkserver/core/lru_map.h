// LruMap: a map of bounded size that drops the entry used longest ago. One thread.
#pragma once

#include <cstddef>
#include <list>
#include <map>
#include <utility>

#include "common/assert.h"

namespace dfs::chunkserver {

template <class Key, class Value>
class LruMap {
 public:
  // Precondition: entries_max > 0.
  explicit LruMap(std::size_t entries_max) : entries_max_(entries_max) {
    DFS_ASSERT(entries_max > 0);
  }

  // The value, now the most recently used; null when there is none. Valid until the next put.
  Value* find(const Key& key) {
    const auto found = index_.find(key);
    if (found == index_.end()) {
      return nullptr;
    }
    order_.splice(order_.begin(), order_, found->second);
    return &found->second->second;
  }
  bool contains(const Key& key) const { return index_.contains(key); }

  // Puts or replaces; what was used longest ago goes when there are too many.
  void put(const Key& key, Value value) {
    erase(key);
    order_.emplace_front(key, std::move(value));
    index_[key] = order_.begin();
    if (order_.size() > entries_max_) {
      index_.erase(order_.back().first);
      order_.pop_back();
    }
    DFS_ASSERT(index_.size() == order_.size() && order_.size() <= entries_max_);
  }

  void erase(const Key& key) {
    const auto found = index_.find(key);
    if (found != index_.end()) {
      order_.erase(found->second);
      index_.erase(found);
    }
  }

  std::size_t size() const { return order_.size(); }

 private:
  using Order = std::list<std::pair<Key, Value>>;
  std::size_t entries_max_;
  Order order_;  // most recently used first
  std::map<Key, typename Order::iterator> index_;
};

}  // namespace dfs::chunkserver
