#include "client/cpp/src/report_batcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/support/channel.h"
#include "tests/support/eventually.h"
#include "tests/support/messages.h"
#include "tests/support/scripted_breaker_service.h"

namespace breaker::internal {
namespace {

using ::testing::AnyOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Le;
using ::testing::SizeIs;
using testing::Text;

class ReportBatcherTest : public ::testing::Test {
 protected:
  ReportBatcherTest() {
    const SteadyTime now = std::chrono::steady_clock::now();
    for (int i = 0; i < 16; ++i) {
      cells_.push_back(std::make_unique<Cell>(Key{"db", std::to_string(i)}, 0, &around_));
      cells_.back()->Update(Text<v1::CircuitUpdate>("state: CLOSED generation: 1"), 1, now);
    }
  }

  // Makes `count` runs of one failure each, a share of them in each cell.
  void MakeRuns(int count) {
    for (int i = 0; i < count; ++i) {
      cells_[i % cells_.size()]->Record(1, Outcome::kFailure, std::to_string(i), {});
    }
  }

  // Calls Pump, as the client's thread does, until the condition holds.
  template <typename Condition>
  static bool PumpUntil(ReportBatcher& batcher, Condition condition) {
    return Eventually([&] {
      batcher.Pump(std::chrono::steady_clock::now(), /*flush=*/true);
      return condition();
    });
  }
  template <typename Condition>
  bool PumpUntil(Condition condition) {
    return PumpUntil(batcher_, condition);
  }

  std::vector<uint64_t> SequencesSent() const {
    std::vector<uint64_t> sequences;
    for (const v1::ReportBatchRequest& batch : service_.batches()) {
      sequences.push_back(batch.sequence());
    }
    return sequences;
  }

  std::vector<uint64_t> PreviousSequencesSent() const {
    std::vector<uint64_t> sequences;
    for (const v1::ReportBatchRequest& batch : service_.batches()) {
      sequences.push_back(batch.previous_sequence());
    }
    return sequences;
  }

  // Sends a batch, has the service lose it after `wait`, and sends the next one; gives all that was
  // sent.
  std::vector<uint64_t> SentAroundALoss(ReportBatcher::Limits limits,
                                        std::chrono::nanoseconds wait = {}) {
    ReportBatcher batcher(stub_.get(), "w1", &around_.signal, limits);
    batcher.SetConnected(true);
    MakeRuns(1);
    batcher.Finish(std::chrono::steady_clock::now() + std::chrono::seconds(20));
    const SteadyTime kept = std::chrono::steady_clock::now();
    EXPECT_TRUE(Eventually([&] { return std::chrono::steady_clock::now() - kept >= wait; }));
    service_.LoseBatches();
    MakeRuns(1);
    batcher.Finish(std::chrono::steady_clock::now() + std::chrono::seconds(20));
    return SequencesSent();
  }

  // Sends ten batches of 40 runs and one of a single run, loses the connection, and gives how many
  // runs are then sent again.
  int SentAgain(ReportBatcher::Limits limits) {
    ReportBatcher batcher(stub_.get(), "w1", &around_.signal, limits);
    batcher.SetConnected(true);
    for (int round = 1; round <= 10; ++round) {
      MakeRuns(40);
      EXPECT_TRUE(PumpUntil(batcher, [&] { return service_.run_count() == round * 40; }));
    }
    MakeRuns(1);  // It goes when all others are answered.
    EXPECT_TRUE(PumpUntil(batcher, [&] { return service_.run_count() == 401; }));
    batcher.SetConnected(false);
    batcher.SetConnected(true);
    MakeRuns(2);  // The last to come.
    EXPECT_TRUE(PumpUntil(batcher, [&] { return service_.batch_sizes().back() == 2; }));
    return service_.run_count() - 401 - 2;
  }

