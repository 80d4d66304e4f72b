#include "server/engine/recovery.h"

#include <algorithm>
#include <cmath>

namespace breaker::server {
namespace {

constexpr double kRampStart = 0.1;

}  // namespace

absl::Duration OpenTime(const Policy& policy, uint32_t failed_recoveries, double jitter_draw) {
  const absl::Duration cap = std::max(policy.recovery_timeout, policy.max_recovery_timeout);
  const double growth = std::pow(policy.recovery_backoff_multiplier, failed_recoveries);
  // An infinite growth gives an infinite duration, which the cap bounds.
  const absl::Duration grown = std::min(policy.recovery_timeout * growth, cap);
  if (policy.recovery_jitter == 0) return grown;
  return grown * (1 + policy.recovery_jitter * jitter_draw);
}

double RampFraction(const Policy& policy, absl::Duration elapsed) {
  if (elapsed >= policy.recovery_ramp) return 1;
  const double done = std::max(0.0, absl::FDivDuration(elapsed, policy.recovery_ramp));
  return kRampStart + (1 - kRampStart) * done;
}

}  // namespace breaker::server
