#ifndef BREAKER_ENGINE_POLICY_H_
#define BREAKER_ENGINE_POLICY_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace breaker::server {

enum class FailureCounting : uint8_t { kConsecutive = 1, kWindowed = 2 };

enum class PolicySource : uint8_t { kBuiltIn = 1, kWorker = 2, kOperator = 3 };

// As in the wire contract: "BUILT_IN".
const char* Name(PolicySource source);

// When a circuit opens and how it recovers: breaker.v1.Policy with every field filled in, in the
// contract's order and with its defaults. See breaker.proto for what each field means.
struct Policy {
  uint32_t failure_threshold = 5;  // 0 = off
  absl::Duration recovery_timeout = absl::Seconds(30);
  absl::Duration expected_response_time = absl::Seconds(1);
  absl::Duration monitoring_window = absl::Seconds(60);
  uint32_t minimum_request_count = 5;
  FailureCounting failure_counting = FailureCounting::kConsecutive;
  double failure_rate_threshold = 0;    // 0 = off
  double slow_call_rate_threshold = 0;  // 0 = off
  bool slow_calls_are_failures = false;
  uint32_t half_open_max_probes = 1;
  uint32_t half_open_success_threshold = 1;
  absl::Duration permit_timeout = absl::Seconds(30);
  double recovery_backoff_multiplier = 1;
  absl::Duration max_recovery_timeout = absl::Minutes(5);
  double recovery_jitter = 0;
  uint32_t minimum_failing_workers = 1;
  absl::Duration recovery_ramp = absl::ZeroDuration();  // 0 = off
  bool shadow = false;

  friend bool operator==(const Policy&, const Policy&) = default;
};

// Many breakers share one policy; none changes it.
using PolicyPtr = std::shared_ptr<const Policy>;

// The policy of a breaker for which no one brought any.
const PolicyPtr& BuiltInPolicy();

// OK, or INVALID_ARGUMENT that names the first field that is out of its bounds, its value and what
// is allowed.
absl::Status Validate(const Policy& policy);

}  // namespace breaker::server

#endif  // BREAKER_ENGINE_POLICY_H_