  testing::ScriptedBreakerService service_;
  std::unique_ptr<v1::CircuitBreaker::Stub> stub_ =
      v1::CircuitBreaker::NewStub(NewChannel(service_.target()));
  Surroundings around_ = {.worker_id = "w1", .clock = {}, .signal = {}};
  std::vector<std::unique_ptr<Cell>> cells_;
  ReportBatcher batcher_{stub_.get(), "w1", &around_.signal};
};

TEST_F(ReportBatcherTest, NothingGoesOutWithoutAStream) {
  MakeRuns(1);
  EXPECT_EQ(batcher_.Pump(std::chrono::steady_clock::now(), true), SteadyTime::max());
  batcher_.SetConnected(true);
  ASSERT_TRUE(PumpUntil([&] { return service_.batch_sizes().size() == 1; }));
}

TEST_F(ReportBatcherTest, NothingToSendIsNoBatch) {
  batcher_.SetConnected(true);
  batcher_.Pump(std::chrono::steady_clock::now(), true);
  batcher_.Finish(std::chrono::steady_clock::now() + std::chrono::seconds(20));
  EXPECT_THAT(service_.batch_sizes(), IsEmpty());
}

TEST_F(ReportBatcherTest, ManyRunsGoInSeveralBatches) {
  batcher_.SetConnected(true);
  MakeRuns(3500);
  ASSERT_TRUE(PumpUntil([&] { return service_.run_count() == 3500; }));
  EXPECT_THAT(service_.batch_sizes(), SizeIs(4));
  EXPECT_THAT(service_.batch_sizes(), Each(Le(1000)));
}

TEST_F(ReportBatcherTest, OneBatchIsUnderWayAtATime) {
  batcher_.SetConnected(true);
  service_.Hang();
  MakeRuns(1);
  ASSERT_TRUE(PumpUntil([&] { return service_.batch_sizes().size() == 1; }));
  MakeRuns(1);
  EXPECT_EQ(batcher_.Pump(std::chrono::steady_clock::now(), true), SteadyTime::max());
  EXPECT_THAT(service_.batch_sizes(), SizeIs(1));
  service_.Release();
  EXPECT_TRUE(PumpUntil([&] { return service_.batch_sizes().size() == 2; }));
}

TEST_F(ReportBatcherTest, BatchesComeAtLeastAMillisecondApart) {
  batcher_.SetConnected(true);
  MakeRuns(1);
  const SteadyTime start = std::chrono::steady_clock::now();
  batcher_.Pump(start, true);
  ASSERT_TRUE(Eventually([&] { return service_.batch_sizes().size() == 1; }));
  MakeRuns(1);
  ASSERT_TRUE(Eventually([&] { return batcher_.Pump(start, true) != SteadyTime::max(); }));
  EXPECT_EQ(batcher_.Pump(start, true), start + std::chrono::milliseconds(1));
}

TEST_F(ReportBatcherTest, WhatIsNotStoredIsSentAgain) { EXPECT_EQ(SentAgain({}), 401); }

TEST_F(ReportBatcherTest, RunsThatAreKeptAreBounded) {
  EXPECT_EQ(SentAgain({.runs = 100}), 81) << "two batches of 40, and the one after them";
}

TEST_F(ReportBatcherTest, BatchesThatAreKeptAreBounded) {
  // The answer to the single run may or may not have come.
  EXPECT_THAT(SentAgain({.batches = 3}), AnyOf(81, 121));
}

TEST_F(ReportBatcherTest, NothingIsKeptForLongerThanItsTime) {
  EXPECT_LE(SentAgain({.age = std::chrono::nanoseconds(0)}), 1);
}

TEST_F(ReportBatcherTest, WhatIsTooOldIsNotSentOnTheNextConnection) {
  constexpr auto kAge = std::chrono::milliseconds(50);
  ReportBatcher batcher(stub_.get(), "w1", &around_.signal, {.age = kAge});
  batcher.SetConnected(true);
  MakeRuns(1);
  batcher.Finish(std::chrono::steady_clock::now() + std::chrono::seconds(20));
  const SteadyTime kept = std::chrono::steady_clock::now();
  EXPECT_TRUE(Eventually([&] { return std::chrono::steady_clock::now() - kept >= kAge; }));
  batcher.SetConnected(false);
  batcher.SetConnected(true);
  MakeRuns(1);
  batcher.Finish(std::chrono::steady_clock::now() + std::chrono::seconds(20));
  EXPECT_THAT(SequencesSent(), ElementsAre(1, 2));
}

TEST_F(ReportBatcherTest, WhatGetsTooOldOnItsWayStaysUntilItIsAnswered) {
  constexpr auto kAge = std::chrono::seconds(1);
  ReportBatcher batcher(stub_.get(), "w1", &around_.signal, {.age = kAge});
  batcher.SetConnected(true);
  MakeRuns(1);
  batcher.Finish(std::chrono::steady_clock::now() + std::chrono::seconds(20));
  const SteadyTime kept = std::chrono::steady_clock::now();
  service_.Hang();
  batcher.SetConnected(false);
  batcher.SetConnected(true);
  ASSERT_TRUE(PumpUntil(batcher, [&] { return service_.batches().size() == 2; }));
  EXPECT_TRUE(Eventually([&] { return std::chrono::steady_clock::now() - kept >= kAge; }));
  batcher.SetConnected(false);
  batcher.SetConnected(true);
  service_.Release();
  MakeRuns(1);
  EXPECT_TRUE(PumpUntil(batcher, [&] { return service_.batches().back().sequence() == 2; }));
  EXPECT_THAT(SequencesSent(), ElementsAre(1, 1, 1, 2));
}

TEST_F(ReportBatcherTest, BatchThatIsNotPermittedIsGivenUpInItsTimeForThoseBehindIt) {
  ReportBatcher batcher(stub_.get(), "w1", &around_.signal,
                        {.denied = std::chrono::milliseconds(1500)});
  batcher.SetConnected(true);
  service_.FailBatches({grpc::StatusCode::PERMISSION_DENIED, "not for you"});
  MakeRuns(3);
  ASSERT_TRUE(PumpUntil(batcher, [&] { return batcher.denial().code() != absl::StatusCode::kOk; }));
  ASSERT_TRUE(PumpUntil(batcher, [&] { return around_.signal.dropped() > 0; }));
  service_.FailBatches(grpc::Status::OK);
  MakeRuns(1);
  EXPECT_TRUE(PumpUntil(batcher, [&] { return batcher.denial().ok(); }));
  EXPECT_THAT(service_.batch_sizes(), ElementsAre(3, 3, 3, 1));  // At 0 s, 1 s and 2 s, and then.
  EXPECT_EQ(around_.signal.dropped(), 3U);
}

TEST_F(ReportBatcherTest, SeveralBatchesThatAreNotPermittedHoldUpTheOthersOnce) {
  ReportBatcher batcher(stub_.get(), "w1", &around_.signal,
                        {.denied = std::chrono::milliseconds(500)});
  batcher.SetConnected(true);
  service_.FailBatches({grpc::StatusCode::PERMISSION_DENIED, "not for you"});
  for (uint64_t i = 1; i <= 3; ++i) {
    MakeRuns(1);
    ASSERT_TRUE(PumpUntil(batcher, [&] { return around_.signal.dropped() == i; }));
  }
  EXPECT_THAT(SequencesSent(), ElementsAre(1, 1, 2, 3));
}

TEST_F(ReportBatcherTest, BatchThatIsGivenUpIsNotSentAgain) {
  ReportBatcher batcher(stub_.get(), "w1", &around_.signal, {.denied = {}});
  batcher.SetConnected(true);
  MakeRuns(1);
  ASSERT_TRUE(PumpUntil(batcher, [&] { return service_.batches().size() == 1; }));
  service_.FailBatches({grpc::StatusCode::PERMISSION_DENIED, "not for you"});
  MakeRuns(3);
  ASSERT_TRUE(PumpUntil(batcher, [&] { return around_.signal.dropped() == 3; }));
  service_.FailBatches(grpc::Status::OK);
  batcher.SetConnected(false);
  batcher.SetConnected(true);
  MakeRuns(1);
  ASSERT_TRUE(PumpUntil(batcher, [&] { return service_.batches().back().sequence() == 3; }));
  EXPECT_THAT(SequencesSent(), ElementsAre(1, 2, 1, 3));
  EXPECT_EQ(around_.signal.dropped(), 3U);
}

TEST_F(ReportBatcherTest, OutcomesThatAreNotPermittedCountOnceHoweverOftenTheyAreSent) {
  batcher_.SetConnected(true);
  service_.DenyOutcomes(2);
  MakeRuns(3);
  ASSERT_TRUE(PumpUntil([&] { return around_.signal.dropped() == 2; }));
  EXPECT_TRUE(batcher_.denial().ok());
  batcher_.SetConnected(false);
  batcher_.SetConnected(true);
  ASSERT_TRUE(PumpUntil([&] { return service_.batches().size() == 2; }));
  service_.DenyOutcomes(0);
  MakeRuns(1);  // It goes when the one before it is answered.
  ASSERT_TRUE(PumpUntil([&] { return service_.batches().size() == 3; }));
  EXPECT_THAT(SequencesSent(), ElementsAre(1, 1, 2));
  EXPECT_EQ(around_.signal.dropped(), 2U);
}

TEST_F(ReportBatcherTest, BatchOfAnUnknownWorkerIsNeverGivenUp) {
  ReportBatcher batcher(stub_.get(), "w1", &around_.signal, {.age = {}});
  batcher.SetConnected(true);
  service_.FailBatches({grpc::StatusCode::UNAUTHENTICATED, "who are you"});
  MakeRuns(3);
  ASSERT_TRUE(PumpUntil(batcher, [&] { return service_.batches().size() == 2; }));
  service_.FailBatches(grpc::Status::OK);
  ASSERT_TRUE(PumpUntil(batcher, [&] { return batcher.denial().ok(); }));
  EXPECT_THAT(service_.batch_sizes(), Each(3));
  EXPECT_EQ(around_.signal.dropped(), 0U);
}

TEST_F(ReportBatcherTest, AllThatIsKeptIsSentAgainInOrderToADaemonThatHasNotHadIt) {
  batcher_.SetConnected(true);
  for (size_t i = 1; i <= 4; ++i) {
    if (i == 4) service_.LoseBatches();  // Another one is there, unnoticed.
    MakeRuns(1);
    ASSERT_TRUE(PumpUntil([&] { return service_.batches().size() >= i; }));
  }
  ASSERT_TRUE(PumpUntil([&] { return service_.batches().size() == 8; }));
  EXPECT_THAT(SequencesSent(), ElementsAre(1, 2, 3, 4, 1, 2, 3, 4));
  EXPECT_THAT(PreviousSequencesSent(), ElementsAre(0, 1, 2, 3, 0, 1, 2, 3));
  EXPECT_EQ(around_.signal.dropped(), 0U);
}

TEST_F(ReportBatcherTest, FarewellWaitsUntilAllIsSentAgain) {
  EXPECT_THAT(SentAroundALoss({}), ElementsAre(1, 2, 1, 2));
}

TEST_F(ReportBatcherTest, WhatIsNotKeptAnyMoreIsNotWaitedFor) {
  constexpr auto kAge = std::chrono::milliseconds(50);
  EXPECT_THAT(SentAroundALoss({.age = kAge}, kAge), ElementsAre(1, 2));
}

TEST_F(ReportBatcherTest, WhatThereWasNoRoomToKeepIsNotWaitedFor) {
  EXPECT_THAT(SentAroundALoss({.runs = 0}), ElementsAre(1, 2));
}

TEST_F(ReportBatcherTest, BatchThatWasGivenUpIsNotWaitedFor) {
  ReportBatcher batcher(stub_.get(), "w1", &around_.signal, {.denied = {}});
  batcher.SetConnected(true);
  service_.FailBatches({grpc::StatusCode::PERMISSION_DENIED, "not for you"});
  MakeRuns(1);
  ASSERT_TRUE(PumpUntil(batcher, [&] { return around_.signal.dropped() == 1; }));
  service_.FailBatches(grpc::Status::OK);
  MakeRuns(1);
  ASSERT_TRUE(PumpUntil(batcher, [&] { return batcher.denial().ok(); }));
  EXPECT_THAT(SequencesSent(), ElementsAre(1, 2));
  EXPECT_THAT(PreviousSequencesSent(), ElementsAre(0, 0));
}

}  // namespace
}  // namespace breaker::internal
