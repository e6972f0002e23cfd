// The network between simulated hosts.
//
// Keeps exactly what common/transport.h promises and, by its knobs, not a bit more: messages may be
// lost, delayed, doubled (the copy may come late, behind others) and cut off by partitions; order
// holds within a connection unless `reorder_per_million` says otherwise. Latency is quantised so
// that messages sent about the same time arrive at the same time. A message to an address where
// nobody listens is lost. A connection outlives the death of its server: a new listener at the same
// address sees it as a new peer. Messages in flight survive the death of their sender.
//
// Addresses are "host:port" with the name given to transport(); "0.0.0.0", "[::]" and "*" listen on
// the transport's own host. Bytes are copied on send, so processes share no memory.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "common/transport.h"
#include "tests/sim/sim_events.h"
#include "tests/sim/sim_random.h"
#include "tests/sim/sim_scheduler.h"

namespace dfs::sim {

struct SimNetworkFaults {
  Duration latency_base = std::chrono::microseconds(50);
  Duration latency_jitter = std::chrono::microseconds(50);  // uniform on top of the base
  Duration quantum = std::chrono::microseconds(10);
  std::uint32_t loss_per_million = 0;
  std::uint32_t duplicate_per_million = 0;
  std::uint32_t reorder_per_million = 0;
  Duration late_max = std::chrono::milliseconds(20);  // of a duplicate or a reordered message
  std::size_t in_flight_max = 65'536;  // of one connection in one direction; kBusy above
};

class SimNetwork {
 public:
  SimNetwork(SimEvents& events, std::uint64_t seed);
  ~SimNetwork();
  SimNetwork(const SimNetwork&) = delete;
  SimNetwork& operator=(const SimNetwork&) = delete;

  // The transport of one process on `host`. The scheduler and this network outlive it.
  std::unique_ptr<Transport> transport(SimScheduler& scheduler, std::string host);

  void set_faults(const SimNetworkFaults& faults) { faults_ = faults; }
  const SimNetworkFaults& faults() const { return faults_; }

  // Nothing passes between the two hosts, what is in flight included, until healed.
  void partition(const std::string& a, const std::string& b);
  void heal(const std::string& a, const std::string& b);
  void heal_all() { partitions_.clear(); }

  // The process on `host` died: its listeners and connections end without a word to anybody.
  void drop_host(const std::string& host);

  std::uint64_t delivered_count() const { return delivered_; }
  std::uint64_t lost_count() const { return lost_; }

 private:
  friend class SimTransport;
  friend class SimListener;
  friend class SimConnection;

  // One Connection object's life. Kept by messages in flight after its end.
  struct Link {
    std::uint64_t id = 0;
    std::string client_host;
    std::string server_host;
    Address server;
    SimScheduler* scheduler = nullptr;  // of the client; null once it is closed or dead
    bool is_closed = false;             // in an orderly way: the server knows
    Connection::Handler handler;
    std::uint64_t listener = 0;  // which listener `peer` is valid for
    PeerId peer;
    MonoTime last_up{}, last_down{};  // arrival of the newest message, to keep the order
    std::size_t up_in_flight = 0, down_in_flight = 0;
  };
  using LinkPtr = std::shared_ptr<Link>;

  struct ListenerState {
    std::uint64_t id = 0;
    std::string host;
    Address address;
    SimScheduler* scheduler = nullptr;
    Listener::Handler handler;
    std::map<PeerId, LinkPtr> peers;
    std::uint64_t next_peer = 1;
  };
  using ListenerPtr = std::shared_ptr<ListenerState>;

  Status send_up(const LinkPtr& link, const Message& message);
  Status send_down(const LinkPtr& link, std::uint64_t listener, const Message& message);
  void arrive_up(const LinkPtr& link, Message message);
  void arrive_down(const LinkPtr& link, std::uint64_t listener, Message message);
  // Decides about one message: calls `deliver_at` for each copy that is to arrive.
  void route(MonoTime& last, const std::function<void(MonoTime)>& deliver_at);
  MonoTime quantised(Duration delay) const;
  void close_link(const LinkPtr& link);
  void close_listener(const ListenerPtr& listener);
  bool is_cut(const std::string& a, const std::string& b) const;
  void trace(char kind, std::uint64_t id, const Message& message);

  SimEvents& events_;
  SimRandom random_;
  SimNetworkFaults faults_;
  std::map<Address, ListenerPtr> listeners_;
  std::map<std::uint64_t, LinkPtr> links_;  // open ones
  std::set<std::pair<std::string, std::string>> partitions_;
  std::uint64_t next_id_ = 1;
  std::uint64_t delivered_ = 0;
  std::uint64_t lost_ = 0;
};

}  // namespace dfs::sim
