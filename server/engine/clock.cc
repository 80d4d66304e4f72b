#include "server/engine/clock.h"

#include <time.h>

namespace breaker::server {
namespace {

int64_t ReadNanos(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

Instant SystemClock::Now() const {
  constexpr int64_t kMillisecond = 1'000'000;
  const int64_t mono = ReadNanos(CLOCK_BOOTTIME);
  // Acquire and release: who sees the new instant sees the reading that goes with it.
  if (mono >= until_.load(std::memory_order_acquire)) {
    ahead_.store(ReadNanos(CLOCK_REALTIME) - mono, std::memory_order_relaxed);
    until_.store(mono + kMillisecond, std::memory_order_release);
  }
  return Instant{MonotonicTime::FromNanos(mono),
                 WallTime::FromUnixNanos(mono + ahead_.load(std::memory_order_relaxed))};
}

}  // namespace breaker::server
