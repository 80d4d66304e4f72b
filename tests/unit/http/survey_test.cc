// Which breakers a board and /metrics show, and in which order.

#include "server/survey.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/simulated_clock.h"

namespace breaker::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

BreakerStats Stats(State state, uint32_t successes = 0, uint32_t failures = 0,
                   const Key& key = Key("s", "o")) {
  BreakerStats stats;
  stats.key = key;
  stats.state = state;
  stats.window.successes = successes;
  stats.window.failures = failures;
  return stats;
}

BreakerStats Overridden(BreakerStats stats) {
  stats.override = Override();
  return stats;
}

// Both ways, for an order says of two breakers only one thing.
void ExpectWorse(const BreakerStats& worse, const BreakerStats& better) {
  EXPECT_TRUE(IsWorse(worse, better));
  EXPECT_FALSE(IsWorse(better, worse));
}

// ---------------------------------------------------------------------------------------------
// The order

TEST(SurveyOrderTest, OpenIsWorseThanHalfOpenIsWorseThanClosedWhateverElseTheyAre) {
  const BreakerStats open = Stats(State::kOpen);
  const BreakerStats half_open = Overridden(Stats(State::kHalfOpen, 0, 8));
  const BreakerStats closed = Overridden(Stats(State::kClosed, 0, 9));
  ExpectWorse(open, half_open);
  ExpectWorse(half_open, closed);
  ExpectWorse(open, closed);
}

TEST(SurveyOrderTest, OfOneStateTheOverriddenComeFirst) {
  for (const State state : {State::kClosed, State::kOpen, State::kHalfOpen}) {
    ExpectWorse(Overridden(Stats(state)), Stats(state, 0, 9));
  }
}

TEST(SurveyOrderTest, ThenTheHigherRateOfFailures) {
  ExpectWorse(Stats(State::kClosed, 1, 1), Stats(State::kClosed, 60, 40));
  ExpectWorse(Overridden(Stats(State::kOpen, 1, 1)), Overridden(Stats(State::kOpen, 60, 40)));
}

TEST(SurveyOrderTest, ThenTheMoreCalls) {
  ExpectWorse(Stats(State::kClosed, 2, 2), Stats(State::kClosed, 1, 1));
  ExpectWorse(Stats(State::kClosed, 1, 0), Stats(State::kClosed));
}

TEST(SurveyOrderTest, ThenTheNameServiceBeforeOperation) {
  ExpectWorse(Stats(State::kClosed, 1, 1, Key("a", "z")), Stats(State::kClosed, 1, 1, {"b", "a"}));
  ExpectWorse(Stats(State::kClosed, 1, 1, Key("a", "a")), Stats(State::kClosed, 1, 1, {"a", "b"}));
  EXPECT_FALSE(IsWorse(Stats(State::kClosed), Stats(State::kClosed)));
}

TEST(SurveyOrderTest, FailureRateIsOfTheWindowAndZeroWithoutCalls) {
  EXPECT_EQ(FailureRate(Stats(State::kClosed)), 0);
  EXPECT_EQ(FailureRate(Stats(State::kClosed, 3, 1)), 0.25);
  EXPECT_EQ(FailureRate(Stats(State::kClosed, 0, UINT32_MAX)), 1);
}

// ---------------------------------------------------------------------------------------------
// The search

TEST(SurveySearchTest, FindsAPartOfServiceSlashOperationInAnyCase) {
  const Key key("DynamoDB", "storeUserMessage");
  for (const char* part :
       {"", "dynamo", "DYNAMODB", "USERmess", "b/s", "/", "e", "dynamodb/storeusermessage"}) {
    EXPECT_TRUE(Matches(key, part)) << part;
  }
  for (const char* other : {"dynamo db", "db store", "storeUserMessages", "//"}) {
    EXPECT_FALSE(Matches(key, other)) << other;
  }
}

TEST(SurveySearchTest, LettersBeyondAsciiAreFoundAsTheyAre) {
  EXPECT_TRUE(Matches({"zahlung", "prüfen"}, "PRü"));
  EXPECT_FALSE(Matches({"zahlung", "prüfen"}, "pru"));
}

// ---------------------------------------------------------------------------------------------
// All of a registry

class SurveyTest : public ::testing::Test {
 protected:
  // Puts in a breaker with that many calls in its window.
  void Put(const Key& key, State state, uint32_t successes, uint32_t failures) {
    BreakerSnapshot snapshot;
    snapshot.key = key;
    snapshot.state = state;
    snapshot.opened_at = clock_.Now().wall;
    snapshot.monitoring_window = BuiltInPolicy()->monitoring_window;
    snapshot.window = {{clock_.Now().wall, {successes, failures, 0}}};
    ASSERT_TRUE(registry_.Restore(snapshot, clock_.Now()).ok());
  }

