#ifndef BREAKER_ENGINE_TRIP_RULE_H_
#define BREAKER_ENGINE_TRIP_RULE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "server/engine/policy.h"
#include "server/engine/sliding_window.h"
#include "server/engine/transition.h"

namespace breaker::server {

// What the trip rule looks at.
struct TripEvidence {
  CallCounts window;
  uint32_t consecutive_failures = 0;
  uint32_t failing_workers = 0;  // distinct, within the window
  uint32_t slow_workers = 0;     // distinct, within the window
  bool minimum_waived = false;   // while a recovery ramps up
};

// Why a circuit opens.
struct Trip {
  Cause cause;
  std::string reason;
};

// Whether a closed circuit opens under `policy`, and why; the first rule that holds, in the order
// of the contract, is the cause. Pure.
std::optional<Trip> ShouldTrip(const TripEvidence& evidence, const Policy& policy);

// How each of some equal calls went.
struct CallKind {
  bool failed;
  bool slow;
};

// The trip, and after how many calls it comes.
struct TripAfter {
  uint32_t calls;
  Trip trip;
};

// After how many of `count` equal calls, counted one after the other on top of `evidence` (which
// has their worker among the failing and the slow already), a closed circuit opens, and why;
// nullopt if after none. O(log count). Pure.
std::optional<TripAfter> CallsUntilTrip(const TripEvidence& evidence, CallKind kind, uint32_t count,
                                        const Policy& policy);

}  // namespace breaker::server

#endif  // BREAKER_ENGINE_TRIP_RULE_H_
