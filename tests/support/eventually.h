#ifndef BREAKER_TESTS_SUPPORT_EVENTUALLY_H_
#define BREAKER_TESTS_SUPPORT_EVENTUALLY_H_

#include <thread>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace breaker {

// Asks until `condition` holds; false if it did not within the time. For a state that another
// process or thread reaches, and that only asking can show.
template <typename Condition>
bool Eventually(Condition condition, absl::Duration timeout = absl::Seconds(30)) {
  const absl::Time deadline = absl::Now() + timeout;
  while (!condition()) {
    if (absl::Now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

}  // namespace breaker

#endif  // BREAKER_TESTS_SUPPORT_EVENTUALLY_H_
