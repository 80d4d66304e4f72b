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
  return Instant{MonotonicTime::FromNanos(ReadNanos(CLOCK_BOOTTIME)),
                 WallTime::FromUnixNanos(ReadNanos(CLOCK_REALTIME))};
}

}  // namespace breaker::server
