#include "server/engine/policy.h"

#include <limits>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "server/engine/limits.h"

namespace breaker {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr absl::Duration kTick = absl::Nanoseconds(1);

template <typename T>
absl::Status With(T Policy::*field, T value) {
  Policy policy;
  policy.*field = value;
  return Validate(policy);
}

// The message of the error that a value gives, "" where it is allowed.
template <typename T>
std::string Error(T Policy::*field, T value) {
  const absl::Status status = With(field, value);
  if (!status.ok()) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  }
  return std::string(status.message());
}

template <typename T>
bool Allowed(T Policy::*field, T value) {
  return With(field, value).ok();
}

TEST(PolicyTest, TheDefaultsAreThoseOfTheContract) {
  const Policy& policy = *BuiltInPolicy();

  EXPECT_TRUE(Validate(policy).ok());
  EXPECT_EQ(policy, Policy());
  EXPECT_EQ(policy.failure_threshold, 5u);
  EXPECT_EQ(policy.recovery_timeout, absl::Seconds(30));
  EXPECT_EQ(policy.expected_response_time, absl::Seconds(1));
  EXPECT_EQ(policy.monitoring_window, absl::Seconds(60));
  EXPECT_EQ(policy.minimum_request_count, 5u);
  EXPECT_EQ(policy.failure_counting, FailureCounting::kConsecutive);
  EXPECT_EQ(policy.failure_rate_threshold, 0);
  EXPECT_EQ(policy.slow_call_rate_threshold, 0);
  EXPECT_FALSE(policy.slow_calls_are_failures);
  EXPECT_EQ(policy.half_open_max_probes, 1u);
  EXPECT_EQ(policy.half_open_success_threshold, 1u);
  EXPECT_EQ(policy.permit_timeout, absl::Seconds(30));
  EXPECT_EQ(policy.recovery_backoff_multiplier, 1);
  EXPECT_EQ(policy.max_recovery_timeout, absl::Minutes(5));
  EXPECT_EQ(policy.recovery_jitter, 0);
  EXPECT_EQ(policy.minimum_failing_workers, 1u);
  EXPECT_EQ(policy.recovery_ramp, absl::ZeroDuration());
  EXPECT_FALSE(policy.shadow);
}

TEST(PolicyTest, DurationsOfAtLeastAMillisecond) {
  for (const auto field : {&Policy::recovery_timeout, &Policy::monitoring_window,
                           &Policy::permit_timeout, &Policy::max_recovery_timeout}) {
    EXPECT_TRUE(Allowed(field, absl::Milliseconds(1)));
    EXPECT_FALSE(Allowed(field, absl::Milliseconds(1) - kTick));
    EXPECT_FALSE(Allowed(field, absl::ZeroDuration()));
    EXPECT_FALSE(Allowed(field, -absl::Seconds(1)));
    EXPECT_TRUE(Allowed(field, kMaxPolicyDuration));
    EXPECT_FALSE(Allowed(field, kMaxPolicyDuration + kTick));
    EXPECT_FALSE(Allowed(field, absl::InfiniteDuration()));
  }
}

TEST(PolicyTest, ExpectedResponseTimeIsPositive) {
  EXPECT_TRUE(Allowed(&Policy::expected_response_time, kTick));
  EXPECT_FALSE(Allowed(&Policy::expected_response_time, absl::ZeroDuration()));
  EXPECT_TRUE(Allowed(&Policy::expected_response_time, kMaxPolicyDuration));
  EXPECT_FALSE(Allowed(&Policy::expected_response_time, kMaxPolicyDuration + kTick));
}

TEST(PolicyTest, RecoveryRampMayBeOff) {
  EXPECT_TRUE(Allowed(&Policy::recovery_ramp, absl::ZeroDuration()));
  EXPECT_FALSE(Allowed(&Policy::recovery_ramp, -kTick));
  EXPECT_TRUE(Allowed(&Policy::recovery_ramp, kMaxPolicyDuration));
  EXPECT_FALSE(Allowed(&Policy::recovery_ramp, kMaxPolicyDuration + kTick));
}

TEST(PolicyTest, CountsThatMayBeZeroAndAsLargeAsTheyGo) {
  for (const auto field : {&Policy::failure_threshold, &Policy::minimum_request_count}) {
    EXPECT_TRUE(Allowed(field, 0u));
    EXPECT_TRUE(Allowed(field, UINT32_MAX));
  }
}

