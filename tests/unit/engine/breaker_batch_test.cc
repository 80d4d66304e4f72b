#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/breaker.h"
#include "tests/support/breaker_harness.h"

namespace breaker::server {
namespace {

OutcomeRun RunOf(Outcome outcome, uint32_t count, uint64_t generation = 1) {
  OutcomeRun run;
  run.worker_id = "w1";
  run.generation = generation;
  run.outcome = outcome;
  run.count = count;
  return run;
}

OutcomeRun Of(uint64_t session, BatchPosition position, OutcomeRun run) {
  run.run = {session, position};
  return run;
}

TEST(BreakerBatchTest, ARunCountsAsItsOutcomesWould) {
  BreakerHarness h;
  OutcomeRun run = RunOf(Outcome::kSuccess, 1'000'000'000);
  run.slow_count = 7;

  const RunResult result = h.breaker().ReportRun(run, h.context());

  EXPECT_EQ(result.counted, 1'000'000'000u);
  EXPECT_EQ(result.stale, 0u);
  EXPECT_EQ(h.Stats().window, (CallCounts{1'000'000'000, 0, 7}));
  EXPECT_EQ(h.Stats().lifetime.successes, 1'000'000'000u);
}

TEST(BreakerBatchTest, OpensAtTheVeryFailureAndTheRestIsStale) {
  Policy policy;
  policy.failure_threshold = 3;
  policy.minimum_request_count = 5;
  BreakerHarness h(policy);

  h.breaker().ReportRun(RunOf(Outcome::kSuccess, 1), h.context());
  const RunResult result = h.breaker().ReportRun(RunOf(Outcome::kFailure, 10), h.context());

  EXPECT_EQ(h.state(), State::kOpen);
  EXPECT_EQ(result.counted, 4u);
  EXPECT_EQ(result.stale, 6u);
  EXPECT_EQ(
      h.LastTransition().reason,
      "4 consecutive failures (threshold 3) with 5 calls in 60s (minimum 5), 1 worker failing");
  EXPECT_EQ(h.Stats().lifetime.stale, 6u);
}

TEST(BreakerBatchTest, SlowCallsComeLast) {
  Policy policy;
  policy.failure_threshold = 2;
  policy.minimum_request_count = 1;
  policy.slow_calls_are_failures = true;
  BreakerHarness h(policy);
  OutcomeRun run = RunOf(Outcome::kSuccess, 5);
  run.slow_count = 1;

  h.breaker().ReportRun(run, h.context());
  EXPECT_EQ(h.Stats().consecutive_failures, 1u);
  h.breaker().ReportRun(run, h.context());

  EXPECT_EQ(h.state(), State::kClosed);
  EXPECT_EQ(h.Stats().consecutive_failures, 1u);
}

TEST(BreakerBatchTest, ARunOfAnotherGenerationIsStale) {
  BreakerHarness h;
  h.Reset();  // generation 2

  EXPECT_EQ(h.breaker().ReportRun(RunOf(Outcome::kFailure, 9, 1), h.context()).stale, 9u);
  EXPECT_EQ(h.breaker().ReportRun(RunOf(Outcome::kFailure, 9, 3), h.context()).stale, 9u);
  EXPECT_EQ(h.breaker().ReportRun(RunOf(Outcome::kFailure, 2, 2), h.context()).counted, 2u);
  EXPECT_EQ(h.breaker().ReportRun(RunOf(Outcome::kFailure, 1, 0), h.context()).counted, 1u);
  EXPECT_EQ(h.state(), State::kClosed);
}

TEST(BreakerBatchTest, NothingCountsWhileTheCircuitIsNotClosed) {
  BreakerHarness h;
  h.Trip();
  EXPECT_EQ(h.breaker().ReportRun(RunOf(Outcome::kSuccess, 3, h.generation()), h.context()).stale,
            3u);
  h.WaitForHalfOpen();
  EXPECT_EQ(h.breaker().ReportRun(RunOf(Outcome::kSuccess, 3, h.generation()), h.context()).stale,
            3u);
  EXPECT_EQ(h.state(), State::kHalfOpen);
}

TEST(BreakerBatchTest, IgnoredOutcomesAreOnlyCountedAsSuch) {
  BreakerHarness h;
  EXPECT_EQ(h.breaker().ReportRun(RunOf(Outcome::kIgnored, 3), h.context()).counted, 3u);
  EXPECT_EQ(h.Stats().lifetime.ignored, 3u);
  EXPECT_EQ(h.Stats().window, CallCounts());
}

TEST(BreakerBatchTest, ARunThatCameBeforeChangesNothing) {
  BreakerHarness h;
  const OutcomeRun first = Of(5, BatchPosition(1, 1), RunOf(Outcome::kFailure, 1));
  const OutcomeRun second = Of(5, BatchPosition(1, 2), RunOf(Outcome::kSuccess, 1));
  EXPECT_EQ(h.breaker().ReportRun(first, h.context()).counted, 1u);
  EXPECT_EQ(h.breaker().ReportRun(second, h.context()).counted, 1u);

  for (const OutcomeRun& again : {first, second}) {
    const RunResult result = h.breaker().ReportRun(again, h.context());
    EXPECT_EQ(result.counted + result.stale, 0u);
  }
  const OutcomeRun of_another = Of(6, BatchPosition(1, 1), RunOf(Outcome::kSuccess, 1));
  EXPECT_EQ(h.breaker().ReportRun(of_another, h.context()).counted, 1u);
  EXPECT_EQ(h.Stats().window, (CallCounts{2, 1, 0}));
}

TEST(BreakerBatchTest, WhatWasCountedIsKnownAfterARestart) {
  BreakerHarness h;
  const OutcomeRun run = Of(5, BatchPosition(7, 3), RunOf(Outcome::kFailure, 2));
  h.breaker().ReportRun(run, h.context());

  h.Restart();

  EXPECT_EQ(h.breaker().ReportRun(run, h.context()).counted, 0u);
  const OutcomeRun next = Of(5, BatchPosition(7, 4), RunOf(Outcome::kFailure, 1));
  EXPECT_EQ(h.breaker().ReportRun(next, h.context()).counted, 1u);
  EXPECT_EQ(h.Stats().window.failures, 3u);
}

TEST(BreakerBatchTest, WhatNobodyWillSendAgainIsForgotten) {
  BreakerHarness h;
  h.breaker().ReportRun(Of(5, BatchPosition(7, 1), RunOf(Outcome::kSuccess, 1)), h.context());
  h.breaker().ReportRun(Of(6, BatchPosition(8, 1), RunOf(Outcome::kSuccess, 1)), h.context());

  h.breaker().ForgetAppliedRuns([](const AppliedRun& run) { return run.session == 5; });

  EXPECT_THAT(h.Save().applied_runs, testing::ElementsAre(AppliedRun{6, BatchPosition(8, 1)}));
}

TEST(BreakerProbesTest, TheProbesOfAWorkerThatIsGoneAreFreeAgain) {
  Policy policy;
  policy.half_open_max_probes = 2;
  BreakerHarness h(policy);
  h.Trip();
  h.WaitForHalfOpen();
  const Decision gone = h.breaker().Acquire("gone", h.context());
  const Decision kept = h.breaker().Acquire("kept", h.context());
  ASSERT_TRUE(gone.probe && kept.probe);
  ASSERT_FALSE(h.breaker().Acquire("third", h.context()).allowed);

  h.breaker().GiveBackProbes("gone", h.context());

  EXPECT_EQ(h.Stats().in_flight, 1u);
  EXPECT_EQ(h.Stats().lifetime.ignored, 1u);
  EXPECT_EQ(h.permits().out(), 1);
  EXPECT_TRUE(h.breaker().Acquire("third", h.context()).probe);
  EXPECT_EQ(h.Report(gone.permit_id, Outcome::kSuccess).disposition, Disposition::kUnknownPermit);
  EXPECT_EQ(h.Report(kept.permit_id, Outcome::kSuccess).disposition, Disposition::kCounted);
}

}  // namespace
}  // namespace breaker::server