  Survey Take(size_t max_breakers, const std::string& search = "") {
    SurveyOptions options;
    options.max_breakers = max_breakers;
    options.search = search;
    return TakeSurvey(&registry_, options, clock_.Now(), &changes_);
  }
  static std::vector<std::string> Names(const Survey& survey) {
    std::vector<std::string> names;
    for (const BreakerStats& stats : survey.breakers) {
      names.push_back(absl::StrCat(stats.key.service, "/", stats.key.operation));
    }
    return names;
  }

  SimulatedClock clock_;
  Registry registry_{RegistryOptions()};
  Changes changes_;
};

TEST_F(SurveyTest, OfNoBreakersIsEmpty) {
  const Survey survey = Take(10);
  EXPECT_THAT(survey.breakers, IsEmpty());
  EXPECT_EQ(survey.total, 0u);
  EXPECT_EQ(survey.matched, 0u);
  EXPECT_EQ(survey.count(State::kClosed), 0u);
}

TEST_F(SurveyTest, WorstFirst) {
  Put({"s", "quiet"}, State::kClosed, 0, 0);
  Put({"s", "busy"}, State::kClosed, 5, 0);
  Put({"s", "failing"}, State::kClosed, 1, 1);
  Put({"s", "probed"}, State::kHalfOpen, 0, 1);
  Put({"s", "open"}, State::kOpen, 0, 1);
  Put({"s", "forced"}, State::kClosed, 5, 0);
  ASSERT_TRUE(registry_
                  .SetOverride({"s", "forced"}, {Override::Mode::kForcedClosed, "", "", {}},
                               clock_.Now(), &changes_)
                  .ok());

  EXPECT_THAT(Names(Take(10)),
              ElementsAre("s/open", "s/probed", "s/forced", "s/failing", "s/busy", "s/quiet"));
}

TEST_F(SurveyTest, OfManyTheWorstAreKeptAndAllAreCounted) {
  constexpr uint32_t kBreakers = 1000;
  for (uint32_t i = 0; i < kBreakers; ++i) {
    // Each at a rate of its own, i / 1000; the worst are spread over the whole registry.
    Put({"s", absl::StrCat("o", i)}, State::kClosed, kBreakers - i, i);
  }
  constexpr size_t kMax = 7;
  static_assert(kBreakers > 10 * (2 * kMax + 64));

  const Survey survey = Take(kMax);

  EXPECT_THAT(Names(survey),
              ElementsAre("s/o999", "s/o998", "s/o997", "s/o996", "s/o995", "s/o994", "s/o993"));
  EXPECT_EQ(survey.total, kBreakers);
  EXPECT_EQ(survey.matched, kBreakers);
  EXPECT_EQ(survey.count(State::kClosed), kBreakers);
}

TEST_F(SurveyTest, OfNoneAllAreCountedStill) {
  for (int i = 0; i < 200; ++i) Put({"s", absl::StrCat("o", i)}, State::kClosed, 1, 0);
  const Survey survey = Take(0);
  EXPECT_THAT(survey.breakers, IsEmpty());
  EXPECT_EQ(survey.total, 200u);
}

TEST_F(SurveyTest, WhatDoesNotMatchIsCountedButNotShown) {
  Put({"Pay", "charge"}, State::kOpen, 0, 1);
  Put({"Pay", "refund"}, State::kClosed, 1, 0);
  Put({"mail", "pay"}, State::kClosed, 0, 0);
  Put({"mail", "send"}, State::kOpen, 0, 9);
  Put({"mail", "bounce"}, State::kHalfOpen, 0, 9);

  const Survey survey = Take(2, "PAY");

  EXPECT_THAT(Names(survey), ElementsAre("Pay/charge", "Pay/refund"));
  EXPECT_EQ(survey.matched, 3u);
  EXPECT_EQ(survey.total, 5u);
  EXPECT_EQ(survey.count(State::kClosed), 2u);
  EXPECT_EQ(survey.count(State::kOpen), 2u);
  EXPECT_EQ(survey.count(State::kHalfOpen), 1u);
}

TEST_F(SurveyTest, TimeTakesItsCourseAndTheChangesAreGiven) {
  Put({"s", "o"}, State::kOpen, 0, 1);
  clock_.Advance(BuiltInPolicy()->recovery_timeout);

  SurveyOptions options;
  options.max_breakers = 1;
  options.transitions = 1;
  const Survey survey = TakeSurvey(&registry_, options, clock_.Now(), &changes_);

  EXPECT_EQ(survey.count(State::kHalfOpen), 1u);
  ASSERT_EQ(survey.breakers.size(), 1u);
  EXPECT_EQ(survey.breakers[0].recent_transitions.size(), 1u);
  ASSERT_EQ(changes_.size(), 1u);
  EXPECT_EQ(changes_[0].transition->to, State::kHalfOpen);
}

}  // namespace
}  // namespace breaker::server
