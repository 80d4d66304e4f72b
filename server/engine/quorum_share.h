#ifndef BREAKER_ENGINE_QUORUM_SHARE_H_
#define BREAKER_ENGINE_QUORUM_SHARE_H_

#include <atomic>
#include <cstdint>

namespace breaker::server {

// How much of a quorum one identity may be. Thread-safe.
struct QuorumShare {
  uint32_t workers = 1;  // so many of its worker_ids count at once, at most
  // Whether more than those were seen since someone last asked.
  mutable std::atomic<bool> exceeded{false};

  bool TakeExceeded() const {
    return exceeded.load(std::memory_order_relaxed) && exceeded.exchange(false);
  }
};

}  // namespace breaker::server

#endif  // BREAKER_ENGINE_QUORUM_SHARE_H_
