#include "server/engine/recovery.h"

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace breaker {
namespace {

TEST(OpenTimeTest, IsRecoveryTimeoutAtFirst) {
  EXPECT_EQ(OpenTime(Policy(), 0, 0.7), absl::Seconds(30));
}

TEST(OpenTimeTest, GrowsWithEachFailedRecoveryUpToTheCap) {
  Policy policy;
  policy.recovery_backoff_multiplier = 3;

  EXPECT_EQ(OpenTime(policy, 1, 0), absl::Seconds(90));
  EXPECT_EQ(OpenTime(policy, 2, 0), absl::Seconds(270));
  EXPECT_EQ(OpenTime(policy, 3, 0), absl::Minutes(5));
  EXPECT_EQ(OpenTime(policy, 4'000'000'000, 0), absl::Minutes(5));
}

TEST(OpenTimeTest, AMultiplierOfOneNeverGrows) {
  EXPECT_EQ(OpenTime(Policy(), 1000, 0), absl::Seconds(30));
}

TEST(OpenTimeTest, TheCapIsNeverBelowRecoveryTimeout) {
  Policy policy;
  policy.recovery_timeout = absl::Minutes(10);
  policy.recovery_backoff_multiplier = 2;

  EXPECT_EQ(OpenTime(policy, 0, 0), absl::Minutes(10));
  EXPECT_EQ(OpenTime(policy, 5, 0), absl::Minutes(10));
}

TEST(OpenTimeTest, JitterIsAFractionOfTheGrownTimeBothWays) {
  Policy policy;
  policy.recovery_backoff_multiplier = 100;
  policy.recovery_jitter = 0.5;

  EXPECT_EQ(OpenTime(policy, 0, -1), absl::Seconds(15));
  EXPECT_EQ(OpenTime(policy, 0, 0), absl::Seconds(30));
  EXPECT_EQ(OpenTime(policy, 0, 1), absl::Seconds(45));
  EXPECT_EQ(OpenTime(policy, 5, 1), absl::Minutes(7.5));  // after the cap
}

TEST(RampFractionTest, GrowsLinearlyFromATenthToOne) {
  Policy policy;
  policy.recovery_ramp = absl::Seconds(90);

  EXPECT_DOUBLE_EQ(RampFraction(policy, absl::ZeroDuration()), 0.1);
  EXPECT_DOUBLE_EQ(RampFraction(policy, absl::Seconds(10)), 0.2);
  EXPECT_DOUBLE_EQ(RampFraction(policy, absl::Seconds(80)), 0.9);
  EXPECT_LT(RampFraction(policy, absl::Seconds(90) - absl::Nanoseconds(1)), 1);
  EXPECT_EQ(RampFraction(policy, absl::Seconds(90)), 1);
  EXPECT_EQ(RampFraction(policy, absl::Hours(1)), 1);
}

TEST(RampFractionTest, ACallThatReadTheClockBeforeTheCloseIsAtItsStart) {
  Policy policy;
  policy.recovery_ramp = absl::Seconds(90);

  EXPECT_DOUBLE_EQ(RampFraction(policy, absl::Microseconds(-5)), 0.1);
}

TEST(RampFractionTest, IsOneWithoutARamp) {
  EXPECT_EQ(RampFraction(Policy(), absl::ZeroDuration()), 1);
}

}  // namespace
}  // namespace breaker
