#ifndef BREAKER_ENGINE_TRANSITION_H_
#define BREAKER_ENGINE_TRANSITION_H_

#include <cstdint>
#include <string>

#include "server/engine/clock.h"

namespace breaker::server {

// The numbers of these enums are those of the wire contract and of stored records.

enum class State : uint8_t { kClosed = 1, kOpen = 2, kHalfOpen = 3 };

enum class Outcome : uint8_t { kSuccess = 1, kFailure = 2, kIgnored = 3 };

// Why a breaker changed its state.
enum class Cause : uint8_t {
  kConsecutiveFailures = 1,
  kFailuresInWindow = 2,
  kFailureRate = 3,
  kSlowCallRate = 4,
  kRecoveryTimeoutElapsed = 5,
  kProbeSucceeded = 6,
  kProbeFailed = 7,
  kOverrideSet = 8,
  kOverrideCleared = 9,
  kReset = 10,
};

// The names that people read, as in the wire contract: "HALF_OPEN", "PROBE_FAILED".
const char* Name(State state);
const char* Name(Cause cause);

// One change of a breaker's state.
struct Transition {
  State from;
  State to;
  WallTime time;
  Cause cause;
  std::string reason;   // one English sentence with the numbers that decided it
  uint64_t generation;  // that this transition began

  friend bool operator==(const Transition&, const Transition&) = default;
};

}  // namespace breaker::server

#endif  // BREAKER_ENGINE_TRANSITION_H_
