#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "server/engine/breaker.h"
#include "tests/support/breaker_harness.h"

namespace breaker {
namespace {

Policy Ramped() {
  Policy policy;
  policy.failure_threshold = 2;
  policy.minimum_request_count = 5;
  policy.recovery_timeout = absl::Seconds(10);
  policy.recovery_ramp = absl::Seconds(100);
  policy.recovery_backoff_multiplier = 2;
  return policy;
}

// A breaker that has just been closed by a probe and ramps up.
struct Ramping : BreakerHarness {
  explicit Ramping(const Policy& policy = Ramped()) : BreakerHarness(policy) {
    Trip();
    WaitForHalfOpen();
    Succeed();
  }
  // The share of many calls that are admitted now; they are ignored.
  double AdmittedShare() {
    constexpr int kCalls = 10'000;
    int admitted = 0;
    for (int i = 0; i < kCalls; ++i) {
      const Decision decision = Acquire();
      if (!decision.allowed) continue;
      ++admitted;
      Report(decision.permit_id, Outcome::kIgnored);
    }
    return static_cast<double>(admitted) / kCalls;
  }
};

TEST(BreakerRampTest, AdmitsAShareThatGrowsFromATenthToAll) {
  Ramping b;
  ASSERT_EQ(b.state(), State::kClosed);

  EXPECT_DOUBLE_EQ(b.Stats().ramp_fraction, 0.1);
  EXPECT_NEAR(b.AdmittedShare(), 0.1, 0.02);
  b.Pass(absl::Seconds(50));
  EXPECT_DOUBLE_EQ(b.Stats().ramp_fraction, 0.55);
  EXPECT_NEAR(b.AdmittedShare(), 0.55, 0.02);
  b.Pass(absl::Seconds(50));
  EXPECT_EQ(b.Stats().ramp_fraction, 1);
  EXPECT_EQ(b.AdmittedShare(), 1);
}

TEST(BreakerRampTest, ARefusedCallGetsAShortRetryAfter) {
  Ramping b;
  Decision decision;

  do {
    decision = b.Acquire();
  } while (decision.allowed);

  EXPECT_EQ(decision.state, State::kClosed);
  EXPECT_EQ(decision.permit_id, 0u);
  EXPECT_EQ(decision.retry_after, absl::Seconds(1));
  EXPECT_EQ(b.Stats().lifetime.rejected, 1u);
}

TEST(BreakerRampTest, WithoutARampAllCallsAreAdmittedAtOnce) {
  Policy policy = Ramped();
  policy.recovery_ramp = absl::ZeroDuration();
  Ramping b(policy);

  EXPECT_EQ(b.Stats().ramp_fraction, 1);
  EXPECT_EQ(b.AdmittedShare(), 1);
}

TEST(BreakerRampTest, ARelapseNeedsNoMinimumOfCalls) {
  Ramping b;

  b.Report(0, Outcome::kFailure);
  EXPECT_EQ(b.state(), State::kClosed);
  b.Report(0, Outcome::kFailure);

  EXPECT_EQ(b.state(), State::kOpen);
  EXPECT_EQ(b.LastTransition().reason,
            "2 consecutive failures (threshold 2) with 2 calls in 60s "
            "(minimum waived while recovery ramps up), 1 worker failing");
}

TEST(BreakerRampTest, ARelapseIsAFailedRecovery) {
  Ramping b;

  b.Report(0, Outcome::kFailure);
  b.Report(0, Outcome::kFailure);

  EXPECT_EQ(b.Stats().retry_after, absl::Seconds(20));
}

TEST(BreakerRampTest, BackoffGoesOnThroughRelapses) {
  Ramping b;
  b.Report(0, Outcome::kFailure);
  b.Report(0, Outcome::kFailure);
  b.WaitForHalfOpen();
  b.Succeed();

  b.Report(0, Outcome::kFailure);
  b.Report(0, Outcome::kFailure);

  EXPECT_EQ(b.Stats().retry_after, absl::Seconds(40));
}

TEST(BreakerRampTest, TheRampEndsAtItsEndAndNotATickBefore) {
  Ramping b;
  b.Pass(absl::Seconds(100) - absl::Nanoseconds(1));
  b.Report(0, Outcome::kFailure);
  b.Report(0, Outcome::kFailure);
  EXPECT_EQ(b.state(), State::kOpen);

  Ramping c;
  c.Pass(absl::Seconds(100));
  c.Report(0, Outcome::kFailure);
  c.Report(0, Outcome::kFailure);
  EXPECT_EQ(c.state(), State::kClosed);  // the minimum of 5 calls holds again
  c.Trip();
  EXPECT_EQ(c.Stats().retry_after, absl::Seconds(10));
}

TEST(BreakerRampTest, TheEndOfARampIsADeadline) {
  Ramping b;

  EXPECT_EQ(b.breaker().NextDeadline(), b.now().mono + absl::Seconds(100));
  EXPECT_FALSE(b.breaker().idle());
  b.Pass(absl::Seconds(100));
  b.Tick();

  EXPECT_EQ(b.breaker().NextDeadline(), MonotonicTime::InfiniteFuture());
  EXPECT_TRUE(b.breaker().idle());
}

TEST(BreakerRampTest, ResetAndOverridesEndIt) {
  Ramping b;
  b.Reset();
  EXPECT_EQ(b.Stats().ramp_fraction, 1);
  b.Trip();
  EXPECT_EQ(b.Stats().retry_after, absl::Seconds(10));

  Ramping c;
  c.Force(Override::Mode::kForcedClosed);
  EXPECT_EQ(c.AdmittedShare(), 1);
  c.ClearOverride();
  EXPECT_EQ(c.AdmittedShare(), 1);
}

TEST(BreakerRampTest, APolicyWithoutARampEndsIt) {
  Ramping b;
  Policy policy = Ramped();
  policy.recovery_ramp = absl::ZeroDuration();

  b.SetPolicy(policy);

  EXPECT_EQ(b.Stats().ramp_fraction, 1);
}

TEST(BreakerRampTest, AJumpOfTheWallClockDoesNotMoveIt) {
  Ramping b;

  b.clock().SetWall(b.now().wall + absl::Hours(1));

  EXPECT_DOUBLE_EQ(b.Stats().ramp_fraction, 0.1);
}

}  // namespace
}  // namespace breaker
