// What Watch and ReportBatch ask of the registry.

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/registry.h"
#include "tests/support/simulated_clock.h"
#include "tests/support/transitions_in.h"

namespace breaker::server {
namespace {

const KeyView kCharge{"payments", "charge"};

class RegistryWatchTest : public testing::Test {
 protected:
  static Policy Quick() {
    Policy policy;
    policy.failure_threshold = 1;
    policy.minimum_request_count = 1;
    return policy;
  }

  absl::StatusOr<BatchResult> TryBatch(const BatchId& batch, std::vector<KeyedRun> runs) {
    for (size_t i = 0; i < runs.size(); ++i) {
      runs[i].run.run = {batch.session, BatchPosition(batch.sequence, i + 1)};
    }
    return registry_.ReportBatch(batch, runs, clock_.Now(), &changes_);
  }
  BatchResult Batch(uint64_t session, uint64_t sequence, std::vector<KeyedRun> runs) {
    return *TryBatch({session, sequence}, std::move(runs));
  }
  static KeyedRun Failures(const KeyView& key, uint32_t count) {
    OutcomeRun run;
    run.worker_id = "w1";
    run.outcome = Outcome::kFailure;
    run.count = count;
    return KeyedRun(key, run);
  }
  BreakerStats Stats(const KeyView& key) {
    return *registry_.GetStats(key, clock_.Now(), &changes_);
  }
  Changes TakeChanges() { return std::exchange(changes_, {}); }

  SimulatedClock clock_;
  Registry registry_{[] {
    RegistryOptions options;
    options.max_breakers = 3;
    return options;
  }()};
  Changes changes_;
};

TEST_F(RegistryWatchTest, SubscribingCreatesTheBreakerAndTellsSo) {
  const Policy policy = Quick();
  const BreakerView view = *registry_.Subscribe(kCharge, &policy, clock_.Now(), &changes_);

  EXPECT_EQ(view.state, State::kClosed);
  EXPECT_EQ(view.version.generation, 1u);
  EXPECT_EQ(*view.policy, policy);
  const Changes changes = TakeChanges();
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].key, Key(kCharge));
  EXPECT_FALSE(changes[0].transition.has_value());
  EXPECT_EQ(Stats(kCharge).policy_source, PolicySource::kWorker);
}

TEST_F(RegistryWatchTest, SubscribingAgainChangesNothing) {
  const Policy policy = Quick();
  registry_.Subscribe(kCharge, &policy, clock_.Now(), &changes_).IgnoreError();
  Batch(1, 1, {Failures(kCharge, 1)});
  const BreakerStats before = Stats(kCharge);
  TakeChanges();
  clock_.Advance(absl::Seconds(10));

  const BreakerView view = *registry_.Subscribe(kCharge, &policy, clock_.Now(), &changes_);

  EXPECT_TRUE(TakeChanges().empty());
  EXPECT_EQ(view.state, State::kOpen);
  EXPECT_EQ(view.retry_after, absl::Seconds(20));
  EXPECT_EQ(Stats(kCharge).next_attempt_time, before.next_attempt_time);
}

TEST_F(RegistryWatchTest, AnotherPolicyIsAChangeWithoutATransition) {
  registry_.Subscribe(kCharge, nullptr, clock_.Now(), &changes_).IgnoreError();
  const BreakerVersion before = TakeChanges().at(0).view.version;
  registry_.SetPolicy(Key("payments", "*"), Quick(), clock_.Now(), &changes_);

  const Changes changes = TakeChanges();
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(*changes[0].view.policy, Quick());
  EXPECT_GT(changes[0].view.version, before);
  EXPECT_FALSE(changes[0].transition.has_value());

  registry_.SetPolicy(Key("payments", "*"), Quick(), clock_.Now(), &changes_);
  EXPECT_TRUE(TakeChanges().empty()) << "the policy in effect is the same";
}

TEST_F(RegistryWatchTest, ABreakerThatIsGoneIsAChange) {
  registry_.Subscribe(kCharge, nullptr, clock_.Now(), &changes_).IgnoreError();
  TakeChanges();
  ASSERT_TRUE(registry_.Delete(kCharge, &changes_).ok());

  const Changes changes = TakeChanges();
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_TRUE(changes[0].removed);
  EXPECT_FALSE(registry_.View(kCharge, clock_.Now(), &changes_).has_value());
}

TEST_F(RegistryWatchTest, ATransitionTellsTheStateRightAfterIt) {
  registry_.SetPolicy(Key("*", "*"), Quick(), clock_.Now(), &changes_);
  Batch(1, 1, {Failures(kCharge, 1)});
  TakeChanges();
  clock_.Advance(absl::Seconds(30));
  const Decision probe = *registry_.Acquire(kCharge, "w", nullptr, clock_.Now(), &changes_);
  registry_.Report(kCharge, {"w", probe.permit_id, Outcome::kSuccess}, clock_.Now(), &changes_)
      .IgnoreError();

  const Changes changes = TakeChanges();
  ASSERT_EQ(changes.size(), 2u);
  EXPECT_EQ(changes[0].view.state, State::kHalfOpen);
  EXPECT_EQ(changes[0].view.version.generation, 3u);
  EXPECT_EQ(changes[0].transition->cause, Cause::kRecoveryTimeoutElapsed);
  EXPECT_EQ(changes[1].view.state, State::kClosed);
  EXPECT_EQ(changes[1].view.version.generation, 4u);
}

