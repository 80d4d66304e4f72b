#include <cstdint>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "server/engine/breaker.h"
#include "tests/support/breaker_harness.h"

namespace breaker {
namespace {

Policy OneStrike() {
  Policy policy;
  policy.failure_threshold = 1;
  policy.minimum_request_count = 1;
  policy.recovery_timeout = absl::Seconds(10);
  policy.permit_timeout = absl::Seconds(5);
  return policy;
}

// A breaker that has just become HALF_OPEN, at generation 3.
struct HalfOpen : BreakerHarness {
  explicit HalfOpen(const Policy& policy = OneStrike()) : BreakerHarness(policy) {
    Trip();
    WaitForHalfOpen();
  }
};

TEST(BreakerHalfOpenTest, FirstCallIsAProbe) {
  HalfOpen b;

  const Decision decision = b.Acquire();

  EXPECT_TRUE(decision.allowed);
  EXPECT_TRUE(decision.probe);
  EXPECT_NE(decision.permit_id, 0u);
  EXPECT_EQ(decision.state, State::kHalfOpen);
  EXPECT_EQ(decision.generation, 3u);
}

TEST(BreakerHalfOpenTest, SecondProbeIsRefused) {
  HalfOpen b;
  b.Acquire();

  const Decision decision = b.Acquire();

  EXPECT_FALSE(decision.allowed);
  EXPECT_EQ(decision.permit_id, 0u);
  EXPECT_EQ(decision.state, State::kHalfOpen);
  EXPECT_EQ(decision.retry_after, absl::Milliseconds(100));
  EXPECT_EQ(b.Stats().lifetime.rejected, 1u);
}

TEST(BreakerHalfOpenTest, RetryAfterStaysBetweenTenMillisecondsAndASecond) {
  Policy policy = OneStrike();
  policy.recovery_timeout = absl::Milliseconds(50);
  HalfOpen quick(policy);
  policy.recovery_timeout = absl::Hours(1);
  HalfOpen slow(policy);
  quick.Acquire();
  slow.Acquire();

  EXPECT_EQ(quick.Acquire().retry_after, absl::Milliseconds(10));
  EXPECT_EQ(slow.Acquire().retry_after, absl::Seconds(1));
}

TEST(BreakerHalfOpenTest, AsManyProbesAsThePolicyAllowsAreInFlight) {
  Policy policy = OneStrike();
  policy.half_open_max_probes = 3;
  policy.half_open_success_threshold = 10;
  HalfOpen b(policy);
  const Decision first = b.Acquire();
  EXPECT_TRUE(b.Acquire().probe);
  EXPECT_TRUE(b.Acquire().probe);
  EXPECT_FALSE(b.Acquire().allowed);

  b.Report(first.permit_id, Outcome::kSuccess);

  EXPECT_TRUE(b.Acquire().probe);
  EXPECT_FALSE(b.Acquire().allowed);
}

TEST(BreakerHalfOpenTest, ASuccessClosesWithAnEmptyWindow) {
  HalfOpen b;

  const ReportResult result = b.Succeed();

  EXPECT_EQ(result.disposition, Disposition::kCounted);
  EXPECT_EQ(result.state, State::kClosed);
  EXPECT_EQ(result.generation, 4u);
  const BreakerStats stats = b.Stats();
  EXPECT_EQ(stats.window, CallCounts{});
  EXPECT_EQ(stats.consecutive_failures, 0u);
  EXPECT_EQ(stats.failing_workers, 0u);
  EXPECT_EQ(stats.lifetime.successes, 1u);
  EXPECT_EQ(b.LastTransition().cause, Cause::kProbeSucceeded);
  EXPECT_EQ(b.LastTransition().reason, "1 probe succeeded (threshold 1)");
}

TEST(BreakerHalfOpenTest, ClosesAtTheSuccessThresholdAndNotOneBelow) {
  Policy policy = OneStrike();
  policy.half_open_success_threshold = 3;
  HalfOpen b(policy);

  b.Succeed(2);
  EXPECT_EQ(b.state(), State::kHalfOpen);
  b.Succeed();

  EXPECT_EQ(b.state(), State::kClosed);
  EXPECT_EQ(b.LastTransition().reason, "3 probes succeeded (threshold 3)");
}

TEST(BreakerHalfOpenTest, AFailureOpensAgainWhateverTheRulesSay) {
  Policy policy = OneStrike();
  policy.half_open_success_threshold = 3;
  HalfOpen b(policy);
  Policy tolerant = policy;
  tolerant.failure_threshold = 0;
  b.SetPolicy(tolerant);
  b.Succeed(2);

  const ReportResult result = b.Report(
      CallReport{"w7", b.Acquire().permit_id, Outcome::kFailure, absl::Milliseconds(20), "Reset"});

  EXPECT_EQ(result.state, State::kOpen);
  EXPECT_EQ(b.LastTransition().cause, Cause::kProbeFailed);
  EXPECT_EQ(b.LastTransition().reason, "a probe by worker \"w7\" failed after 20ms: Reset");
  EXPECT_EQ(b.Stats().lifetime.times_opened, 2u);
}

TEST(BreakerHalfOpenTest, SuccessesOfAnEarlierHalfOpenDoNotCount) {
  Policy policy = OneStrike();
  policy.half_open_success_threshold = 2;
  HalfOpen b(policy);
  b.Succeed();
  b.Fail();
  b.WaitForHalfOpen();

  b.Succeed();

  EXPECT_EQ(b.state(), State::kHalfOpen);
}

TEST(BreakerHalfOpenTest, ASlowProbeFailsOnlyIfSlowCallsAreFailures) {
  Policy policy = OneStrike();
  HalfOpen lenient(policy);
  policy.slow_calls_are_failures = true;
  HalfOpen strict(policy);

  EXPECT_EQ(lenient.SucceedSlowly().state, State::kClosed);
  EXPECT_EQ(strict.SucceedSlowly().state, State::kOpen);
  EXPECT_EQ(strict.LastTransition().reason, "a probe by worker \"w1\" failed after 1s: slow call");
}

TEST(BreakerHalfOpenTest, AnIgnoredProbeFreesItsSlotAndConcludesNothing) {
  HalfOpen b;
  const Decision probe = b.Acquire();

  const ReportResult result = b.Report(probe.permit_id, Outcome::kIgnored);

  EXPECT_EQ(result.disposition, Disposition::kCounted);
  EXPECT_EQ(b.state(), State::kHalfOpen);
  EXPECT_TRUE(b.Acquire().probe);
}

TEST(BreakerHalfOpenTest, AnAbandonedProbeFreesItsSlotAtPermitTimeout) {
  HalfOpen b;
  b.Acquire();

  b.Pass(absl::Seconds(5) - absl::Nanoseconds(1));
  EXPECT_FALSE(b.Acquire().allowed);
  b.Pass(absl::Nanoseconds(1));

  EXPECT_TRUE(b.Acquire().probe);
  EXPECT_EQ(b.generation(), 3u);
  EXPECT_EQ(b.Stats().lifetime.abandoned, 1u);
}

TEST(BreakerHalfOpenTest, ThoseWhoAskInVainDoNotProlongALostProbe) {
  HalfOpen b;
  b.Acquire();

  for (int i = 0; i < 49; ++i) {
    b.Pass(absl::Milliseconds(100));
    EXPECT_FALSE(b.Acquire().allowed);
  }
  b.Pass(absl::Milliseconds(100));

  EXPECT_TRUE(b.Acquire().probe);
}

TEST(BreakerHalfOpenTest, AProbeThatComesBackAfterItsTimeIsUnknown) {
  HalfOpen b;
  const Decision lost = b.Acquire();
  b.Pass(absl::Seconds(5));

  EXPECT_EQ(b.Report(lost.permit_id, Outcome::kSuccess).disposition, Disposition::kUnknownPermit);

  EXPECT_EQ(b.state(), State::kHalfOpen);
  EXPECT_TRUE(b.Acquire().probe);
  EXPECT_FALSE(b.Acquire().allowed);
}

TEST(BreakerHalfOpenTest, TheOtherProbesOfARecoveryThatFailedAreStale) {
  Policy policy = OneStrike();
  policy.half_open_max_probes = 2;
  HalfOpen b(policy);
  const Decision first = b.Acquire();
  const Decision second = b.Acquire();
  b.Report(first.permit_id, Outcome::kFailure);

  EXPECT_EQ(b.Report(second.permit_id, Outcome::kSuccess).disposition, Disposition::kStale);

  EXPECT_EQ(b.state(), State::kOpen);
}

TEST(BreakerHalfOpenTest, AProbeOfAnEarlierHalfOpenNeitherConcludesNorFreesASlot) {
  Policy policy = OneStrike();
  policy.half_open_max_probes = 2;
  policy.permit_timeout = absl::Minutes(10);
  HalfOpen b(policy);
  const Decision failed = b.Acquire();
  const Decision old = b.Acquire();
  b.Report(failed.permit_id, Outcome::kFailure);
  b.WaitForHalfOpen();
  b.Acquire();
  b.Acquire();

  EXPECT_EQ(b.Report(old.permit_id, Outcome::kSuccess).disposition, Disposition::kStale);

  EXPECT_EQ(b.state(), State::kHalfOpen);
  EXPECT_FALSE(b.Acquire().allowed);
}

TEST(BreakerHalfOpenTest, ACallAdmittedWhileClosedGivesNoExtraProbe) {
  BreakerHarness b(OneStrike());
  const Decision early = b.Acquire();
  b.Trip();
  Policy patient = OneStrike();
  patient.permit_timeout = absl::Minutes(10);
  b.SetPolicy(patient);
  b.WaitForHalfOpen();
  b.Acquire();

  EXPECT_EQ(b.Report(early.permit_id, Outcome::kSuccess).disposition, Disposition::kStale);

  EXPECT_FALSE(b.Acquire().allowed);
}

TEST(BreakerHalfOpenTest, ReportWithoutAPermitIsStale) {
  HalfOpen b;

  EXPECT_EQ(b.Report(0, Outcome::kSuccess).disposition, Disposition::kStale);
  EXPECT_EQ(b.Report(0, Outcome::kFailure).disposition, Disposition::kStale);

  EXPECT_EQ(b.state(), State::kHalfOpen);
}

TEST(BreakerHalfOpenTest, ProbeOutcomesAreInTheWindowOfARecoveryThatFailed) {
  Policy policy = OneStrike();
  policy.half_open_success_threshold = 2;
  HalfOpen b(policy);

  b.Succeed();
  b.Fail();

  EXPECT_EQ(b.Stats().window, (CallCounts{1, 2, 0}));
}

TEST(BreakerHalfOpenTest, AProbeGetsAPermitPastTheBoundOnPermits) {
  BreakerHarness b(OneStrike(), /*max_permits=*/0);
  b.Report(0, Outcome::kFailure);
  b.WaitForHalfOpen();

  const Decision probe = b.Acquire();

  EXPECT_NE(probe.permit_id, 0u);
  EXPECT_EQ(b.Report(probe.permit_id, Outcome::kSuccess).state, State::kClosed);
}

}  // namespace
}  // namespace breaker
