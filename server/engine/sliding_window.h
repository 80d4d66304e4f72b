#ifndef BREAKER_ENGINE_SLIDING_WINDOW_H_
#define BREAKER_ENGINE_SLIDING_WINDOW_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include "absl/time/time.h"
#include "server/engine/clock.h"

namespace breaker::server {

// a + b, or 2^32 - 1 if that is less.
inline uint32_t AddSaturating(uint32_t a, uint32_t b) {
  return a + std::min(b, std::numeric_limits<uint32_t>::max() - a);
}

// Outcomes of calls; a slow call is a success or a failure as well.
struct CallCounts {
  uint32_t successes = 0;
  uint32_t failures = 0;
  uint32_t slow = 0;

  uint64_t total() const { return uint64_t{successes} + failures; }
  friend bool operator==(const CallCounts&, const CallCounts&) = default;
};

// Counts calls over a sliding window of time: a ring of equal buckets that the clock moves on. A
// call is counted for at least the window's length minus one bucket and for at most its length.
// Every counter stops at 2^32 - 1. Not thread-safe.
//
// Record is O(1); Advance is O(kBuckets) at most and O(1) where less than a bucket's width has
// passed.
class SlidingWindow {
 public:
  static constexpr int kBuckets = 20;

  struct Bucket {
    MonotonicTime start;
    CallCounts counts;
  };

  // `length` is at least a microsecond.
  explicit SlidingWindow(absl::Duration length);

  // Forgets the calls that have left the window at `now`. A `now` before one that was given
  // earlier moves nothing.
  void Advance(MonotonicTime now);

  // Adds to the newest bucket. Advance first.
  void Record(const CallCounts& calls, MonotonicTime now);

  // What the window holds as of the last Advance.
  const CallCounts& counts() const { return counts_; }

  // The number of the newest bucket: grows by one with each bucket's width of time. What happened
  // in bucket b is in the window until bucket b + kBuckets.
  int64_t bucket() const { return newest_; }

  // When a bucket begins, and the bucket that begins at an instant, give or take half a bucket: an
  // instant that went through the wall clock may be a little off. The newest for one later than
  // that, 0 for one before all.
  MonotonicTime StartOf(int64_t bucket) const;
  int64_t BucketStartingAt(MonotonicTime t) const;

  // The buckets that hold calls, oldest first; and the way back, for a window that is empty.
  // Buckets that have left the window by `now` are dropped.
  std::vector<Bucket> Save() const;
  void Restore(const std::vector<Bucket>& buckets, MonotonicTime now);

 private:
  CallCounts& at(int64_t bucket) { return ring_[static_cast<size_t>(bucket % kBuckets)]; }

  void Add(const CallCounts& calls, CallCounts& bucket);

  int64_t width_;         // of a bucket, in nanoseconds
  MonotonicTime start_;   // of the newest bucket
  int64_t newest_ = 0;    // its number
  bool started_ = false;  // the first call starts the first bucket
  CallCounts counts_;     // sum over all buckets
  CallCounts current_;  // the newest bucket, here rather than in the ring, for calls to touch less
  std::array<CallCounts, kBuckets> ring_ = {};  // the others; the newest one's place is empty
};

}  // namespace breaker::server

#endif  // BREAKER_ENGINE_SLIDING_WINDOW_H_
