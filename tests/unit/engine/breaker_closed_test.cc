#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "server/engine/breaker.h"
#include "tests/support/breaker_harness.h"

namespace breaker {
namespace {

Policy ThreeInARow() {
  Policy policy;
  policy.failure_threshold = 3;
  policy.minimum_request_count = 0;
  return policy;
}

TEST(BreakerClosedTest, NewBreakerIsClosedAtGenerationOneWithNothingCounted) {
  BreakerHarness b;

  const BreakerStats stats = b.Stats();

  EXPECT_EQ(stats.state, State::kClosed);
  EXPECT_EQ(stats.generation, 1u);
  EXPECT_EQ(stats.window, CallCounts{});
  EXPECT_EQ(stats.lifetime, LifetimeCounts{});
  EXPECT_FALSE(stats.last_failure_time.has_value());
  EXPECT_FALSE(stats.last_success_time.has_value());
  EXPECT_FALSE(stats.next_attempt_time.has_value());
  EXPECT_TRUE(stats.recent_transitions.empty());
  EXPECT_EQ(stats.ramp_fraction, 1);
  EXPECT_EQ(stats.retry_after, absl::ZeroDuration());
}

TEST(BreakerClosedTest, AcquireIsAllowedWithAPermit) {
  BreakerHarness b;

  const Decision decision = b.Acquire();

  EXPECT_TRUE(decision.allowed);
  EXPECT_NE(decision.permit_id, 0u);
  EXPECT_EQ(decision.state, State::kClosed);
  EXPECT_FALSE(decision.probe);
  EXPECT_FALSE(decision.shadow);
  EXPECT_EQ(decision.retry_after, absl::ZeroDuration());
  EXPECT_EQ(decision.generation, 1u);
  EXPECT_EQ(b.Stats().in_flight, 1u);
}

TEST(BreakerClosedTest, ReportTakesThePermitBackAndCounts) {
  BreakerHarness b;
  const Decision decision = b.Acquire();
  b.Pass(absl::Seconds(2));

  const ReportResult result = b.Report(decision.permit_id, Outcome::kSuccess);

  EXPECT_EQ(result.disposition, Disposition::kCounted);
  EXPECT_EQ(result.state, State::kClosed);
  EXPECT_EQ(result.generation, 1u);
  const BreakerStats stats = b.Stats();
  EXPECT_EQ(stats.in_flight, 0u);
  EXPECT_EQ(b.permits().out(), 0);
  EXPECT_EQ(stats.window, (CallCounts{1, 0, 0}));
  EXPECT_EQ(stats.lifetime.successes, 1u);
  EXPECT_EQ(stats.last_success_time, b.now().wall);
}

TEST(BreakerClosedTest, FailureIsCountedWithItsTimeWorkerAndLabel) {
  BreakerHarness b;

  b.Report({"w1", b.Acquire().permit_id, Outcome::kFailure, absl::Milliseconds(5), "Timeout"});

  const BreakerStats stats = b.Stats();
  EXPECT_EQ(stats.window, (CallCounts{0, 1, 0}));
  EXPECT_EQ(stats.lifetime.failures, 1u);
  EXPECT_EQ(stats.consecutive_failures, 1u);
  EXPECT_EQ(stats.failing_workers, 1u);
  EXPECT_EQ(stats.last_failure_time, b.now().wall);
  EXPECT_EQ(stats.last_failure_error, "Timeout");
}

TEST(BreakerClosedTest, ALaterFailureWithoutALabelDoesNotKeepTheOldOne) {
  BreakerHarness b;
  b.Report({"w1", 0, Outcome::kFailure, absl::Milliseconds(5), "Timeout"});

  b.Report({"w1", 0, Outcome::kFailure, absl::Milliseconds(5), ""});

  EXPECT_EQ(b.Stats().last_failure_error, "");
}

TEST(BreakerClosedTest, ReportWithoutAPermitCounts) {
  BreakerHarness b;

  EXPECT_EQ(b.Report(0, Outcome::kFailure).disposition, Disposition::kCounted);

  EXPECT_EQ(b.Stats().window, (CallCounts{0, 1, 0}));
}

TEST(BreakerClosedTest, IgnoredGivesThePermitBackAndConcludesNothing) {
  BreakerHarness b(ThreeInARow());
  b.Fail(2);
  const Decision decision = b.Acquire();

  EXPECT_EQ(b.Report(decision.permit_id, Outcome::kIgnored).disposition, Disposition::kCounted);

  const BreakerStats stats = b.Stats();
  EXPECT_EQ(stats.in_flight, 0u);
  EXPECT_EQ(stats.window.total(), 2u);
  EXPECT_EQ(stats.consecutive_failures, 2u);
  EXPECT_EQ(stats.lifetime.ignored, 1u);
}

TEST(BreakerClosedTest, OpensAtTheThresholdAndNotOneBelow) {
  BreakerHarness b(ThreeInARow());

  b.Fail(2);
  EXPECT_EQ(b.state(), State::kClosed);
  const ReportResult result = b.Fail();

  EXPECT_EQ(result.disposition, Disposition::kCounted);
  EXPECT_EQ(result.state, State::kOpen);
  EXPECT_EQ(result.generation, 2u);
  EXPECT_EQ(b.Stats().lifetime.times_opened, 1u);
}

TEST(BreakerClosedTest, MinimumRequestCountHoldsTheRuleBack) {
  Policy policy = ThreeInARow();
  policy.minimum_request_count = 5;
  BreakerHarness b(policy);

  b.Fail(4);
  EXPECT_EQ(b.state(), State::kClosed);
  b.Fail();

  EXPECT_EQ(b.state(), State::kOpen);
}

TEST(BreakerClosedTest, ASuccessCanBringTheMinimumAndSoTrip) {
  Policy policy = ThreeInARow();
  policy.failure_counting = FailureCounting::kWindowed;
  policy.minimum_request_count = 4;
  BreakerHarness b(policy);
  b.Fail(3);

  b.Succeed();

  EXPECT_EQ(b.state(), State::kOpen);
  EXPECT_EQ(b.LastTransition().cause, Cause::kFailuresInWindow);
}

TEST(BreakerClosedTest, ASuccessBreaksARun) {
  BreakerHarness b(ThreeInARow());
  b.Fail(2);
  b.Succeed();

  b.Fail(2);

  EXPECT_EQ(b.state(), State::kClosed);
  EXPECT_EQ(b.Stats().consecutive_failures, 2u);
}

TEST(BreakerClosedTest, ARunIsForgottenAfterAWindowWithoutACall) {
  BreakerHarness b(ThreeInARow());
  b.Fail(2);

  b.Pass(absl::Seconds(60) - absl::Nanoseconds(1));
  EXPECT_EQ(b.Stats().consecutive_failures, 2u);
  b.Pass(absl::Nanoseconds(1));

  EXPECT_EQ(b.Stats().consecutive_failures, 0u);
}

TEST(BreakerClosedTest, ARunOutlivesTheWindowWhileCallsGoOn) {
  BreakerHarness b(ThreeInARow());
  b.Fail();
  b.Pass(absl::Seconds(50));
  b.Fail();
  b.Pass(absl::Seconds(50));

  b.Fail();

  EXPECT_EQ(b.state(), State::kOpen);
  EXPECT_EQ(b.LastTransition().reason,
            "3 consecutive failures (threshold 3) with 2 calls in 60s (minimum 0), "
            "1 worker failing");
}

TEST(BreakerClosedTest, AnIgnoredCallDoesNotKeepARunAlive) {
  BreakerHarness b(ThreeInARow());
  b.Fail(2);
  b.Pass(absl::Seconds(59));
  b.Report(b.Acquire().permit_id, Outcome::kIgnored);

  b.Pass(absl::Seconds(1));

  EXPECT_EQ(b.Stats().consecutive_failures, 0u);
}

TEST(BreakerClosedTest, WindowedFailuresNeedNotBeInARow) {
  Policy policy = ThreeInARow();
  policy.failure_counting = FailureCounting::kWindowed;
  BreakerHarness b(policy);

  for (int i = 0; i < 3; ++i) {
    b.Succeed();
    b.Fail();
  }

  EXPECT_EQ(b.state(), State::kOpen);
  EXPECT_EQ(b.LastTransition().reason,
            "3 failures (threshold 3) with 6 calls in 60s (minimum 0), 1 worker failing");
}

TEST(BreakerClosedTest, WindowedFailuresThatHaveLeftTheWindowDoNotCount) {
  Policy policy = ThreeInARow();
  policy.failure_counting = FailureCounting::kWindowed;
  BreakerHarness b(policy);
  b.Fail(2);
  b.Pass(absl::Seconds(60));

  b.Fail();

  EXPECT_EQ(b.state(), State::kClosed);
  EXPECT_EQ(b.Stats().window.failures, 1u);
}

TEST(BreakerClosedTest, AQuorumOfWorkersIsNeeded) {
  Policy policy = ThreeInARow();
  policy.minimum_failing_workers = 2;
  BreakerHarness b(policy);

  for (int i = 0; i < 10; ++i) b.Fail("w1");
  EXPECT_EQ(b.state(), State::kClosed);
  b.Fail("w2");

  EXPECT_EQ(b.state(), State::kOpen);
  EXPECT_EQ(b.LastTransition().reason,
            "11 consecutive failures (threshold 3) with 11 calls in 60s (minimum 0), "
            "2 workers failing (quorum 2)");
}

TEST(BreakerClosedTest, TheWorkerOfTheReportCounts) {
  BreakerHarness b;
  const Decision first = b.Acquire();
  const Decision second = b.Acquire();

  b.Report(first.permit_id, Outcome::kFailure, "w1");
  b.Report(second.permit_id, Outcome::kFailure, "w2");

  EXPECT_EQ(b.Stats().failing_workers, 2u);
}

TEST(BreakerClosedTest, AnEmptyWorkerIdIsOneWorker) {
  BreakerHarness b;

  b.Fail("");
  b.Fail("");

  EXPECT_EQ(b.Stats().failing_workers, 1u);
}

TEST(BreakerClosedTest, ACallIsSlowOnlyWhenItTookLongerThanExpected) {
  BreakerHarness b;

  b.Call(Outcome::kSuccess, "w1", absl::Seconds(1));
  EXPECT_EQ(b.Stats().window, (CallCounts{1, 0, 0}));
  b.Call(Outcome::kSuccess, "w1", absl::Seconds(1) + absl::Nanoseconds(1));
  EXPECT_EQ(b.Stats().window, (CallCounts{2, 0, 1}));
  b.Call(Outcome::kFailure, "w1", absl::Seconds(2));

  EXPECT_EQ(b.Stats().window, (CallCounts{2, 1, 2}));
}

TEST(BreakerClosedTest, SlowCallsAreFailuresOnlyIfThePolicySaysSo) {
  Policy policy = ThreeInARow();
  policy.slow_calls_are_failures = true;
  BreakerHarness b(policy);

  for (int i = 0; i < 3; ++i) b.SucceedSlowly();

  EXPECT_EQ(b.state(), State::kOpen);
  const BreakerStats stats = b.Stats();
  EXPECT_EQ(stats.window, (CallCounts{0, 3, 3}));
  EXPECT_EQ(stats.lifetime.failures, 3u);
  EXPECT_EQ(stats.last_failure_error, "slow call");
}

TEST(BreakerClosedTest, OpensAtTheFailureRate) {
  Policy policy;
  policy.failure_threshold = 0;
  policy.failure_rate_threshold = 0.5;
  policy.minimum_request_count = 4;
  BreakerHarness b(policy);
  b.Succeed(3);
  b.Fail(2);
  EXPECT_EQ(b.state(), State::kClosed);

  b.Fail();

  EXPECT_EQ(b.state(), State::kOpen);
  EXPECT_EQ(b.LastTransition().cause, Cause::kFailureRate);
  EXPECT_EQ(b.LastTransition().reason,
            "3 of 6 calls failed (threshold 50%) in 60s (minimum 4), 1 worker failing");
}

TEST(BreakerClosedTest, OpensAtTheSlowCallRateByWorkersThatWereSlow) {
  Policy policy;
  policy.failure_threshold = 0;
  policy.slow_call_rate_threshold = 0.5;
  policy.minimum_request_count = 2;
  policy.minimum_failing_workers = 2;
  BreakerHarness b(policy);
  b.Fail("w1");
  b.SucceedSlowly("w2");
  EXPECT_EQ(b.state(), State::kClosed);  // only one worker was slow

  b.SucceedSlowly("w3");

  EXPECT_EQ(b.state(), State::kOpen);
  EXPECT_EQ(b.LastTransition().cause, Cause::kSlowCallRate);
  EXPECT_EQ(b.LastTransition().reason,
            "2 of 3 calls took longer than 1s (threshold 50%) in 60s (minimum 2), "
            "2 workers slow (quorum 2)");
}

TEST(BreakerClosedTest, AJumpOfTheWallClockForgetsNothing) {
  BreakerHarness b(ThreeInARow());
  b.Fail(2);

  b.clock().SetWall(b.now().wall + absl::Hours(24));

  EXPECT_EQ(b.Stats().consecutive_failures, 2u);
  EXPECT_EQ(b.Stats().window.failures, 2u);
}

TEST(BreakerClosedTest, ACallThatReadTheClockEarlierIsStillCounted) {
  BreakerHarness b(ThreeInARow());
  const Context early = b.context();
  b.Pass(absl::Seconds(10));
  b.Fail();

  b.breaker().Report(CallReport{"w1", 0, Outcome::kFailure, absl::ZeroDuration(), ""}, early);

  EXPECT_EQ(b.Stats().window.failures, 2u);
  EXPECT_EQ(b.Stats().consecutive_failures, 2u);
}

}  // namespace
}  // namespace breaker
