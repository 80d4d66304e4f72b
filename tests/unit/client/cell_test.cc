#include "client/cpp/src/cell.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/messages.h"

namespace breaker::internal {
namespace {

using Kind = Cell::Answer::Kind;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::Text;

// A run in short: "3 SUCCESS of 7, 1 slow, label".
std::string Words(const OutcomeRun& run) {
  const char* const outcome = run.outcome == Outcome::kSuccess   ? "SUCCESS"
                              : run.outcome == Outcome::kFailure ? "FAILURE"
                                                                 : "IGNORED";
  std::string words =
      std::to_string(run.count) + " " + outcome + " of " + std::to_string(run.generation);
  if (run.slow_count > 0) words += ", " + std::to_string(run.slow_count) + " slow";
  if (!run.label.empty()) words += ", " + run.label;
  return words;
}

class CellTest : public ::testing::Test {
 protected:
  CellTest() { around_.trusted_until = now_ + seconds(100); }

  // Says `update` on the stream with that number.
  void Say(const std::string& update, uint64_t stream = 1) {
    cell_.Update(Text<v1::CircuitUpdate>(update), stream, now_);
  }
  bool AllowedAtOnce() { return cell_.AllowedAtOnce(now_, nullptr) != 0; }
  Cell::Answer Decide() { return cell_.Decide(now_, nullptr); }
  // The kind alone.
  Kind Ask() { return Decide().kind; }
  Cell::Answer DecideLocally() { return cell_.DecideLocally(now_, nullptr); }

