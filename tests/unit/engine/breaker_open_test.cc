#include <cstdint>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "server/engine/breaker.h"
#include "tests/support/breaker_harness.h"

namespace breaker::server {
namespace {

constexpr absl::Duration kTick = absl::Nanoseconds(1);

Policy OneStrike() {
  Policy policy;
  policy.failure_threshold = 1;
  policy.minimum_request_count = 1;
  policy.recovery_timeout = absl::Seconds(10);
  return policy;
}

TEST(BreakerOpenTest, RefusesWithWhatIsLeftUntilNextAttemptTime) {
  BreakerHarness b(OneStrike());
  b.Trip();
  b.Pass(absl::Seconds(4));

  const Decision decision = b.Acquire();

  EXPECT_FALSE(decision.allowed);
  EXPECT_EQ(decision.permit_id, 0u);
  EXPECT_EQ(decision.state, State::kOpen);
  EXPECT_EQ(decision.retry_after, absl::Seconds(6));
  EXPECT_EQ(decision.generation, 2u);
  EXPECT_EQ(b.Stats().lifetime.rejected, 1u);
}

TEST(BreakerOpenTest, HalfOpensAtNextAttemptTimeAndNotATickBefore) {
  BreakerHarness b(OneStrike());
  b.Trip();

  b.Pass(absl::Seconds(10) - kTick);
  const Decision before = b.Acquire();
  b.Pass(kTick);
  const Decision at = b.Acquire();

  EXPECT_FALSE(before.allowed);
  EXPECT_EQ(before.retry_after, kTick);
  EXPECT_TRUE(at.allowed);
  EXPECT_TRUE(at.probe);
  EXPECT_EQ(at.state, State::kHalfOpen);
  EXPECT_EQ(at.generation, 3u);
}

TEST(BreakerOpenTest, HalfOpensByItselfWithoutTraffic) {
  BreakerHarness b(OneStrike());
  b.Trip();
  const WallTime opened = b.now().wall;
  EXPECT_EQ(b.breaker().NextDeadline(), b.now().mono + absl::Seconds(10));

  b.Pass(absl::Seconds(10));
  b.Tick();

  EXPECT_EQ(b.state(), State::kHalfOpen);
  const Transition transition = b.LastTransition();
  EXPECT_EQ(transition.from, State::kOpen);
  EXPECT_EQ(transition.to, State::kHalfOpen);
  EXPECT_EQ(transition.cause, Cause::kRecoveryTimeoutElapsed);
  EXPECT_EQ(transition.time, opened + absl::Seconds(10));
  EXPECT_EQ(transition.generation, 3u);
  EXPECT_EQ(transition.reason, "10s of OPEN are over");
}

TEST(BreakerOpenTest, StatsShowNextAttemptTimeOnlyWhileOpen) {
  BreakerHarness b(OneStrike());
  EXPECT_FALSE(b.Stats().next_attempt_time.has_value());
  b.Trip();
  const WallTime next = b.now().wall + absl::Seconds(10);

  EXPECT_EQ(b.Stats().next_attempt_time, next);
  EXPECT_EQ(b.Stats().retry_after, absl::Seconds(10));
  b.Pass(absl::Seconds(10));

  EXPECT_FALSE(b.Stats().next_attempt_time.has_value());
}

TEST(BreakerOpenTest, WhatOpenedItStaysVisibleAndAgesOut) {
  Policy policy = OneStrike();
  policy.recovery_timeout = absl::Minutes(2);
  BreakerHarness b(policy);
  b.Succeed();
  b.Trip();

  EXPECT_EQ(b.Stats().window, (CallCounts{1, 1, 0}));
  EXPECT_EQ(b.Stats().consecutive_failures, 1u);
  EXPECT_EQ(b.Stats().failing_workers, 1u);
  b.Pass(absl::Seconds(60));

  EXPECT_EQ(b.Stats().window, CallCounts{});
  EXPECT_EQ(b.Stats().consecutive_failures, 0u);
  EXPECT_EQ(b.Stats().failing_workers, 0u);
}

TEST(BreakerOpenTest, ReportWithoutAPermitIsStale) {
  BreakerHarness b(OneStrike());
  b.Trip();

  const ReportResult result = b.Report(0, Outcome::kFailure);

  EXPECT_EQ(result.disposition, Disposition::kStale);
  EXPECT_EQ(result.state, State::kOpen);
  EXPECT_EQ(b.Stats().lifetime.stale, 1u);
  EXPECT_EQ(b.Stats().lifetime.failures, 1u);
  EXPECT_EQ(b.Stats().window.failures, 1u);
}

TEST(BreakerOpenTest, LateResultsOfCallsMadeWhileClosedChangeNothing) {
  BreakerHarness b(OneStrike());
  const Decision slow_success = b.Acquire();
  const Decision slow_failure = b.Acquire();
  b.Trip();
  const absl::Duration left = b.Stats().retry_after;

  EXPECT_EQ(b.Report(slow_success.permit_id, Outcome::kSuccess).disposition, Disposition::kStale);
  EXPECT_EQ(b.Report(slow_failure.permit_id, Outcome::kFailure).disposition, Disposition::kStale);

  EXPECT_EQ(b.state(), State::kOpen);
  EXPECT_EQ(b.generation(), 2u);
  EXPECT_EQ(b.Stats().retry_after, left);
  EXPECT_EQ(b.Stats().lifetime.stale, 2u);
  EXPECT_EQ(b.Stats().in_flight, 0u);
}

TEST(BreakerOpenTest, AJumpOfTheWallClockNeitherOpensNorCloses) {
  BreakerHarness b(OneStrike());
  b.Trip();

  b.clock().SetWall(b.now().wall + absl::Hours(5));
  EXPECT_EQ(b.Acquire().retry_after, absl::Seconds(10));
  b.clock().SetWall(b.now().wall - absl::Hours(10));
  EXPECT_EQ(b.Acquire().retry_after, absl::Seconds(10));
  b.Pass(absl::Seconds(10));

  EXPECT_TRUE(b.Acquire().probe);
}

TEST(BreakerOpenTest, NextAttemptTimeIsShownOnTheWallClockAsItRunsNow) {
  BreakerHarness b(OneStrike());
  b.Trip();
  b.Pass(absl::Seconds(3));

  b.clock().SetWall(b.now().wall + absl::Hours(5));

  EXPECT_EQ(b.Stats().next_attempt_time, b.now().wall + absl::Seconds(7));
}

TEST(BreakerOpenTest, BackoffMultipliesTheOpenTimeOfEachFailedRecoveryUpToItsCap) {
  Policy policy = OneStrike();
  policy.recovery_backoff_multiplier = 2;
  policy.max_recovery_timeout = absl::Seconds(35);
  BreakerHarness b(policy);
  b.Trip();

  for (const int seconds : {10, 20, 35, 35}) {
    EXPECT_EQ(b.Stats().retry_after, absl::Seconds(seconds));
    b.WaitForHalfOpen();
    b.Fail();
  }
  EXPECT_EQ(b.LastTransition().cause, Cause::kProbeFailed);
  b.WaitForHalfOpen();
  EXPECT_EQ(b.LastTransition().reason, "35s of OPEN are over after 4 failed recoveries");
}

TEST(BreakerOpenTest, BackoffStartsAnewAfterAClose) {
  Policy policy = OneStrike();
  policy.recovery_backoff_multiplier = 2;
  BreakerHarness b(policy);
  b.Trip();
  b.WaitForHalfOpen();
  b.Fail();
  b.WaitForHalfOpen();
  b.Succeed();
  ASSERT_EQ(b.state(), State::kClosed);

  b.Trip();

  EXPECT_EQ(b.Stats().retry_after, absl::Seconds(10));
}

TEST(BreakerOpenTest, JitterSpreadsTheOpenTimeWithinItsFraction) {
  Policy policy = OneStrike();
  policy.recovery_jitter = 0.2;
  BreakerHarness b(policy);
  absl::Duration least = absl::InfiniteDuration();
  absl::Duration most = absl::ZeroDuration();

  for (int i = 0; i < 200; ++i) {
    b.Trip();
    least = std::min(least, b.Stats().retry_after);
    most = std::max(most, b.Stats().retry_after);
    b.Reset();
  }

  EXPECT_GE(least, absl::Seconds(8));
  EXPECT_LT(least, absl::Seconds(8.2));
  EXPECT_LE(most, absl::Seconds(12));
  EXPECT_GT(most, absl::Seconds(11.8));
}

TEST(BreakerOpenTest, OnlyTheLastSixteenTransitionsAreKeptNewestFirst) {
  BreakerHarness b(OneStrike());

  for (int i = 0; i < 10; ++i) {
    b.Trip();
    b.Reset();
  }

  const BreakerStats stats = b.Stats();
  ASSERT_EQ(stats.recent_transitions.size(), 16u);
  for (size_t i = 0; i < 16; ++i) {
    EXPECT_EQ(stats.recent_transitions[i].generation, 21 - i);
  }
  EXPECT_EQ(stats.lifetime.times_opened, 10u);
}

TEST(BreakerOpenTest, WhatOpenedTheCircuitIsKeptHoweverManyProbesFail) {
  BreakerHarness b(OneStrike());
  b.Trip();
  b.Reset();
  b.Trip();
  const Transition opening = b.Stats().recent_transitions.front();
  EXPECT_EQ(b.Stats().opening, opening);

  for (int i = 0; i < 20; ++i) {
    b.WaitForHalfOpen();
    b.Fail();
    ASSERT_EQ(b.state(), State::kOpen);
  }

  const BreakerStats stats = b.Stats();
  EXPECT_EQ(stats.opening, opening);
  ASSERT_EQ(stats.recent_transitions.size(), 16u);
  EXPECT_EQ(stats.recent_transitions.back(), opening);
  for (size_t i = 0; i < 15; ++i) {
    EXPECT_EQ(stats.recent_transitions[i].generation, stats.generation - i);
  }

  b.Reset();
  EXPECT_EQ(b.Stats().opening, std::nullopt);
}

}  // namespace
}  // namespace breaker::server
