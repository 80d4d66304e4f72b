#include <memory>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "server/engine/breaker.h"
#include "tests/support/breaker_harness.h"

namespace breaker {
namespace {

TEST(BreakerPolicyTest, AChangeKeepsCounts) {
  BreakerHarness b;
  b.Succeed(3);
  b.Fail(2);
  Policy policy;
  policy.failure_threshold = 7;

  b.SetPolicy(policy);

  EXPECT_EQ(b.Stats().window, (CallCounts{3, 2, 0}));
  EXPECT_EQ(b.Stats().consecutive_failures, 2u);
  EXPECT_EQ(b.Stats().failing_workers, 1u);
  EXPECT_EQ(b.Stats().policy->failure_threshold, 7u);
  EXPECT_EQ(b.generation(), 1u);
}

TEST(BreakerPolicyTest, AStricterRuleIsLookedAtWithTheNextCall) {
  BreakerHarness b;
  b.Fail(4);
  Policy strict;
  strict.failure_threshold = 2;
  strict.minimum_request_count = 2;

  b.SetPolicy(strict);
  EXPECT_EQ(b.state(), State::kClosed);
  b.Fail();

  EXPECT_EQ(b.state(), State::kOpen);
}

TEST(BreakerPolicyTest, AnotherMonitoringWindowStartsAnEmptyWindow) {
  BreakerHarness b;
  b.Succeed(3);
  b.Fail(2);
  Policy policy;
  policy.monitoring_window = absl::Seconds(61);

  b.SetPolicy(policy);

  EXPECT_EQ(b.Stats().window, CallCounts{});
  EXPECT_EQ(b.Stats().failing_workers, 0u);
  b.Fail();
  EXPECT_EQ(b.Stats().window, (CallCounts{0, 1, 0}));
  b.Pass(absl::Seconds(61));
  EXPECT_EQ(b.Stats().window, CallCounts{});
}

TEST(BreakerPolicyTest, AnotherRecoveryTimeoutMovesNextAttemptTimeOfAnOpenBreaker) {
  BreakerHarness b;
  b.Trip();
  const WallTime opened = b.now().wall;
  b.Pass(absl::Seconds(10));
  Policy policy;
  policy.recovery_timeout = absl::Seconds(12);

  b.SetPolicy(policy);

  EXPECT_EQ(b.Stats().next_attempt_time, opened + absl::Seconds(12));
  EXPECT_EQ(b.Stats().retry_after, absl::Seconds(2));
  EXPECT_EQ(b.generation(), 2u);
}

TEST(BreakerPolicyTest, AShorterRecoveryTimeoutMayBeOverAtOnce) {
  BreakerHarness b;
  b.Trip();
  b.Pass(absl::Seconds(10));
  Policy policy;
  policy.recovery_timeout = absl::Seconds(10);

  b.SetPolicy(policy);

  EXPECT_EQ(b.Stats().state, State::kHalfOpen);
}

TEST(BreakerPolicyTest, AnythingElseLeavesNextAttemptTimeToTheNanosecond) {
  Policy policy;
  policy.recovery_jitter = 0.5;
  policy.recovery_backoff_multiplier = 1.7;
  BreakerHarness b(policy);
  b.Trip();
  b.WaitForHalfOpen();
  b.Fail();
  const auto next = b.Stats().next_attempt_time;
  b.Pass(absl::Seconds(3));
  policy.failure_threshold = 9;
  policy.monitoring_window = absl::Seconds(10);

  b.SetPolicy(policy);

  EXPECT_EQ(b.Stats().next_attempt_time, next);
}

TEST(BreakerPolicyTest, AnotherPolicyWhileHalfOpenKeepsProbes) {
  BreakerHarness b;
  b.Trip();
  b.WaitForHalfOpen();
  const Decision probe = b.Acquire();
  Policy policy;
  policy.half_open_max_probes = 2;

  b.SetPolicy(policy);

  EXPECT_TRUE(b.Acquire().probe);
  EXPECT_FALSE(b.Acquire().allowed);
  EXPECT_EQ(b.Report(probe.permit_id, Outcome::kSuccess).state, State::kClosed);
}

TEST(BreakerPolicyTest, FewerProbesThanAreOutGrantsNoneUntilTheyAreBack) {
  Policy policy;
  policy.half_open_max_probes = 3;
  policy.half_open_success_threshold = 5;
  BreakerHarness b(policy);
  b.Trip();
  b.WaitForHalfOpen();
  const Decision first = b.Acquire();
  const Decision second = b.Acquire();
  policy.half_open_max_probes = 1;
  b.SetPolicy(policy);

  b.Report(first.permit_id, Outcome::kIgnored);
  EXPECT_FALSE(b.Acquire().allowed);
  b.Report(second.permit_id, Outcome::kIgnored);

  EXPECT_TRUE(b.Acquire().probe);
}

TEST(BreakerPolicyTest, StatsSayWhoseItIs) {
  BreakerHarness b;
  const PolicyPtr brought = std::make_shared<const Policy>();

  b.breaker().SetPolicy(brought, PolicySource::kWorker, brought, b.context());

  EXPECT_EQ(b.Stats().policy_source, PolicySource::kWorker);
  EXPECT_EQ(b.breaker().worker_policy(), brought);
}

TEST(BreakerPolicyTest, AMinimumOfNoneIsAllowed) {
  Policy policy;
  policy.failure_threshold = 1;
  policy.minimum_request_count = 0;
  policy.minimum_failing_workers = 0;
  BreakerHarness b(policy);

  EXPECT_EQ(b.Fail().state, State::kOpen);
}

TEST(BreakerPolicyTest, AllRulesOffNeverOpens) {
  Policy policy;
  policy.failure_threshold = 0;
  policy.minimum_request_count = 0;
  BreakerHarness b(policy);

  b.Fail(100);

  EXPECT_EQ(b.state(), State::kClosed);
}

}  // namespace
}  // namespace breaker