  void Record(Outcome outcome, uint64_t generation = 1, const std::string& label = "",
              nanoseconds took = {}) {
    cell_.Record(generation, outcome, label, took);
  }
  std::vector<OutcomeRun> TakeRuns() {
    std::vector<OutcomeRun> runs;
    cell_.TakeRuns(10'000, &runs);
    return runs;
  }
  std::vector<std::string> Runs() {
    std::vector<std::string> words;
    for (const OutcomeRun& run : TakeRuns()) words.push_back(Words(run));
    return words;
  }

  SteadyTime now_ = std::chrono::steady_clock::now();
  Surroundings around_ = {.worker_id = "w1", .clock = {}, .signal = {}};
  Cell cell_{{"db", "query"}, 0, &around_};
};

// ---------------------------------------------------------------------------------------------
// Decisions

TEST_F(CellTest, UnknownIsForTheDaemonToDecide) {
  EXPECT_FALSE(AllowedAtOnce());
  EXPECT_EQ(Ask(), Kind::kAsk);
}

TEST_F(CellTest, ClosedIsAllowedAtOnceUnderItsGeneration) {
  Say("state: CLOSED generation: 7 ramp_fraction: 1");
  EXPECT_EQ(cell_.AllowedAtOnce(now_, nullptr), 7);
  EXPECT_EQ(Decide().ticket, 7);
}

TEST_F(CellTest, OpenIsRefusedUntilItIsWorthAsking) {
  Say("state: OPEN generation: 2 retry_after { seconds: 5 }");
  EXPECT_FALSE(AllowedAtOnce());
  now_ += seconds(2);
  const Cell::Answer answer = Decide();
  EXPECT_EQ(answer.kind, Kind::kRefused);
  EXPECT_EQ(answer.state, State::kOpen);
  EXPECT_EQ(answer.retry_after, absl::Seconds(3));
  now_ += seconds(3);
  EXPECT_EQ(Ask(), Kind::kAskAlone);
}

TEST_F(CellTest, OneAsksAtATime) {
  Say("state: OPEN generation: 2");
  EXPECT_EQ(Ask(), Kind::kAskAlone);
  EXPECT_EQ(Ask(), Kind::kRefused);
  EXPECT_GT(Decide().retry_after, absl::ZeroDuration());
  cell_.EndAsking();
  EXPECT_EQ(Ask(), Kind::kAskAlone);
}

TEST_F(CellTest, RefusalOfTheDaemonSaysWhenToAskAgain) {
  Say("state: OPEN generation: 2");
  cell_.Learn(
      Text<v1::AcquireResponse>("state: HALF_OPEN generation: 3 retry_after { seconds: 1 }"), now_,
      nullptr);
  EXPECT_EQ(Decide().state, State::kHalfOpen);
  EXPECT_EQ(Decide().retry_after, absl::Seconds(1));
}

TEST_F(CellTest, RefusalThatIsNewsClosesTheGate) {
  Say("state: CLOSED generation: 1");
  cell_.Learn(Text<v1::AcquireResponse>("state: OPEN generation: 2 retry_after { seconds: 1 }"),
              now_, nullptr);
  EXPECT_FALSE(AllowedAtOnce());
  EXPECT_EQ(Ask(), Kind::kRefused);
  Say("state: CLOSED generation: 1");  // It was under way.
  EXPECT_EQ(Ask(), Kind::kRefused);
}

TEST_F(CellTest, HalfOpenIsAskedAboutAtOnce) {
  Say("state: OPEN generation: 2 retry_after { seconds: 5 }");
  Say("state: HALF_OPEN generation: 3 retry_after { seconds: 1 }");
  EXPECT_EQ(Ask(), Kind::kAskAlone);
}

TEST_F(CellTest, OlderGenerationIsNoNews) {
  Say("state: OPEN generation: 4 retry_after { seconds: 5 }");
  Say("state: CLOSED generation: 3");
  EXPECT_EQ(Ask(), Kind::kRefused);
}

TEST_F(CellTest, FirstWordOfANewStreamCountsWhateverItsGeneration) {
  Say("state: OPEN generation: 4 retry_after { seconds: 5 }");
  Say("state: CLOSED generation: 1", /*stream=*/2);
  EXPECT_TRUE(AllowedAtOnce());
}

TEST_F(CellTest, RemovedIsUnknownAndToBeSubscribedAnew) {
  EXPECT_TRUE(cell_.BeginSubscription());
  EXPECT_FALSE(cell_.BeginSubscription());
  Say("state: CLOSED generation: 5");
  Say("removed: true");
  EXPECT_EQ(Ask(), Kind::kAsk);
  EXPECT_TRUE(cell_.BeginSubscription());
  Say("state: CLOSED generation: 1");
  EXPECT_TRUE(AllowedAtOnce());
}

TEST_F(CellTest, SilenceEndsTheTrust) {
  Say("state: CLOSED generation: 1");
  now_ = around_.trusted_until.load() - nanoseconds(1);
  EXPECT_TRUE(AllowedAtOnce());
  now_ += nanoseconds(1);
  EXPECT_FALSE(AllowedAtOnce());
  EXPECT_EQ(Ask(), Kind::kAsk);
}

TEST_F(CellTest, WhatANewStreamDoesNotConfirmIsDoubted) {
  Say("state: CLOSED generation: 1", 1);
  cell_.DistrustUnlessFrom(1);
  EXPECT_TRUE(AllowedAtOnce());
  cell_.DistrustUnlessFrom(2);
  EXPECT_FALSE(AllowedAtOnce());
  EXPECT_EQ(Ask(), Kind::kAsk);
  Say("state: CLOSED generation: 1", 2);
  EXPECT_TRUE(AllowedAtOnce());
}

TEST_F(CellTest, AnotherPolicyIsForTheDaemonToHear) {
  const Policy three = {.failure_threshold = 3};
  const Policy four = {.failure_threshold = 4};
  Say("state: CLOSED generation: 1");
  EXPECT_EQ(cell_.AllowedAtOnce(now_, &three), 0);
  EXPECT_EQ(cell_.Decide(now_, &three).kind, Kind::kAsk);
  cell_.Learn(Text<v1::AcquireResponse>("allowed: true state: CLOSED generation: 1"), now_, &three);
  const Policy same = three;
  EXPECT_NE(cell_.AllowedAtOnce(now_, &same), 0);
  EXPECT_NE(cell_.AllowedAtOnce(now_, nullptr), 0);
  EXPECT_EQ(cell_.AllowedAtOnce(now_, &four), 0);
}

TEST_F(CellTest, RampAdmitsAGrowingShare) {
  // Half of the minute is over.
  Say("state: CLOSED generation: 3 ramp_fraction: 0.55 policy { recovery_ramp { seconds: 60 } }");
  around_.trusted_until = now_ + seconds(1000);
  const auto share = [&] {
    int allowed = 0;
    for (int i = 0; i < 2000; ++i) {
      EXPECT_FALSE(AllowedAtOnce());
      allowed += Ask() == Kind::kAllowed ? 1 : 0;
    }
    return allowed / 2000.0;
  };
  EXPECT_NEAR(share(), 0.55, 0.06);
  now_ += seconds(15);
  EXPECT_NEAR(share(), 0.775, 0.06);
  now_ += seconds(15);
  EXPECT_EQ(Ask(), Kind::kAllowed);
  EXPECT_TRUE(AllowedAtOnce());
}

TEST_F(CellTest, ShadowRefusesNothing) {
  Say("state: OPEN generation: 2 retry_after { seconds: 5 } policy { shadow: true }");
  EXPECT_EQ(Ask(), Kind::kAllowed);
  EXPECT_TRUE(Decide().shadow);
}

TEST_F(CellTest, ForcedOpenRefusesUnderAShadowToo) {
  Say("state: OPEN generation: 2 retry_after { seconds: 5 } policy { shadow: true } "
      "override { mode: FORCED_OPEN }");
  EXPECT_EQ(Ask(), Kind::kRefused);
}

// ---------------------------------------------------------------------------------------------
// Outcomes

TEST_F(CellTest, OutcomesOfAThreadKeepTheirOrder) {
  Say("state: CLOSED generation: 1");
  for (int i = 0; i < 3; ++i) Record(Outcome::kSuccess);
  Record(Outcome::kFailure, 1, "IOError");
  Record(Outcome::kFailure, 1, "IOError");
  Record(Outcome::kFailure, 1, "TIMEOUT");
  Record(Outcome::kSuccess);
  Record(Outcome::kIgnored);
  EXPECT_THAT(Runs(), ElementsAre("3 SUCCESS of 1", "2 FAILURE of 1, IOError",
                                  "1 FAILURE of 1, TIMEOUT", "1 IGNORED of 1", "1 SUCCESS of 1"));
  EXPECT_THAT(Runs(), IsEmpty());
}

TEST_F(CellTest, SlowCallsAreMarked) {
  Say("state: CLOSED generation: 1 policy { expected_response_time { seconds: 2 } }");
  Record(Outcome::kSuccess, 1, "", seconds(2));
  Record(Outcome::kSuccess, 1, "", seconds(2) + nanoseconds(1));
  Record(Outcome::kFailure, 1, "", seconds(3));
  EXPECT_THAT(Runs(), ElementsAre("2 SUCCESS of 1, 1 slow", "1 FAILURE of 1, 1 slow"));
}

TEST_F(CellTest, SlowCallThatIsAFailureKeepsItsPlaceAndIsFlushed) {
  Say("state: CLOSED generation: 1 policy { slow_calls_are_failures: true }");
  Record(Outcome::kSuccess);
  EXPECT_FALSE(around_.signal.WaitUntil(now_));
  Record(Outcome::kSuccess, 1, "", seconds(3));
  EXPECT_TRUE(around_.signal.WaitUntil(now_));
  Record(Outcome::kFailure);
  Record(Outcome::kSuccess);
  EXPECT_THAT(Runs(), ElementsAre("2 SUCCESS of 1, 1 slow", "1 FAILURE of 1", "1 SUCCESS of 1"));
}

TEST_F(CellTest, FailureIsFlushedAtOnceAndSuccessesAreNot) {
  Say("state: CLOSED generation: 1");
  Record(Outcome::kSuccess);
  EXPECT_FALSE(around_.signal.WaitUntil(now_));
  Record(Outcome::kFailure);
  EXPECT_TRUE(around_.signal.WaitUntil(now_));
  EXPECT_FALSE(around_.signal.WaitUntil(now_));
}

TEST_F(CellTest, ManySuccessesAreFlushed) {
  Say("state: CLOSED generation: 1");
  for (int i = 0; i < 4095; ++i) Record(Outcome::kSuccess);
  EXPECT_FALSE(around_.signal.WaitUntil(now_));
  Record(Outcome::kSuccess);
  EXPECT_TRUE(around_.signal.WaitUntil(now_));
}

TEST_F(CellTest, CellWithSomethingToSendIsNotedOnce) {
  Say("state: CLOSED generation: 1");
  Record(Outcome::kSuccess);
  Record(Outcome::kFailure);
  EXPECT_EQ(around_.signal.TakeNoted(), &cell_);
  EXPECT_EQ(around_.signal.TakeNoted(), nullptr);
  Runs();
  Record(Outcome::kSuccess);
  EXPECT_EQ(around_.signal.TakeNoted(), &cell_);
}

TEST_F(CellTest, OutcomesBelongToTheGenerationThatAllowedThem) {
  Say("state: CLOSED generation: 1");
  Record(Outcome::kSuccess, 1);
  Say("state: CLOSED generation: 3");
  Record(Outcome::kSuccess, 3);
  Record(Outcome::kSuccess, 1);  // It took its time.
  Say("state: CLOSED generation: 5");
  Record(Outcome::kSuccess, 5);
  EXPECT_THAT(Runs(),
              ElementsAre("1 SUCCESS of 1", "1 SUCCESS of 3", "1 SUCCESS of 1", "1 SUCCESS of 5"));
}

TEST_F(CellTest, WhatIsNotTakenStays) {
  Say("state: CLOSED generation: 1");
  Record(Outcome::kFailure, 1, "a");
  Record(Outcome::kFailure, 1, "b");
  std::vector<OutcomeRun> runs;
  EXPECT_TRUE(cell_.TakeRuns(1, &runs));
  ASSERT_EQ(runs.size(), 1);
  EXPECT_EQ(Words(runs[0]), "1 FAILURE of 1, a");
  EXPECT_THAT(Runs(), ElementsAre("1 FAILURE of 1, b"));
}

TEST_F(CellTest, LongLabelIsCut) {
  Say("state: CLOSED generation: 1");
  Record(Outcome::kFailure, 1, std::string(1000, 'x'));
  EXPECT_EQ(TakeRuns().at(0).label.size(), 64);
}

TEST_F(CellTest, RunsThatWaitAreBoundedAndNoOutcomeIsLost) {
  Say("state: CLOSED generation: 1");
  constexpr int kRounds = 2000;
  for (int i = 0; i < kRounds; ++i) {
    Record(Outcome::kSuccess);
    Record(Outcome::kFailure, 1, std::to_string(i));
  }
  std::map<Outcome, uint64_t> counts;
  std::vector<OutcomeRun> runs;
  EXPECT_TRUE(cell_.TakeRuns(10'000, &runs));  // There is room now for the rest.
  EXPECT_EQ(runs.size(), Cell::kMaxRuns);
  EXPECT_FALSE(cell_.TakeRuns(10'000, &runs));
  for (const OutcomeRun& run : runs) counts[run.outcome] += run.count;
  EXPECT_EQ(counts[Outcome::kSuccess], kRounds);
  EXPECT_EQ(counts[Outcome::kFailure], kRounds);
  EXPECT_EQ(around_.signal.dropped(), 0);
}

TEST_F(CellTest, WhatFindsNoRoomInAllCellsIsCounted) {
  Say("state: CLOSED generation: 1");
  for (int i = 0; i < FlushSignal::kMaxWaitingRuns; ++i) ASSERT_TRUE(around_.signal.AdmitRun());
  Record(Outcome::kFailure);
  EXPECT_EQ(around_.signal.dropped(), 1);
  EXPECT_THAT(Runs(), IsEmpty());
}

TEST_F(CellTest, ThreadsLoseNoOutcome) {
  Say("state: CLOSED generation: 1");
  constexpr int kThreads = 12;  // more than stripes
  constexpr int kCalls = 20'000;
  std::atomic<int> running = kThreads;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int call = 0; call < kCalls; ++call) {
        const uint64_t generation = cell_.AllowedAtOnce(now_, nullptr);
        Record(call % 100 == 0 ? Outcome::kFailure : Outcome::kSuccess, generation);
      }
      --running;
    });
  }
  uint64_t counted = 0;
  const auto take = [&] {
    for (const OutcomeRun& run : TakeRuns()) counted += run.count;
  };
  for (int generation = 2; running > 0; ++generation) {
    Say("state: CLOSED generation: " + std::to_string(generation));
    take();
  }
  for (std::thread& thread : threads) thread.join();
  take();
  take();
  EXPECT_EQ(counted + around_.signal.dropped(), kThreads * kCalls);
  // So many generations may leave some without a run to join.
  EXPECT_LT(around_.signal.dropped(), kThreads * kCalls / 100);
}

// ---------------------------------------------------------------------------------------------
// Without the daemon

// The circuit of `policy` opens after one failure, for a minute.
constexpr char kSensitive[] =
    "policy { failure_threshold: 1 minimum_request_count: 1 recovery_timeout { seconds: 60 } }";

TEST_F(CellTest, LocalBreakerTripsUnderTheLastPolicy) {
  Say(std::string("state: CLOSED generation: 1 ") + kSensitive);
  const Cell::Answer answer = DecideLocally();
  EXPECT_EQ(answer.kind, Kind::kAllowed);
  cell_.RecordLocally(answer.ticket, Outcome::kFailure, "", {});
  EXPECT_EQ(DecideLocally().kind, Kind::kRefused);
  EXPECT_EQ(DecideLocally().state, State::kOpen);
  EXPECT_THAT(Runs(), IsEmpty());  // Nothing of that is told to the daemon.
}

TEST_F(CellTest, LocalBreakerOfAnUnknownKeyHasTheWorkersPolicy) {
  const Policy policy = {.failure_threshold = 1, .minimum_request_count = 1};
  const uint64_t ticket = cell_.DecideLocally(now_, &policy).ticket;
  cell_.RecordLocally(ticket, Outcome::kFailure, "", {});
  EXPECT_EQ(cell_.DecideLocally(now_, &policy).kind, Kind::kRefused);
}

TEST_F(CellTest, PolicyThatIsNotValidDoesNotReachTheLocalBreaker) {
  const Policy policy = {.monitoring_window = absl::ZeroDuration()};
  EXPECT_EQ(cell_.DecideLocally(now_, &policy).kind, Kind::kAllowed);
}

TEST_F(CellTest, KnownOpenHoldsForItsTimeAndThenProbesLocally) {
  Say(std::string("state: OPEN generation: 2 retry_after { seconds: 5 } ") + kSensitive);
  now_ += seconds(4);
  EXPECT_EQ(DecideLocally().kind, Kind::kRefused);
  EXPECT_EQ(DecideLocally().retry_after, absl::Seconds(1));
  now_ += seconds(1);
  const Cell::Answer probe = DecideLocally();
  EXPECT_EQ(probe.kind, Kind::kAllowed);
  EXPECT_TRUE(probe.probe);
  EXPECT_EQ(DecideLocally().kind, Kind::kRefused);  // One probe at a time.
  cell_.RecordLocally(probe.ticket, Outcome::kSuccess, "", {});
  EXPECT_EQ(DecideLocally().kind, Kind::kAllowed);
  EXPECT_EQ(DecideLocally().state, State::kClosed);
}

TEST_F(CellTest, KnownHalfOpenProbesLocally) {
  Say("state: HALF_OPEN generation: 3");
  EXPECT_TRUE(DecideLocally().probe);
}

TEST_F(CellTest, KnownShadowHoldsLocally) {
  Say("state: OPEN generation: 2 retry_after { seconds: 5 } policy { shadow: true }");
  EXPECT_TRUE(DecideLocally().shadow);
}

TEST_F(CellTest, KnownOverridesHoldLocally) {
  Say("state: OPEN generation: 2 retry_after { seconds: 1 } override { mode: FORCED_OPEN }");
  now_ += seconds(50);
  EXPECT_EQ(DecideLocally().kind, Kind::kRefused);
  Say(std::string("state: CLOSED generation: 3 override { mode: FORCED_CLOSED } ") + kSensitive);
  for (int i = 0; i < 3; ++i) {
    const Cell::Answer answer = DecideLocally();
    EXPECT_EQ(answer.kind, Kind::kAllowed);
    cell_.RecordLocally(answer.ticket, Outcome::kFailure, "", {});
  }
}

TEST_F(CellTest, LocalBreakerDecidesUntilTheStreamSpeaks) {
  Say(std::string("state: CLOSED generation: 1 ") + kSensitive);
  cell_.RecordLocally(DecideLocally().ticket, Outcome::kFailure, "", {});
  EXPECT_FALSE(AllowedAtOnce());  // though trusted
  EXPECT_EQ(Ask(), Kind::kAsk);
  Say(std::string("state: CLOSED generation: 1 ") + kSensitive, /*stream=*/2);
  EXPECT_TRUE(AllowedAtOnce());
  EXPECT_EQ(DecideLocally().kind, Kind::kAllowed);  // What it had seen is forgotten.
}

TEST_F(CellTest, LocalBreakerDecidesUntilTheDaemonAnswers) {
  Say(std::string("state: CLOSED generation: 1 ") + kSensitive);
  cell_.RecordLocally(DecideLocally().ticket, Outcome::kFailure, "", {});
  cell_.Learn(Text<v1::AcquireResponse>("allowed: true state: CLOSED generation: 1"), now_,
              nullptr);
  EXPECT_TRUE(AllowedAtOnce());
}

TEST_F(CellTest, LateOutcomeOfALocalBreakerIsForgotten) {
  Say(std::string("state: CLOSED generation: 1 ") + kSensitive);
  const uint64_t ticket = DecideLocally().ticket;
  Say("state: CLOSED generation: 1", /*stream=*/2);
  cell_.RecordLocally(ticket, Outcome::kFailure, "", {});
  EXPECT_TRUE(AllowedAtOnce());
  EXPECT_THAT(Runs(), IsEmpty());
}

// Mode::kRemote has no stream.
TEST_F(CellTest, AnswersOfTheDaemonAloneMakeAnOpenCircuitHoldLocally) {
  cell_.Learn(Text<v1::AcquireResponse>("allowed: true state: CLOSED generation: 1"), now_,
              nullptr);
  EXPECT_EQ(Ask(), Kind::kAsk);
  cell_.Learn(Text<v1::AcquireResponse>("state: OPEN generation: 2 retry_after { seconds: 5 }"),
              now_, nullptr);
  EXPECT_EQ(Ask(), Kind::kAsk);
  EXPECT_EQ(DecideLocally().kind, Kind::kRefused);
  now_ += seconds(5);
  EXPECT_TRUE(DecideLocally().probe);
}

}  // namespace
}  // namespace breaker::internal
