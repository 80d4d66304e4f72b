#include "server/engine/trip_rule.h"

#include <optional>
#include <random>

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace breaker::server {
namespace {

// 2 failures of 5 calls by 2 workers, no run, nothing slow.
TripEvidence Evidence() {
  TripEvidence evidence;
  evidence.window = {3, 2, 0};
  evidence.failing_workers = 2;
  return evidence;
}

// No rule, and no minimum.
Policy NoRules() {
  Policy policy;
  policy.failure_threshold = 0;
  policy.minimum_request_count = 0;
  return policy;
}

TEST(TripRuleTest, NoRuleNeverTrips) {
  TripEvidence evidence;
  evidence.window = {0, 1000, 1000};
  evidence.consecutive_failures = 1000;
  evidence.failing_workers = 1000;
  evidence.slow_workers = 1000;

  EXPECT_FALSE(ShouldTrip(evidence, NoRules()).has_value());
}

TEST(TripRuleTest, NoCallsNeverTrip) {
  Policy policy = NoRules();
  policy.failure_rate_threshold = 1e-9;
  policy.slow_call_rate_threshold = 1e-9;

  EXPECT_FALSE(ShouldTrip(TripEvidence(), policy).has_value());
}

TEST(TripRuleTest, ConsecutiveFailuresReachTheirThreshold) {
  Policy policy = NoRules();
  policy.failure_threshold = 3;
  policy.minimum_request_count = 5;
  TripEvidence evidence = Evidence();
  evidence.consecutive_failures = 2;
  EXPECT_FALSE(ShouldTrip(evidence, policy).has_value());

  evidence.consecutive_failures = 3;
  const std::optional<Trip> trip = ShouldTrip(evidence, policy);

  ASSERT_TRUE(trip.has_value());
  EXPECT_EQ(trip->cause, Cause::kConsecutiveFailures);
  EXPECT_EQ(trip->reason,
            "3 consecutive failures (threshold 3) with 5 calls in 60s (minimum 5), "
            "2 workers failing");
}

TEST(TripRuleTest, OneOfAnythingIsSingular) {
  Policy policy = NoRules();
  policy.failure_threshold = 1;
  TripEvidence evidence;
  evidence.window = {0, 1, 0};
  evidence.consecutive_failures = 1;
  evidence.failing_workers = 1;

  EXPECT_EQ(ShouldTrip(evidence, policy)->reason,
            "1 consecutive failure (threshold 1) with 1 call in 60s (minimum 0), "
            "1 worker failing");
}

TEST(TripRuleTest, FailuresInTheWindowReachTheirThreshold) {
  Policy policy = NoRules();
  policy.failure_counting = FailureCounting::kWindowed;
  policy.failure_threshold = 3;
  TripEvidence evidence = Evidence();
  evidence.consecutive_failures = 100;  // of no account here
  EXPECT_FALSE(ShouldTrip(evidence, policy).has_value());

  evidence.window.failures = 3;
  const std::optional<Trip> trip = ShouldTrip(evidence, policy);

  ASSERT_TRUE(trip.has_value());
  EXPECT_EQ(trip->cause, Cause::kFailuresInWindow);
  EXPECT_EQ(trip->reason,
            "3 failures (threshold 3) with 6 calls in 60s (minimum 0), 2 workers failing");
}

TEST(TripRuleTest, TheFailureRateReachesItsThreshold) {
  Policy policy = NoRules();
  policy.failure_rate_threshold = 0.4;
  TripEvidence evidence = Evidence();
  evidence.window = {4, 2, 0};
  EXPECT_FALSE(ShouldTrip(evidence, policy).has_value());

  evidence.window = {3, 2, 0};
  const std::optional<Trip> trip = ShouldTrip(evidence, policy);

  ASSERT_TRUE(trip.has_value());
  EXPECT_EQ(trip->cause, Cause::kFailureRate);
  EXPECT_EQ(trip->reason,
            "2 of 5 calls failed (threshold 40%) in 60s (minimum 0), 2 workers failing");
}

TEST(TripRuleTest, EveryQuotientReachesTheThresholdThatIsWrittenLikeIt) {
  Policy policy = NoRules();
  TripEvidence evidence = Evidence();
  for (uint32_t percent = 1; percent <= 100; ++percent) {
    for (const uint32_t scale : {1u, 3u, 7u, 1000u}) {
      policy.failure_rate_threshold = percent / 100.0;
      evidence.window = {(100 - percent) * scale, percent * scale, 0};
      EXPECT_TRUE(ShouldTrip(evidence, policy).has_value()) << percent << " x " << scale;
      ++evidence.window.successes;
      EXPECT_FALSE(ShouldTrip(evidence, policy).has_value()) << percent << " x " << scale;
    }
  }
}

TEST(TripRuleTest, TheSlowCallRateReachesItsThreshold) {
  Policy policy = NoRules();
  policy.slow_call_rate_threshold = 0.5;
  policy.expected_response_time = absl::Milliseconds(250);
  TripEvidence evidence;
  evidence.window = {4, 0, 1};
  evidence.slow_workers = 1;
  EXPECT_FALSE(ShouldTrip(evidence, policy).has_value());

  evidence.window.slow = 2;
  const std::optional<Trip> trip = ShouldTrip(evidence, policy);

  ASSERT_TRUE(trip.has_value());
  EXPECT_EQ(trip->cause, Cause::kSlowCallRate);
  EXPECT_EQ(trip->reason,
            "2 of 4 calls took longer than 250ms (threshold 50%) in 60s (minimum 0), "
            "1 worker slow");
}

TEST(TripRuleTest, MinimumRequestCountHoldsEveryRuleBack) {
  Policy policy;
  policy.failure_threshold = 1;
  policy.failure_rate_threshold = 0.1;
  policy.slow_call_rate_threshold = 0.1;
  policy.minimum_request_count = 6;
  TripEvidence evidence;
  evidence.window = {0, 5, 5};
  evidence.consecutive_failures = 5;
  evidence.failing_workers = 1;
  evidence.slow_workers = 1;
  EXPECT_FALSE(ShouldTrip(evidence, policy).has_value());

  policy.minimum_request_count = 5;
  EXPECT_TRUE(ShouldTrip(evidence, policy).has_value());

  policy.minimum_request_count = 6;
  evidence.minimum_waived = true;
  EXPECT_EQ(ShouldTrip(evidence, policy)->reason,
            "5 consecutive failures (threshold 1) with 5 calls in 60s "
            "(minimum waived while recovery ramps up), 1 worker failing");
}

TEST(TripRuleTest, TheFirstRuleThatHoldsIsTheCause) {
  Policy policy = NoRules();
  policy.failure_threshold = 2;
  policy.failure_rate_threshold = 0.4;
  policy.slow_call_rate_threshold = 0.2;
  TripEvidence evidence = Evidence();
  evidence.window = {3, 2, 1};
  evidence.consecutive_failures = 2;
  evidence.slow_workers = 1;

  EXPECT_EQ(ShouldTrip(evidence, policy)->cause, Cause::kConsecutiveFailures);
  policy.failure_threshold = 3;
  EXPECT_EQ(ShouldTrip(evidence, policy)->cause, Cause::kFailureRate);
  policy.failure_rate_threshold = 0.5;
  EXPECT_EQ(ShouldTrip(evidence, policy)->cause, Cause::kSlowCallRate);
  policy.slow_call_rate_threshold = 0.3;
  EXPECT_FALSE(ShouldTrip(evidence, policy).has_value());
}

TEST(TripRuleTest, FailureRulesNeedAQuorumOfFailingWorkers) {
  Policy policy = NoRules();
  policy.failure_threshold = 2;
  policy.failure_rate_threshold = 0.1;
  policy.minimum_failing_workers = 3;
  TripEvidence evidence = Evidence();
  evidence.consecutive_failures = 2;
  evidence.slow_workers = 10;
  EXPECT_FALSE(ShouldTrip(evidence, policy).has_value());

  evidence.failing_workers = 3;

  EXPECT_EQ(ShouldTrip(evidence, policy)->reason,
            "2 consecutive failures (threshold 2) with 5 calls in 60s (minimum 0), "
            "3 workers failing (quorum 3)");
}

TEST(TripRuleTest, TheSlowRuleNeedsAQuorumOfSlowWorkers) {
  Policy policy = NoRules();
  policy.slow_call_rate_threshold = 0.2;
  policy.minimum_failing_workers = 2;
  TripEvidence evidence;
  evidence.window = {1, 4, 1};
  evidence.failing_workers = 10;
  evidence.slow_workers = 1;
  EXPECT_FALSE(ShouldTrip(evidence, policy).has_value());

  evidence.slow_workers = 2;

  EXPECT_EQ(ShouldTrip(evidence, policy)->cause, Cause::kSlowCallRate);
}

TEST(TripRuleTest, ARuleWithoutItsQuorumLetsAnotherOneBeTheCause) {
  Policy policy = NoRules();
  policy.failure_threshold = 1;
  policy.slow_call_rate_threshold = 0.2;
  policy.minimum_failing_workers = 2;
  TripEvidence evidence;
  evidence.window = {1, 4, 2};
  evidence.consecutive_failures = 4;
  evidence.failing_workers = 1;
  evidence.slow_workers = 2;

  EXPECT_EQ(ShouldTrip(evidence, policy)->cause, Cause::kSlowCallRate);
}

TEST(TripRuleTest, AQuorumOfNoneIsAQuorumOfOne) {
  Policy policy = NoRules();
  policy.failure_threshold = 2;
  policy.minimum_failing_workers = 0;
  TripEvidence evidence = Evidence();
  evidence.consecutive_failures = 2;
  evidence.failing_workers = 1;
  const std::optional<Trip> none = ShouldTrip(evidence, policy);
  policy.minimum_failing_workers = 1;
  const std::optional<Trip> one = ShouldTrip(evidence, policy);

  ASSERT_TRUE(none.has_value());
  ASSERT_TRUE(one.has_value());
  EXPECT_EQ(none->reason, one->reason);
}

// Against one call after the other, over all kinds of calls, policies and evidence.
TEST(TripRuleTest, CallsUntilTripFindsTheFirstCallThatTrips) {
  std::mt19937 random(7);
  const auto below = [&random](uint32_t n) { return static_cast<uint32_t>(random() % n); };
  int trips = 0;
  for (int round = 0; round < 20'000; ++round) {
    Policy policy = NoRules();
    policy.minimum_request_count = below(12);
    policy.failure_threshold = below(3) == 0 ? 0 : 1 + below(15);
    policy.failure_counting =
        below(2) == 0 ? FailureCounting::kConsecutive : FailureCounting::kWindowed;
    policy.failure_rate_threshold = below(2) == 0 ? 0 : (1 + below(10)) / 10.0;
    policy.slow_call_rate_threshold = below(2) == 0 ? 0 : (1 + below(10)) / 10.0;
    policy.minimum_failing_workers = below(3);
    TripEvidence evidence;
    evidence.window = {below(12), below(12), 0};
    evidence.window.slow = below(static_cast<uint32_t>(evidence.window.total()) + 1);
    evidence.consecutive_failures = below(evidence.window.failures + 1);
    evidence.failing_workers = below(3);
    evidence.slow_workers = below(3);
    evidence.minimum_waived = below(4) == 0;
    const CallKind kind{below(2) == 0, below(2) == 0};
    const uint32_t count = 1 + below(40);

    const std::optional<TripAfter> found = CallsUntilTrip(evidence, kind, count, policy);

    std::optional<TripAfter> expected;
    for (uint32_t calls = 1; calls <= count && !expected.has_value(); ++calls) {
      ++(kind.failed ? evidence.window.failures : evidence.window.successes);
      if (kind.slow) ++evidence.window.slow;
      evidence.consecutive_failures = kind.failed ? evidence.consecutive_failures + 1 : 0;
      if (std::optional<Trip> trip = ShouldTrip(evidence, policy)) expected = {calls, *trip};
    }
    ASSERT_EQ(found.has_value(), expected.has_value()) << "round " << round;
    if (!expected.has_value()) continue;
    ++trips;
    ASSERT_EQ(found->calls, expected->calls) << "round " << round;
    ASSERT_EQ(found->trip.reason, expected->trip.reason) << "round " << round;
  }
  EXPECT_GT(trips, 1000);
}

}  // namespace
}  // namespace breaker::server