TEST_F(RegistryWatchTest, TheLastConnectionOfAWorkerGivesItsProbesBack) {
  registry_.SetPolicy(Key("*", "*"), Quick(), clock_.Now(), &changes_);
  registry_.WorkerJoined("w");
  registry_.WorkerJoined("w");
  Batch(1, 1, {Failures(kCharge, 1)});
  clock_.Advance(absl::Seconds(30));
  ASSERT_TRUE(registry_.Acquire(kCharge, "w", nullptr, clock_.Now(), &changes_)->probe);

  registry_.WorkerLeft("w", clock_.Now(), &changes_);
  EXPECT_FALSE(registry_.Acquire(kCharge, "v", nullptr, clock_.Now(), &changes_)->allowed);
  registry_.WorkerLeft("w", clock_.Now(), &changes_);
  EXPECT_TRUE(registry_.Acquire(kCharge, "v", nullptr, clock_.Now(), &changes_)->probe);
}

TEST_F(RegistryWatchTest, ABatchCountsOnce) {
  const std::vector<KeyedRun> runs = {Failures(kCharge, 2), Failures({"s", "o"}, 3)};
  EXPECT_EQ(Batch(1, 1, runs).counted, 5u);

  const BatchResult again = Batch(1, 1, runs);

  EXPECT_TRUE(again.duplicate);
  EXPECT_EQ(again.counted, 0u);
  EXPECT_EQ(Stats(kCharge).window.failures, 2u);
  EXPECT_EQ(Batch(2, 1, {Failures(kCharge, 1)}).counted, 1u) << "another session";
}

TEST_F(RegistryWatchTest, AGapIsNotWaitedForAndNotFilledLater) {
  EXPECT_EQ(Batch(1, 1, {Failures(kCharge, 1)}).counted, 1u);
  EXPECT_EQ(Batch(1, 5, {Failures(kCharge, 1)}).counted, 1u);
  EXPECT_TRUE(Batch(1, 3, {Failures(kCharge, 1)}).duplicate);
  EXPECT_EQ(Stats(kCharge).window.failures, 2u);
}

TEST_F(RegistryWatchTest, ABatchWaitsForTheOneThatItNames) {
  const std::vector<KeyedRun> one = {Failures(kCharge, 1)};
  const absl::Status missing = TryBatch({1, 5, 4}, one).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(missing.message(),
            "previous_sequence: 4 is missing, the last batch of this session here is 0; send again "
            "those after it");
  EXPECT_FALSE(registry_.View(kCharge, clock_.Now(), &changes_).has_value());

  EXPECT_EQ(TryBatch({1, 2}, one)->counted, 1u) << "as those before it are not kept any more";
  EXPECT_EQ(TryBatch({1, 5, 4}, one).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(TryBatch({1, 4, 2}, one)->counted, 1u);
  EXPECT_EQ(TryBatch({1, 5, 4}, one)->counted, 1u);
  EXPECT_TRUE(TryBatch({1, 5, 4}, one)->duplicate);
  EXPECT_EQ(TryBatch({1, 8, 5}, one)->counted, 1u);
  EXPECT_EQ(Stats(kCharge).window.failures, 4u);
}

TEST_F(RegistryWatchTest, OutcomesOfBreakersThatCannotBeAreLeftOut) {
  const BatchResult result =
      Batch(1, 1,
            {Failures({"s", "1"}, 1), Failures({"s", "2"}, 1), Failures({"s", "3"}, 1),
             Failures({"s", "4"}, 1), Failures({"s", "1"}, 1)});

  EXPECT_EQ(result.counted, 4u);
  EXPECT_EQ(result.stale, 0u);
  EXPECT_TRUE(Batch(1, 1, {}).duplicate);
}

// A crash in the middle: one breaker was stored with the batch, the other one and the session's
// mark were not.
TEST_F(RegistryWatchTest, ABatchThatWasHalfStoredCountsOnceWhenItIsSentAgain) {
  const std::vector<KeyedRun> runs = {Failures(kCharge, 2), Failures({"s", "o"}, 3),
                                      Failures(kCharge, 1)};
  Batch(1, 1, runs);
  const BreakerSnapshot stored = *registry_.Save(kCharge, clock_.Now());

  Registry after{RegistryOptions()};
  ASSERT_TRUE(after.Restore(stored, clock_.Now()).ok());
  std::vector<KeyedRun> again = runs;
  for (size_t i = 0; i < again.size(); ++i) again[i].run.run = {1, BatchPosition(1, i + 1)};
  ASSERT_TRUE(after.ReportBatch({1, 1}, again, clock_.Now(), &changes_).ok());

  EXPECT_EQ(after.GetStats(kCharge, clock_.Now(), &changes_)->window.failures, 3u);
  EXPECT_EQ(after.GetStats({"s", "o"}, clock_.Now(), &changes_)->window.failures, 3u);
}

TEST_F(RegistryWatchTest, ABreakerForgetsWhatTheStoredMarkCovers) {
  Batch(1, 1, {Failures(kCharge, 1)});
  const std::vector<SessionMark> marks = registry_.sessions().Unstored(clock_.Now());
  Batch(2, 1, {Failures(kCharge, 1)});
  registry_.sessions().Stored(marks);

  EXPECT_THAT(registry_.Save(kCharge, clock_.Now())->applied_runs,
              testing::ElementsAre(AppliedRun{2, BatchPosition(1, 1)}));
  EXPECT_EQ(Batch(1, 2, {}).stored_sequence, 1u);
}

}  // namespace
}  // namespace breaker::server
