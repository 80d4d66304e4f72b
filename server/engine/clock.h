#ifndef BREAKER_ENGINE_CLOCK_H_
#define BREAKER_ENGINE_CLOCK_H_

#include <atomic>
#include <compare>
#include <cstdint>
#include <limits>

#include "absl/time/time.h"

namespace breaker::server {

// There are two kinds of time, as two types, so that the compiler keeps them apart: deadlines are
// decided in MonotonicTime, which no one can set; WallTime is for show and for storage.

// An instant of the monotonic clock. Its origin means nothing outside of this run.
class MonotonicTime {
 public:
  constexpr MonotonicTime() = default;
  static constexpr MonotonicTime FromNanos(int64_t nanos) { return MonotonicTime(nanos); }
  static constexpr MonotonicTime InfiniteFuture() {
    return MonotonicTime(std::numeric_limits<int64_t>::max());
  }
  constexpr int64_t nanos() const { return nanos_; }

  friend constexpr auto operator<=>(MonotonicTime, MonotonicTime) = default;
  friend MonotonicTime operator+(MonotonicTime t, absl::Duration d) {
    return MonotonicTime(t.nanos_ + absl::ToInt64Nanoseconds(d));
  }
  friend MonotonicTime operator-(MonotonicTime t, absl::Duration d) {
    return MonotonicTime(t.nanos_ - absl::ToInt64Nanoseconds(d));
  }
  friend absl::Duration operator-(MonotonicTime a, MonotonicTime b) {
    return absl::Nanoseconds(a.nanos_ - b.nanos_);
  }

 private:
  explicit constexpr MonotonicTime(int64_t nanos) : nanos_(nanos) {}
  int64_t nanos_ = 0;
};

// An instant of the wall clock, UTC.
class WallTime {
 public:
  constexpr WallTime() = default;
  static constexpr WallTime FromUnixNanos(int64_t nanos) { return WallTime(nanos); }
  constexpr int64_t unix_nanos() const { return nanos_; }
  absl::Time time() const { return absl::FromUnixNanos(nanos_); }

  friend constexpr auto operator<=>(WallTime, WallTime) = default;
  friend WallTime operator+(WallTime t, absl::Duration d) {
    return WallTime(t.nanos_ + absl::ToInt64Nanoseconds(d));
  }
  friend WallTime operator-(WallTime t, absl::Duration d) {
    return WallTime(t.nanos_ - absl::ToInt64Nanoseconds(d));
  }
  friend absl::Duration operator-(WallTime a, WallTime b) {
    return absl::Nanoseconds(a.nanos_ - b.nanos_);
  }

 private:
  explicit constexpr WallTime(int64_t nanos) : nanos_(nanos) {}
  int64_t nanos_ = 0;
};

// Both clocks, read together once for each call and passed down.
struct Instant {
  MonotonicTime mono;
  WallTime wall;

  // Where the monotonic instant `t` lies on the wall clock as it runs now, and the other way round.
  WallTime WallAt(MonotonicTime t) const { return wall + (t - mono); }
  MonotonicTime MonoAt(WallTime t) const { return mono + (t - wall); }
};

// Where instants come from. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual Instant Now() const = 0;
};

// The machine's clocks. The monotonic one goes on while the machine is suspended; the wall clock is
// read once a millisecond and runs with the monotonic one in between, for reading both takes twice
// as long.
class SystemClock : public Clock {
 public:
  Instant Now() const override;

 private:
  // How far the wall clock is ahead, and until when that holds. Two threads may note different
  // readings of the same millisecond; either is right.
  mutable std::atomic<int64_t> ahead_{0};
  mutable std::atomic<int64_t> until_{std::numeric_limits<int64_t>::min()};
};

}  // namespace breaker::server

#endif  // BREAKER_ENGINE_CLOCK_H_
