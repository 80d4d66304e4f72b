#ifndef BREAKER_CLIENT_OUTCOME_STRIPES_H_
#define BREAKER_CLIENT_OUTCOME_STRIPES_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace breaker::internal {

// How many calls ended how.
struct OutcomeCounts {
  uint64_t quick_successes = 0;
  uint64_t slow_successes = 0;
  uint64_t ignored = 0;
};

// Counts the outcomes of one breaker whose order does not matter, in two sets. Each thread has a
// stripe, a cache line, that it shares only when there are more threads than stripes: threads do
// not hold each other up. Thread-safe.
//
// All operations are sequentially consistent, as Cell needs it: an outcome that Take misses was
// added after it began.
class OutcomeStripes {
 public:
  enum Kind { kQuickSuccess, kSlowSuccess, kIgnored };

  // Adds one, and returns how many of the kind the calling thread's stripe now holds.
  uint64_t Add(int set, Kind kind) {
    return stripes_[ThreadNumber() % kStripes].counts[set][kind].fetch_add(1) + 1;
  }

  // Takes out what a set holds.
  OutcomeCounts Take(int set) {
    OutcomeCounts taken;
    for (Stripe& stripe : stripes_) {
      const auto take = [&](Kind kind) {
        std::atomic<uint64_t>& count = stripe.counts[set][kind];
        return count.load() == 0 ? 0 : count.exchange(0);
      };
      taken.quick_successes += take(kQuickSuccess);
      taken.slow_successes += take(kSlowSuccess);
      taken.ignored += take(kIgnored);
    }
    return taken;
  }

 private:
  static constexpr size_t kStripes = 8;

  struct alignas(64) Stripe {
    std::atomic<uint64_t> counts[2][3] = {};
  };

  // Threads are numbered as they come, so that few of them share a stripe.
  static uint32_t ThreadNumber() {
    static std::atomic<uint32_t> next = 0;
    thread_local const uint32_t number = next.fetch_add(1, std::memory_order_relaxed);
    return number;
  }

  std::array<Stripe, kStripes> stripes_;
};

}  // namespace breaker::internal

#endif  // BREAKER_CLIENT_OUTCOME_STRIPES_H_
