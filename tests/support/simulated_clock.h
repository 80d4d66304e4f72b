#ifndef BREAKER_TESTS_SUPPORT_SIMULATED_CLOCK_H_
#define BREAKER_TESTS_SUPPORT_SIMULATED_CLOCK_H_

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "server/engine/clock.h"
#include "server/engine/mutex.h"

namespace breaker {

// A clock that stands still but when a test moves it. Thread-safe.
class SimulatedClock : public Clock {
 public:
  // 2023-11-14T22:13:20Z, a thousand seconds into the run.
  SimulatedClock()
      : SimulatedClock({MonotonicTime::FromNanos(1'000'000'000'000),
                        WallTime::FromUnixNanos(1'700'000'000'000'000'000)}) {}
  explicit SimulatedClock(Instant start) : now_(start) {}

  Instant Now() const override ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    return now_;
  }

  // Lets time pass on both clocks.
  void Advance(absl::Duration passed) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    now_ = {now_.mono + passed, now_.wall + passed};
  }

  // Sets the wall clock, as an operator or a time service does; no time passes.
  void SetWall(WallTime wall) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    now_.wall = wall;
  }

 private:
  mutable Mutex mu_;
  Instant now_ ABSL_GUARDED_BY(mu_);
};

}  // namespace breaker

#endif  // BREAKER_TESTS_SUPPORT_SIMULATED_CLOCK_H_
