#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "server/engine/breaker.h"
#include "tests/support/breaker_harness.h"

namespace breaker {
namespace {

Policy OnTrial() {
  Policy policy;
  policy.failure_threshold = 1;
  policy.minimum_request_count = 1;
  policy.recovery_timeout = absl::Seconds(10);
  policy.shadow = true;
  return policy;
}

TEST(BreakerShadowTest, ACallThatWouldHaveBeenAllowedIsNoShadow) {
  BreakerHarness b(OnTrial());

  const Decision decision = b.Acquire();

  EXPECT_TRUE(decision.allowed);
  EXPECT_FALSE(decision.shadow);
  EXPECT_NE(decision.permit_id, 0u);
}

TEST(BreakerShadowTest, OpensAndExplainsItselfAsAlways) {
  BreakerHarness b(OnTrial());

  b.Trip();

  EXPECT_EQ(b.state(), State::kOpen);
  EXPECT_EQ(b.generation(), 2u);
  EXPECT_EQ(b.LastTransition().cause, Cause::kConsecutiveFailures);
  EXPECT_EQ(b.Stats().next_attempt_time, b.now().wall + absl::Seconds(10));
}

TEST(BreakerShadowTest, ARefusalIsAllowedAndCounted) {
  BreakerHarness b(OnTrial());
  b.Trip();

  const Decision decision = b.Acquire();

  EXPECT_TRUE(decision.allowed);
  EXPECT_TRUE(decision.shadow);
  EXPECT_EQ(decision.permit_id, 0u);
  EXPECT_EQ(decision.state, State::kOpen);
  EXPECT_EQ(decision.retry_after, absl::ZeroDuration());
  EXPECT_EQ(b.Stats().lifetime.rejected, 1u);
  EXPECT_EQ(b.Stats().in_flight, 0u);
}

TEST(BreakerShadowTest, TheReportOfAShadowCallIsStale) {
  BreakerHarness b(OnTrial());
  b.Trip();
  const Decision decision = b.Acquire();

  const ReportResult result = b.Report(decision.permit_id, Outcome::kSuccess);

  EXPECT_EQ(result.disposition, Disposition::kStale);
  EXPECT_EQ(b.state(), State::kOpen);
  EXPECT_EQ(b.Stats().lifetime.stale, 1u);
}

TEST(BreakerShadowTest, RecoversByProbesAsAlways) {
  BreakerHarness b(OnTrial());
  b.Trip();
  b.WaitForHalfOpen();

  const Decision probe = b.Acquire();
  const Decision other = b.Acquire();

  EXPECT_TRUE(probe.probe);
  EXPECT_FALSE(probe.shadow);
  EXPECT_FALSE(other.probe);
  EXPECT_TRUE(other.shadow);
  EXPECT_EQ(b.Report(other.permit_id, Outcome::kFailure).disposition, Disposition::kStale);
  EXPECT_EQ(b.Report(probe.permit_id, Outcome::kSuccess).state, State::kClosed);
}

TEST(BreakerShadowTest, ARampRefusesNothing) {
  Policy policy = OnTrial();
  policy.recovery_ramp = absl::Seconds(100);
  BreakerHarness b(policy);
  b.Trip();
  b.WaitForHalfOpen();
  b.Succeed();
  int shadows = 0;

  for (int i = 0; i < 1000; ++i) {
    const Decision decision = b.Acquire();
    EXPECT_TRUE(decision.allowed);
    shadows += decision.shadow ? 1 : 0;
  }

  EXPECT_NEAR(shadows, 900, 50);
}

TEST(BreakerShadowTest, AnOperatorsForcedOpenRefusesAllTheSame) {
  BreakerHarness b(OnTrial());

  b.Force(Override::Mode::kForcedOpen);

  EXPECT_FALSE(b.Acquire().allowed);
}

TEST(BreakerShadowTest, TheEndOfTheTrialRefusesAtOnce) {
  BreakerHarness b(OnTrial());
  b.Trip();
  Policy earnest = OnTrial();
  earnest.shadow = false;

  b.SetPolicy(earnest);

  EXPECT_FALSE(b.Acquire().allowed);
  EXPECT_EQ(b.generation(), 2u);
}

}  // namespace
}  // namespace breaker
