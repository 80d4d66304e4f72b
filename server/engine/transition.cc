#include "server/engine/transition.h"

namespace breaker::server {

const char* Name(State state) {
  switch (state) {
    case State::kClosed:
      return "CLOSED";
    case State::kOpen:
      return "OPEN";
    case State::kHalfOpen:
      return "HALF_OPEN";
  }
  return "UNKNOWN";
}

const char* Name(Cause cause) {
  switch (cause) {
    case Cause::kConsecutiveFailures:
      return "CONSECUTIVE_FAILURES";
    case Cause::kFailuresInWindow:
      return "FAILURES_IN_WINDOW";
    case Cause::kFailureRate:
      return "FAILURE_RATE";
    case Cause::kSlowCallRate:
      return "SLOW_CALL_RATE";
    case Cause::kRecoveryTimeoutElapsed:
      return "RECOVERY_TIMEOUT_ELAPSED";
    case Cause::kProbeSucceeded:
      return "PROBE_SUCCEEDED";
    case Cause::kProbeFailed:
      return "PROBE_FAILED";
    case Cause::kOverrideSet:
      return "OVERRIDE_SET";
    case Cause::kOverrideCleared:
      return "OVERRIDE_CLEARED";
    case Cause::kReset:
      return "RESET";
  }
  return "UNKNOWN";
}

}  // namespace breaker::server
