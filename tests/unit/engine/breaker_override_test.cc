#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "server/engine/breaker.h"
#include "tests/support/breaker_harness.h"

namespace breaker {
namespace {

using Mode = Override::Mode;

Policy OneStrike() {
  Policy policy;
  policy.failure_threshold = 1;
  policy.minimum_request_count = 1;
  policy.recovery_timeout = absl::Seconds(10);
  return policy;
}

TEST(BreakerOverrideTest, ForcedOpenRefusesEverythingWithoutEnd) {
  BreakerHarness b(OneStrike());

  b.Force(Mode::kForcedOpen);
  b.Pass(absl::Hours(1000));
  const Decision decision = b.Acquire();

  EXPECT_FALSE(decision.allowed);
  EXPECT_EQ(decision.state, State::kOpen);
  EXPECT_EQ(decision.retry_after, absl::Seconds(1));
  EXPECT_FALSE(b.Stats().next_attempt_time.has_value());
  EXPECT_EQ(b.Stats().lifetime.rejected, 1u);
  EXPECT_EQ(b.breaker().NextDeadline(), MonotonicTime::InfiniteFuture());
}

TEST(BreakerOverrideTest, SettingOneIsATransitionThatSaysWhoAndWhy) {
  BreakerHarness b(OneStrike());

  b.Force(Mode::kForcedOpen, absl::Minutes(90));

  const Transition transition = b.LastTransition();
  EXPECT_EQ(transition.from, State::kClosed);
  EXPECT_EQ(transition.to, State::kOpen);
  EXPECT_EQ(transition.cause, Cause::kOverrideSet);
  EXPECT_EQ(transition.reason, "forced open by ann for 1h30m: maintenance");
  EXPECT_EQ(transition.generation, 2u);
  const BreakerStats stats = b.Stats();
  ASSERT_TRUE(stats.override.has_value());
  EXPECT_EQ(stats.override->mode, Mode::kForcedOpen);
  EXPECT_EQ(stats.override->actor, "ann");
  EXPECT_EQ(stats.override->expires_at, b.now().wall + absl::Minutes(90));
}

TEST(BreakerOverrideTest, ForcedClosedAdmitsAndCountsButNoRuleOpensIt) {
  BreakerHarness b(OneStrike());
  b.Force(Mode::kForcedClosed);

  b.Fail(10);

  EXPECT_EQ(b.state(), State::kClosed);
  EXPECT_TRUE(b.Acquire().allowed);
  EXPECT_EQ(b.Stats().window.failures, 10u);
  EXPECT_EQ(b.Stats().lifetime.failures, 10u);
  EXPECT_EQ(b.Stats().consecutive_failures, 10u);
}

TEST(BreakerOverrideTest, SettingOneIsATransitionEvenWhereTheStateStays) {
  BreakerHarness b(OneStrike());
  const Decision before = b.Acquire();

  b.Force(Mode::kForcedClosed);

  EXPECT_EQ(b.generation(), 2u);
  EXPECT_EQ(b.LastTransition().from, State::kClosed);
  EXPECT_EQ(b.LastTransition().to, State::kClosed);
  EXPECT_EQ(b.Report(before.permit_id, Outcome::kSuccess).disposition, Disposition::kStale);
  b.Force(Mode::kForcedClosed);
  EXPECT_EQ(b.generation(), 3u);
}

TEST(BreakerOverrideTest, ForcedOpenClearsTheWindow) {
  BreakerHarness b;
  b.Fail(3);

  b.Force(Mode::kForcedOpen);

  EXPECT_EQ(b.Stats().window, CallCounts{});
  EXPECT_EQ(b.Stats().consecutive_failures, 0u);
  EXPECT_EQ(b.Stats().failing_workers, 0u);
}

TEST(BreakerOverrideTest, ForcedOpenOverAnOpenCircuitDoesNotHalfOpen) {
  BreakerHarness b(OneStrike());
  b.Trip();

  b.Force(Mode::kForcedOpen);
  b.Pass(absl::Seconds(10));

  EXPECT_FALSE(b.Acquire().allowed);
  EXPECT_EQ(b.state(), State::kOpen);
  EXPECT_EQ(b.Stats().lifetime.times_opened, 1u);
}

TEST(BreakerOverrideTest, EndsAtItsExpiryAndNotATickBefore) {
  BreakerHarness b(OneStrike());
  b.Force(Mode::kForcedOpen, absl::Seconds(60));
  EXPECT_EQ(b.breaker().NextDeadline(), b.now().mono + absl::Seconds(60));

  b.Pass(absl::Seconds(60) - absl::Nanoseconds(1));
  const Decision before = b.Acquire();
  b.Pass(absl::Nanoseconds(1));
  const Decision at = b.Acquire();

  EXPECT_FALSE(before.allowed);
  EXPECT_EQ(before.retry_after, absl::Nanoseconds(1));
  EXPECT_TRUE(at.allowed);
  EXPECT_EQ(at.state, State::kClosed);
  EXPECT_EQ(at.generation, 3u);
  EXPECT_EQ(b.LastTransition().cause, Cause::kOverrideCleared);
  EXPECT_EQ(b.LastTransition().reason, "forced open by ann until now: expired");
  EXPECT_FALSE(b.Stats().override.has_value());
}

TEST(BreakerOverrideTest, ClearingStartsClosedWithAnEmptyWindow) {
  BreakerHarness b(OneStrike());
  b.Force(Mode::kForcedClosed);
  b.Fail(3);

  b.ClearOverride();

  EXPECT_EQ(b.state(), State::kClosed);
  EXPECT_EQ(b.generation(), 3u);
  EXPECT_EQ(b.LastTransition().cause, Cause::kOverrideCleared);
  EXPECT_EQ(b.LastTransition().reason, "forced closed by ann until now: cleared");
  EXPECT_EQ(b.Stats().window, CallCounts{});
  EXPECT_EQ(b.Stats().consecutive_failures, 0u);
  b.Fail();
  EXPECT_EQ(b.state(), State::kOpen);
}

TEST(BreakerOverrideTest, ClearingWhatIsNotThereDoesNothing) {
  BreakerHarness b(OneStrike());
  b.Trip();

  b.ClearOverride();

  EXPECT_EQ(b.state(), State::kOpen);
  EXPECT_EQ(b.generation(), 2u);
}

TEST(BreakerOverrideTest, AJumpOfTheWallClockDoesNotEndIt) {
  BreakerHarness b(OneStrike());
  b.Force(Mode::kForcedOpen, absl::Seconds(60));

  b.clock().SetWall(b.now().wall + absl::Hours(1));
  EXPECT_FALSE(b.Acquire().allowed);
  b.clock().SetWall(b.now().wall - absl::Hours(2));
  b.Pass(absl::Seconds(60));

  EXPECT_TRUE(b.Acquire().allowed);
}

TEST(BreakerOverrideTest, ResetClosesAnOpenCircuitWithATransition) {
  Policy policy = OneStrike();
  policy.recovery_backoff_multiplier = 2;
  BreakerHarness b(policy);
  b.Trip();
  b.WaitForHalfOpen();
  b.Fail();

  b.Reset();

  EXPECT_EQ(b.state(), State::kClosed);
  EXPECT_EQ(b.generation(), 5u);
  EXPECT_EQ(b.LastTransition().cause, Cause::kReset);
  EXPECT_EQ(b.LastTransition().reason, "reset by an operator");
  EXPECT_EQ(b.Stats().window, CallCounts{});
  EXPECT_EQ(b.Stats().lifetime.failures, 2u);
  b.Trip();
  EXPECT_EQ(b.Stats().retry_after, absl::Seconds(10));  // the backoff starts anew
}

TEST(BreakerOverrideTest, ResetOfAClosedCircuitIsATransitionToo) {
  BreakerHarness b;
  b.Fail(3);

  b.Reset();

  EXPECT_EQ(b.generation(), 2u);
  EXPECT_EQ(b.LastTransition().from, State::kClosed);
  EXPECT_EQ(b.LastTransition().to, State::kClosed);
  EXPECT_EQ(b.Stats().consecutive_failures, 0u);
}

TEST(BreakerOverrideTest, ResetKeepsAnOverride) {
  BreakerHarness b(OneStrike());
  b.Force(Mode::kForcedOpen, absl::Seconds(60));

  b.Reset();

  EXPECT_EQ(b.state(), State::kOpen);
  EXPECT_EQ(b.generation(), 3u);
  EXPECT_TRUE(b.Stats().override.has_value());
  EXPECT_FALSE(b.Acquire().allowed);
  b.Pass(absl::Seconds(60));
  EXPECT_TRUE(b.Acquire().allowed);
}

TEST(BreakerOverrideTest, APolicyDoesNotMoveAForcedOpenCircuit) {
  BreakerHarness b(OneStrike());
  b.Trip();
  b.Force(Mode::kForcedOpen);

  Policy policy = OneStrike();
  policy.recovery_timeout = absl::Milliseconds(1);
  b.SetPolicy(policy);
  b.Pass(absl::Hours(1));

  EXPECT_EQ(b.Stats().state, State::kOpen);
  EXPECT_FALSE(b.Stats().next_attempt_time.has_value());
}

TEST(BreakerOverrideTest, AProbeThatIsOutWhenOneIsSetIsStale) {
  BreakerHarness b(OneStrike());
  b.Trip();
  b.WaitForHalfOpen();
  const Decision probe = b.Acquire();

  b.Force(Mode::kForcedClosed);

  EXPECT_EQ(b.Report(probe.permit_id, Outcome::kFailure).disposition, Disposition::kStale);
  EXPECT_EQ(b.state(), State::kClosed);
}

}  // namespace
}  // namespace breaker
