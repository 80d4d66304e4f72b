#include <memory>
#include <utility>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "server/engine/breaker.h"
#include "tests/support/breaker_harness.h"

namespace breaker {
namespace {

using Mode = Override::Mode;

Policy Quick() {
  Policy policy;
  policy.failure_threshold = 3;
  policy.minimum_request_count = 1;
  policy.recovery_timeout = absl::Seconds(10);
  policy.recovery_backoff_multiplier = 1.7;
  policy.recovery_jitter = 0.3;
  return policy;
}

TEST(BreakerSnapshotTest, OpenKeepsNextAttemptTimeToTheNanosecond) {
  BreakerHarness b(Quick());
  b.Trip();
  b.WaitForHalfOpen();
  b.Fail();
  const BreakerStats before = b.Stats();

  b.Restart(absl::Nanoseconds(1'234'567'891));

  const BreakerStats after = b.Stats();
  EXPECT_EQ(after.state, State::kOpen);
  EXPECT_EQ(after.generation, before.generation);
  EXPECT_EQ(after.next_attempt_time, before.next_attempt_time);
  EXPECT_EQ(after.retry_after, before.retry_after - absl::Nanoseconds(1'234'567'891));
  EXPECT_EQ(after.recent_transitions, before.recent_transitions);
}

TEST(BreakerSnapshotTest, TimeDownCountsAsPassed) {
  Policy policy = Quick();
  policy.recovery_jitter = 0;
  BreakerHarness b(policy);
  b.Trip();
  b.Pass(absl::Seconds(3));

  b.Restart(absl::Seconds(7) - absl::Nanoseconds(1));
  EXPECT_FALSE(b.Acquire().allowed);
  b.Restart(absl::Nanoseconds(1));

  EXPECT_TRUE(b.Acquire().probe);
  EXPECT_EQ(b.LastTransition().reason, "10s of OPEN are over");
}

TEST(BreakerSnapshotTest, AWallClockSetBackWhileDownKeepsItOpenForOneOpenTimeAtMost) {
  Policy policy = Quick();
  policy.recovery_jitter = 0;
  BreakerHarness b(policy);
  b.Trip();
  b.Pass(absl::Seconds(3));

  b.Restart(absl::Seconds(1), /*wall_jump=*/-absl::Hours(24));

  EXPECT_EQ(b.Stats().retry_after, absl::Seconds(10));
  EXPECT_EQ(b.Stats().next_attempt_time, b.now().wall + absl::Seconds(10));
}

TEST(BreakerSnapshotTest, AWallClockSetForwardWhileDownMakesItHalfOpenAtOnce) {
  BreakerHarness b(Quick());
  b.Trip();

  b.Restart(absl::Seconds(1), /*wall_jump=*/absl::Hours(24));

  EXPECT_EQ(b.Stats().state, State::kHalfOpen);
}

TEST(BreakerSnapshotTest, AWallClockThatJumpedBeforeTheRestartOpensOrClosesNothing) {
  Policy policy = Quick();
  policy.recovery_jitter = 0;
  BreakerHarness b(policy);
  b.Trip();
  b.Pass(absl::Seconds(3));
  b.clock().SetWall(b.now().wall + absl::Hours(5));

  b.Restart(absl::Seconds(2));

  EXPECT_EQ(b.Stats().retry_after, absl::Seconds(5));
  EXPECT_EQ(b.Stats().next_attempt_time, b.now().wall + absl::Seconds(5));
}

TEST(BreakerSnapshotTest, TheWindowGoesOn) {
  BreakerHarness b;
  b.Fail("w1");
  b.Pass(absl::Seconds(30));
  b.Succeed(2);
  b.SucceedSlowly("w2");
  const BreakerStats before = b.Stats();

  b.Restart(absl::Seconds(5));

  const BreakerStats after = b.Stats();
  EXPECT_EQ(after.window, (CallCounts{3, 1, 1}));
  EXPECT_EQ(after.failing_workers, 1u);
  EXPECT_EQ(after.lifetime, before.lifetime);
  EXPECT_EQ(after.last_failure_time, before.last_failure_time);
  EXPECT_EQ(after.last_success_time, before.last_success_time);
  EXPECT_EQ(after.last_failure_error, before.last_failure_error);
}

TEST(BreakerSnapshotTest, CallsAndWorkersLeaveTheWindowAsIfThereHadBeenNoRestart) {
  BreakerHarness b;
  b.Fail("w1");
  b.Pass(absl::Seconds(30));
  b.Fail("w2");

  b.Restart(absl::Seconds(30) - absl::Nanoseconds(1));
  EXPECT_EQ(b.Stats().window.failures, 2u);
  EXPECT_EQ(b.Stats().failing_workers, 2u);
  b.Pass(absl::Nanoseconds(1));

  EXPECT_EQ(b.Stats().window.failures, 1u);
  EXPECT_EQ(b.Stats().failing_workers, 1u);
}

TEST(BreakerSnapshotTest, CallsThatLeftTheWindowWhileDownAreGone) {
  BreakerHarness b;
  b.Fail("w1");
  b.Fail("w2");

  b.Restart(absl::Seconds(60));

  EXPECT_EQ(b.Stats().window, CallCounts{});
  EXPECT_EQ(b.Stats().failing_workers, 0u);
  EXPECT_EQ(b.Stats().consecutive_failures, 0u);
  EXPECT_EQ(b.Stats().lifetime.failures, 2u);
}

TEST(BreakerSnapshotTest, AWallClockABitOffMovesNeitherCallsNorWorkersToAnotherBucket) {
  for (const auto off : {absl::Microseconds(-700), absl::Microseconds(700)}) {
    BreakerHarness b;
    b.Fail("w1");
    b.Pass(absl::Seconds(30));
    b.Succeed();

    b.Restart(absl::Seconds(1), off);
    b.Pass(absl::Seconds(29) - absl::Milliseconds(1));
    EXPECT_EQ(b.Stats().window.failures, 1u);
    EXPECT_EQ(b.Stats().failing_workers, 1u);
    b.Pass(absl::Milliseconds(2));

    EXPECT_EQ(b.Stats().window.failures, 0u);
    EXPECT_EQ(b.Stats().failing_workers, 0u);
  }
}

TEST(BreakerSnapshotTest, AWallClockSetBackWhileDownPutsNothingIntoTheFuture) {
  BreakerHarness b;
  b.Fail("w1");
  b.Pass(absl::Seconds(30));
  b.Fail("w2");

  b.Restart(absl::Seconds(1), /*wall_jump=*/-absl::Hours(24));
  EXPECT_EQ(b.Stats().window.failures, 2u);
  EXPECT_EQ(b.Stats().failing_workers, 2u);
  EXPECT_EQ(b.Stats().consecutive_failures, 2u);
  b.Pass(absl::Seconds(30));
  EXPECT_EQ(b.Stats().window.failures, 1u);
  EXPECT_EQ(b.Stats().failing_workers, 1u);
  b.Pass(absl::Seconds(30));

  EXPECT_EQ(b.Stats().window.failures, 0u);
  EXPECT_EQ(b.Stats().failing_workers, 0u);
  EXPECT_EQ(b.Stats().consecutive_failures, 0u);
}

TEST(BreakerSnapshotTest, AWallClockSetBackALittleKeepsCallsAndWorkersTogether) {
  BreakerHarness b;
  b.Fail("w1");
  b.Pass(absl::Seconds(30));
  b.Fail("w2");

  b.Restart(absl::Seconds(1), /*wall_jump=*/-absl::Seconds(16));

  for (int second = 0; second < 70; ++second) {
    EXPECT_EQ(b.Stats().window.failures, b.Stats().failing_workers) << second;
    b.Pass(absl::Seconds(1));
  }
}

TEST(BreakerSnapshotTest, ARunOfFailuresGoesOn) {
  Policy policy = Quick();
  BreakerHarness b(policy);
  b.Fail(2);

  b.Restart(absl::Seconds(59));
  EXPECT_EQ(b.Stats().consecutive_failures, 2u);
  b.Fail();

  EXPECT_EQ(b.state(), State::kOpen);
}

TEST(BreakerSnapshotTest, AnotherMonitoringWindowAfterTheRestartStartsEmpty) {
  BreakerHarness b;
  b.Fail(2);
  Policy policy;
  policy.monitoring_window = absl::Seconds(30);

  b.Restart(absl::Seconds(1), absl::ZeroDuration(), policy);

  EXPECT_EQ(b.Stats().window, CallCounts{});
  EXPECT_EQ(b.Stats().failing_workers, 0u);
  b.Fail();
  EXPECT_EQ(b.Stats().window.failures, 1u);
}

TEST(BreakerSnapshotTest, AnotherRecoveryTimeoutAfterTheRestartMovesNextAttemptTime) {
  BreakerHarness b;
  b.Trip();
  const WallTime opened = b.now().wall;
  Policy policy;
  policy.recovery_timeout = absl::Seconds(20);

  b.Restart(absl::Seconds(1), absl::ZeroDuration(), policy);

  EXPECT_EQ(b.Stats().next_attempt_time, opened + absl::Seconds(20));
}

TEST(BreakerSnapshotTest, HalfOpenKeepsItsSuccessesAndFreesItsProbes) {
  Policy policy = Quick();
  policy.half_open_success_threshold = 2;
  BreakerHarness b(policy);
  b.Trip();
  b.WaitForHalfOpen();
  b.Succeed();
  const Decision lost = b.Acquire();
  ASSERT_TRUE(lost.probe);

  b.Restart();

  EXPECT_EQ(b.state(), State::kHalfOpen);
  const Decision probe = b.Acquire();
  EXPECT_TRUE(probe.probe);
  EXPECT_FALSE(b.Acquire().allowed);
  EXPECT_EQ(b.Report(lost.permit_id, Outcome::kFailure).disposition, Disposition::kUnknownPermit);
  EXPECT_EQ(b.Report(probe.permit_id, Outcome::kSuccess).state, State::kClosed);
}

TEST(BreakerSnapshotTest, BackoffGoesOn) {
  Policy policy = Quick();
  policy.recovery_jitter = 0;
  policy.recovery_backoff_multiplier = 2;
  BreakerHarness b(policy);
  b.Trip();
  b.WaitForHalfOpen();
  b.Fail();
  b.Restart();
  b.WaitForHalfOpen();

  b.Restart();
  b.Fail();

  EXPECT_EQ(b.Stats().retry_after, absl::Seconds(40));
}

TEST(BreakerSnapshotTest, ARampGoesOn) {
  Policy policy = Quick();
  policy.recovery_ramp = absl::Seconds(100);
  BreakerHarness b(policy);
  b.Trip();
  b.WaitForHalfOpen();
  b.Succeed();
  b.Pass(absl::Seconds(20));

  b.Restart(absl::Seconds(30));
  EXPECT_DOUBLE_EQ(b.Stats().ramp_fraction, 0.55);
  b.Restart(absl::Seconds(1), /*wall_jump=*/-absl::Hours(1));
  EXPECT_DOUBLE_EQ(b.Stats().ramp_fraction, 0.1);
  b.Restart(absl::Seconds(100));

  EXPECT_EQ(b.Stats().ramp_fraction, 1);
}

TEST(BreakerSnapshotTest, OverridesSurvive) {
  BreakerHarness b(Quick());
  b.Force(Mode::kForcedOpen, absl::Seconds(60));
  b.Restart(absl::Seconds(59));
  EXPECT_FALSE(b.Acquire().allowed);
  EXPECT_TRUE(b.Stats().override.has_value());
  b.Restart(absl::Seconds(1));

  EXPECT_TRUE(b.Acquire().allowed);
  EXPECT_FALSE(b.Stats().override.has_value());
  EXPECT_EQ(b.LastTransition().cause, Cause::kOverrideCleared);
}

TEST(BreakerSnapshotTest, AnOverrideWithoutEndSurvivesAnything) {
  BreakerHarness b(Quick());
  b.Force(Mode::kForcedClosed);

  b.Restart(absl::Hours(24 * 365), absl::Hours(24 * 365));
  b.Fail(10);

  EXPECT_EQ(b.state(), State::kClosed);
}

TEST(BreakerSnapshotTest, TheWorkersPolicySurvivesEvenWhereAnOperatorsIsInEffect) {
  BreakerHarness b;
  Policy brought;
  brought.failure_threshold = 77;
  b.breaker().SetPolicy(BuiltInPolicy(), PolicySource::kOperator,
                        std::make_shared<const Policy>(brought), b.context());

  b.Restart();

  ASSERT_NE(b.breaker().worker_policy(), nullptr);
  EXPECT_EQ(*b.breaker().worker_policy(), brought);
}

TEST(BreakerSnapshotTest, SavingTwiceAndRestoringIsTheSame) {
  BreakerHarness b(Quick());
  b.Fail("w1");
  b.Pass(absl::Seconds(7));
  b.Fail("w2");
  b.SucceedSlowly("w3");
  const BreakerSnapshot first = b.Save();

  b.Restart();

  EXPECT_EQ(b.Save(), first);
}

TEST(BreakerSnapshotTest, AnOpenRecordWithoutItsTimeIsOpenForOneOpenTimeOnly) {
  Policy policy = Quick();
  policy.recovery_jitter = 0;
  BreakerHarness b(policy);
  BreakerSnapshot damaged = b.Save();
  damaged.state = State::kOpen;

  Breaker restored(damaged, std::make_shared<const Policy>(policy), PolicySource::kOperator,
                   b.now());

  EXPECT_EQ(restored.NextDeadline(), b.now().mono + absl::Seconds(10));
}

}  // namespace
}  // namespace breaker
