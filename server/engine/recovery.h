#ifndef BREAKER_ENGINE_RECOVERY_H_
#define BREAKER_ENGINE_RECOVERY_H_

#include <cstdint>

#include "absl/time/time.h"
#include "server/engine/policy.h"

namespace breaker::server {

// How long a circuit stays OPEN after `failed_recoveries` in a row: recovery_timeout x
// recovery_backoff_multiplier ^ failed_recoveries, at most max_recovery_timeout (which is never
// taken as less than recovery_timeout), then +- recovery_jitter. `jitter_draw` is uniform in
// [-1, 1], drawn once when the circuit opens.
absl::Duration OpenTime(const Policy& policy, uint32_t failed_recoveries, double jitter_draw);

// The share of calls admitted `elapsed` after a recovery: from 0.1 to 1, linearly over
// recovery_ramp; 1 when that is over or off.
double RampFraction(const Policy& policy, absl::Duration elapsed);

}  // namespace breaker::server

#endif  // BREAKER_ENGINE_RECOVERY_H_