TEST(PolicyTest, CountsOfAtLeastOne) {
  EXPECT_FALSE(Allowed(&Policy::half_open_max_probes, 0u));
  EXPECT_TRUE(Allowed(&Policy::half_open_max_probes, 1u));
  EXPECT_TRUE(Allowed(&Policy::half_open_max_probes, kMaxProbes));
  EXPECT_FALSE(Allowed(&Policy::half_open_max_probes, kMaxProbes + 1));
  EXPECT_FALSE(Allowed(&Policy::half_open_success_threshold, 0u));
  EXPECT_TRUE(Allowed(&Policy::half_open_success_threshold, 1u));
  EXPECT_TRUE(Allowed(&Policy::half_open_success_threshold, UINT32_MAX));
}

TEST(PolicyTest, TheQuorumIsBoundByTheWorkersThatAreFollowed) {
  EXPECT_TRUE(Allowed(&Policy::minimum_failing_workers, 0u));
  EXPECT_TRUE(Allowed(&Policy::minimum_failing_workers, kMaxTrackedWorkers));
  EXPECT_FALSE(Allowed(&Policy::minimum_failing_workers, kMaxTrackedWorkers + 1));
}

TEST(PolicyTest, RatesAreFractions) {
  for (const auto field : {&Policy::failure_rate_threshold, &Policy::slow_call_rate_threshold}) {
    EXPECT_TRUE(Allowed(field, 0.0));
    EXPECT_TRUE(Allowed(field, 1e-9));
    EXPECT_TRUE(Allowed(field, 1.0));
    EXPECT_FALSE(Allowed(field, 1.0000001));
    EXPECT_FALSE(Allowed(field, -1e-9));
    EXPECT_FALSE(Allowed(field, kNan));
    EXPECT_FALSE(Allowed(field, kInfinity));
  }
}

TEST(PolicyTest, BackoffNeverShrinks) {
  EXPECT_TRUE(Allowed(&Policy::recovery_backoff_multiplier, 1.0));
  EXPECT_FALSE(Allowed(&Policy::recovery_backoff_multiplier, 0.999));
  EXPECT_TRUE(Allowed(&Policy::recovery_backoff_multiplier, kMaxBackoffMultiplier));
  EXPECT_FALSE(Allowed(&Policy::recovery_backoff_multiplier, kMaxBackoffMultiplier + 1));
  EXPECT_FALSE(Allowed(&Policy::recovery_backoff_multiplier, kNan));
  EXPECT_FALSE(Allowed(&Policy::recovery_backoff_multiplier, kInfinity));
}

TEST(PolicyTest, JitterIsLessThanTheWhole) {
  EXPECT_TRUE(Allowed(&Policy::recovery_jitter, 0.0));
  EXPECT_TRUE(Allowed(&Policy::recovery_jitter, 0.999));
  EXPECT_FALSE(Allowed(&Policy::recovery_jitter, 1.0));
  EXPECT_FALSE(Allowed(&Policy::recovery_jitter, -0.001));
  EXPECT_FALSE(Allowed(&Policy::recovery_jitter, kNan));
}

TEST(PolicyTest, AnErrorNamesTheFieldTheValueAndWhatIsAllowed) {
  EXPECT_EQ(Error(&Policy::failure_rate_threshold, 1.5),
            "policy.failure_rate_threshold: 1.5 is not in (0, 1]");
  EXPECT_EQ(Error(&Policy::slow_call_rate_threshold, kNan),
            "policy.slow_call_rate_threshold: nan is not in (0, 1]");
  EXPECT_EQ(Error(&Policy::half_open_max_probes, 0u),
            "policy.half_open_max_probes: 0 is not in [1, 1000]");
  EXPECT_EQ(Error(&Policy::half_open_success_threshold, 0u),
            "policy.half_open_success_threshold: 0 is not in [1, 4294967295]");
  EXPECT_EQ(Error(&Policy::recovery_timeout, absl::Microseconds(10)),
            "policy.recovery_timeout: 10us is not in [1ms, 8760h]");
  EXPECT_EQ(Error(&Policy::recovery_ramp, -absl::Seconds(1)),
            "policy.recovery_ramp: -1s is not in [0, 8760h]");
  EXPECT_EQ(Error(&Policy::recovery_backoff_multiplier, 0.5),
            "policy.recovery_backoff_multiplier: 0.5 is not in [1, 1000]");
  EXPECT_EQ(Error(&Policy::recovery_jitter, 1.0), "policy.recovery_jitter: 1 is not in [0, 1)");
  EXPECT_EQ(Error(&Policy::minimum_failing_workers, 1001u),
            "policy.minimum_failing_workers: 1001 is not in [0, 1000]");
}

}  // namespace
}  // namespace breaker
