#ifndef BREAKER_ENGINE_PERMIT_TABLE_H_
#define BREAKER_ENGINE_PERMIT_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "server/engine/clock.h"

namespace breaker::server {

// A call that was allowed and has not been reported yet.
struct Permit {
  MonotonicTime granted_at;
  uint64_t generation;  // of the breaker that granted it
  bool probe;
};

// One breaker's permits, by id and in the order in which they were granted. Every call is O(1); no
// allocation while the number of permits stays at what it has been. Not thread-safe.
class PermitTable {
 public:
  // `id` is not in the table, and `permit` was not granted before those that are (but for the
  // microseconds between reading the clock and coming here).
  void Add(uint64_t id, const Permit& permit);

  // Takes a permit out; nullopt if there is none by that id.
  std::optional<Permit> Take(uint64_t id);

  // The id of the oldest one and when it was granted. The table must not be empty.
  uint64_t oldest() const { return oldest_; }
  MonotonicTime oldest_granted_at() const { return oldest_granted_at_; }

  size_t size() const {
    return (near_id_ != 0 ? 1 : 0) + (others_ == nullptr ? 0 : others_->size());
  }
  bool empty() const { return newest_ == 0; }

 private:
  // A list in order of grant is threaded through the permits by ids; 0 ends it.
  struct Node {
    Permit permit;
    uint64_t older;
    uint64_t newer;
  };

  // Null if there is none by that id.
  Node* Find(uint64_t id);

  // One permit has its place here, for most breakers seldom have more than one out: that saves them
  // a map, and each call the way to it through memory.
  uint64_t near_id_ = 0;  // 0 = the place is free
  Node near_ = {};
  std::unique_ptr<absl::flat_hash_map<uint64_t, Node>> others_;  // null until they are needed
  uint64_t oldest_ = 0;
  uint64_t newest_ = 0;
  MonotonicTime oldest_granted_at_;
};

}  // namespace breaker::server

#endif  // BREAKER_ENGINE_PERMIT_TABLE_H_
