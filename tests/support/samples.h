#ifndef BREAKER_TESTS_SUPPORT_SAMPLES_H_
#define BREAKER_TESTS_SUPPORT_SAMPLES_H_

#include "absl/time/time.h"
#include "server/engine/key.h"
#include "server/engine/policy.h"
#include "server/engine/snapshot.h"
#include "server/store/state_store.h"

namespace breaker::server {

// A valid policy in which no field has its default.
inline Policy UnusualPolicy() {
  Policy policy;
  policy.failure_threshold = 7;
  policy.recovery_timeout = absl::Milliseconds(1500);
  policy.expected_response_time = absl::Nanoseconds(250'000'001);
  policy.monitoring_window = absl::Minutes(3);
  policy.minimum_request_count = 0;
  policy.failure_counting = FailureCounting::kWindowed;
  policy.failure_rate_threshold = 0.25;
  policy.slow_call_rate_threshold = 0.75;
  policy.slow_calls_are_failures = true;
  policy.half_open_max_probes = 3;
  policy.half_open_success_threshold = 2;
  policy.permit_timeout = absl::Seconds(5);
  policy.recovery_backoff_multiplier = 1.5;
  policy.max_recovery_timeout = absl::Hours(24 * 365);
  policy.recovery_jitter = 0.1;
  policy.minimum_failing_workers = 4;
  policy.recovery_ramp = absl::Seconds(20);
  policy.shadow = true;
  return policy;
}

inline WallTime At(int64_t seconds) {
  return WallTime::FromUnixNanos(1'800'000'000'123'456'789 + seconds * 1'000'000'000);
}

// A snapshot in which every field is set, to no default and no two to the same.
inline BreakerSnapshot FullSnapshot(const Key& key) {
  BreakerSnapshot s;
  s.key = key;
  s.state = State::kHalfOpen;
  s.generation = 0xfedc'ba98'7654'3210;
  s.lifetime = {1, 2, 3, 4, 5, 6, uint64_t{1} << 63};
  s.last_failure_time = At(1);
  s.last_success_time = At(2);
  s.last_failure_error = "TIMEOUT";
  s.transitions = {
      {State::kClosed, State::kOpen, At(3), Cause::kFailureRate, "3 of 4 calls failed", 17},
      {State::kOpen, State::kHalfOpen, At(-4), Cause::kRecoveryTimeoutElapsed, "", 18}};
  s.worker_policy = UnusualPolicy();
  s.override = Override{Override::Mode::kForcedClosed, "a \"test\"\n", "alice", At(5)};
  s.monitoring_window = absl::Minutes(3);
  s.window = {{At(6), {8, 9, 10}}, {At(7), {0, 0, UINT32_MAX}}};
  s.consecutive_failures = 11;
  s.last_call_time = At(8);
  s.failing_workers = {{"w1", At(9)}, {"", At(10)}};
  s.slow_workers = {{"w2", WallTime::FromUnixNanos(-1)}};
  s.opened_at = At(11);
  s.jitter_draw = -0.123456789;
  s.failed_recoveries = 12;
  s.probe_successes = 13;
  s.ramp_started_at = WallTime::FromUnixNanos(0);
  s.applied_runs = {{UINT64_MAX - 1, BatchPosition(7, 3)}, {UINT64_MAX, BatchPosition(1, 1)}};
  return s;
}

// A breaker that was never called.
inline BreakerSnapshot NewSnapshot(const Key& key) {
  BreakerSnapshot s;
  s.key = key;
  return s;
}

inline StoredPolicy UnusualStoredPolicy(const Key& key) {
  return StoredPolicy{key, UnusualPolicy(), At(14)};
}

}  // namespace breaker::server

#endif  // BREAKER_TESTS_SUPPORT_SAMPLES_H_
