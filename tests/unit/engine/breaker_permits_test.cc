#include <cstdint>
#include <set>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "server/engine/breaker.h"
#include "server/engine/permit_ids.h"
#include "tests/support/breaker_harness.h"

namespace breaker {
namespace {

TEST(BreakerPermitsTest, APermitCanBeReportedOnce) {
  BreakerHarness b;
  const Decision decision = b.Acquire();
  b.Report(decision.permit_id, Outcome::kFailure);

  const ReportResult again = b.Report(decision.permit_id, Outcome::kFailure);

  EXPECT_EQ(again.disposition, Disposition::kUnknownPermit);
  EXPECT_EQ(again.generation, 1u);
  EXPECT_EQ(b.Stats().window.failures, 1u);
  EXPECT_EQ(b.Stats().lifetime.stale, 0u);
  EXPECT_EQ(b.permits().out(), 0);
}

TEST(BreakerPermitsTest, APermitNeverGrantedIsUnknownAndChangesNothing) {
  BreakerHarness b;

  EXPECT_EQ(b.Report(12345, Outcome::kFailure).disposition, Disposition::kUnknownPermit);

  EXPECT_EQ(b.Stats().lifetime, LifetimeCounts{});
  EXPECT_EQ(b.Stats().window, CallCounts{});
}

TEST(BreakerPermitsTest, APermitIsAbandonedAtPermitTimeoutAndNotATickBefore) {
  BreakerHarness b;
  b.Acquire();
  EXPECT_EQ(b.breaker().NextDeadline(), b.now().mono + absl::Seconds(30));

  b.Pass(absl::Seconds(30) - absl::Nanoseconds(1));
  EXPECT_EQ(b.Stats().in_flight, 1u);
  b.Pass(absl::Nanoseconds(1));

  EXPECT_EQ(b.Stats().in_flight, 0u);
  EXPECT_EQ(b.Stats().lifetime.abandoned, 1u);
  EXPECT_EQ(b.permits().out(), 0);
  EXPECT_EQ(b.breaker().NextDeadline(), MonotonicTime::InfiniteFuture());
}

TEST(BreakerPermitsTest, AnAbandonedPermitConcludesNothingAndIsUnknownAfterwards) {
  BreakerHarness b;
  const Decision decision = b.Acquire();
  b.Pass(absl::Seconds(30));

  EXPECT_EQ(b.Report(decision.permit_id, Outcome::kFailure).disposition,
            Disposition::kUnknownPermit);

  EXPECT_EQ(b.Stats().window, CallCounts{});
  EXPECT_EQ(b.Stats().lifetime.abandoned, 1u);
}

TEST(BreakerPermitsTest, PermitsStayOutWhateverTheStateDoes) {
  BreakerHarness b;
  const Decision first = b.Acquire();
  b.Acquire();
  b.Trip();

  EXPECT_EQ(b.Stats().in_flight, 2u);
  b.Reset();
  EXPECT_EQ(b.Stats().in_flight, 2u);
  b.Report(first.permit_id, Outcome::kSuccess);
  EXPECT_EQ(b.Stats().in_flight, 1u);
  b.Pass(absl::Seconds(30));

  EXPECT_EQ(b.Stats().in_flight, 0u);
  EXPECT_EQ(b.Stats().lifetime.abandoned, 1u);
  EXPECT_EQ(b.Stats().lifetime.stale, 1u);
}

TEST(BreakerPermitsTest, APermitOfAnEarlierClosedGenerationIsStale) {
  BreakerHarness b;
  const Decision before = b.Acquire();
  b.Reset();

  const ReportResult result = b.Report(before.permit_id, Outcome::kFailure);

  EXPECT_EQ(result.disposition, Disposition::kStale);
  EXPECT_EQ(result.generation, 2u);
  EXPECT_EQ(b.Stats().window, CallCounts{});
  EXPECT_EQ(b.Stats().lifetime.stale, 1u);
  EXPECT_EQ(b.Stats().lifetime.failures, 0u);
}

TEST(BreakerPermitsTest, AStaleIgnoredReportIsCountedAsStaleOnly) {
  BreakerHarness b;
  const Decision before = b.Acquire();
  b.Reset();

  EXPECT_EQ(b.Report(before.permit_id, Outcome::kIgnored).disposition, Disposition::kStale);

  EXPECT_EQ(b.Stats().lifetime.stale, 1u);
  EXPECT_EQ(b.Stats().lifetime.ignored, 0u);
}

TEST(BreakerPermitsTest, PermitsOfARunBeforeARestartAreUnknown) {
  BreakerHarness b;
  const Decision before = b.Acquire();

  b.Restart();

  EXPECT_EQ(b.Report(before.permit_id, Outcome::kFailure).disposition, Disposition::kUnknownPermit);
  EXPECT_EQ(b.Stats().in_flight, 0u);
}

TEST(BreakerPermitsTest, PastTheBoundClosedAllowsWithPermitZero) {
  BreakerHarness b(Policy(), /*max_permits=*/2);
  const Decision first = b.Acquire();
  b.Acquire();

  const Decision third = b.Acquire();

  EXPECT_TRUE(third.allowed);
  EXPECT_FALSE(third.shadow);
  EXPECT_EQ(third.permit_id, 0u);
  EXPECT_EQ(b.Stats().in_flight, 2u);
  EXPECT_EQ(b.Report(third.permit_id, Outcome::kSuccess).disposition, Disposition::kCounted);
  b.Report(first.permit_id, Outcome::kSuccess);
  EXPECT_NE(b.Acquire().permit_id, 0u);
}

TEST(BreakerPermitsTest, AChangedPermitTimeoutAppliesToPermitsThatAreOut) {
  BreakerHarness b;
  b.Acquire();
  b.Pass(absl::Seconds(10));
  Policy impatient;
  impatient.permit_timeout = absl::Seconds(10);

  b.SetPolicy(impatient);

  EXPECT_EQ(b.Stats().in_flight, 0u);
}

TEST(PermitIdsTest, IdsNeverRepeatWithinOrAcrossRuns) {
  std::set<uint64_t> ids;

  for (uint32_t run = 0; run < 50; ++run) {
    PermitIds source(PermitEpoch{7, run});
    for (int i = 0; i < 1000; ++i) ids.insert(source.Next());
  }

  EXPECT_EQ(ids.size(), 50'000u);
  EXPECT_EQ(ids.count(0), 0u);
}

TEST(PermitIdsTest, IdsAreFarApartAndDependOnTheSecret) {
  PermitIds source(PermitEpoch{7, 1});
  PermitIds other(PermitEpoch{8, 1});

  uint64_t previous = source.Next();
  EXPECT_NE(previous, other.Next());
  for (int i = 0; i < 1000; ++i) {
    const uint64_t id = source.Next();
    const uint64_t distance = id > previous ? id - previous : previous - id;
    EXPECT_GT(distance, 1'000'000u);
    EXPECT_NE(id, other.Next());
    previous = id;
  }
}

}  // namespace
}  // namespace breaker
