#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "server/engine/registry.h"
#include "tests/support/simulated_clock.h"
#include "tests/support/transitions_in.h"

// What operators, listings and the store ask of a Registry.
namespace breaker::server {
namespace {

const Key kCharge("payments", "charge");

class RegistryOperatorsTest : public testing::Test {
 protected:
  void Call(const Key& key, Outcome outcome = Outcome::kSuccess) {
    registry_.Report(key, {"w1", 0, outcome}, clock_.Now(), &changes_).IgnoreError();
  }
  Decision Acquire(const Key& key, const Policy* policy = nullptr) {
    return *registry_.Acquire(key, "w1", policy, clock_.Now(), &changes_);
  }
  BreakerStats Stats(const Key& key) { return *registry_.GetStats(key, clock_.Now(), &changes_); }
  void SetPolicy(const Key& key, uint32_t failure_threshold) {
    registry_.SetPolicy(key, Threshold(failure_threshold), clock_.Now(), &changes_);
  }
  static Policy Threshold(uint32_t failure_threshold) {
    Policy policy;
    policy.failure_threshold = failure_threshold;
    policy.minimum_request_count = 1;
    return policy;
  }
  Registry::Page List(absl::string_view service, size_t count,
                      const std::optional<Key>& after = std::nullopt) {
    return registry_.ListStats(
        service, [](const Key&, State) { return true; }, count, after, clock_.Now(), &changes_);
  }
  static std::vector<Key> Keys(const Registry::Page& page) {
    std::vector<Key> keys;
    for (const BreakerStats& stats : page.stats) keys.push_back(stats.key);
    return keys;
  }
  // The dirty keys, in order, each once.
  std::vector<Key> Dirty() {
    std::vector<Key> keys = registry_.TakeDirty();
    std::sort(keys.begin(), keys.end());
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    return keys;
  }

  SimulatedClock clock_;
  Registry registry_{RegistryOptions()};
  Changes changes_;
};

TEST_F(RegistryOperatorsTest, APolicyTakesEffectAtOnceOnAllThatItMatches) {
  const Key refund("payments", "refund"), place("orders", "place");
  for (const Key& key : {kCharge, refund, place}) Call(key);

  SetPolicy(Key("*", "*"), 11);
  SetPolicy(Key("payments", "*"), 12);
  SetPolicy(kCharge, 13);

  EXPECT_EQ(Stats(kCharge).policy->failure_threshold, 13u);
  EXPECT_EQ(Stats(refund).policy->failure_threshold, 12u);
  EXPECT_EQ(Stats(place).policy->failure_threshold, 11u);
  EXPECT_EQ(Stats(kCharge).window.successes, 1u);
  EXPECT_TRUE(TransitionsIn(changes_).empty());
  EXPECT_TRUE(registry_.DeletePolicy(kCharge, clock_.Now(), &changes_).ok());
  EXPECT_EQ(Stats(kCharge).policy->failure_threshold, 12u);
  EXPECT_EQ(registry_.DeletePolicy(kCharge, clock_.Now(), &changes_).message(),
            "no policy is set for payments/charge by SetPolicy");
}

TEST_F(RegistryOperatorsTest, APolicyAppliesToBreakersThatComeLater) {
  SetPolicy(Key("payments", "*"), 1);

  Call(kCharge, Outcome::kFailure);

  EXPECT_EQ(Stats(kCharge).state, State::kOpen);
  EXPECT_EQ(Stats(kCharge).policy_source, PolicySource::kOperator);
}

TEST_F(RegistryOperatorsTest, TheLatestPolicyOfAWorkerCounts) {
  const Policy first = Threshold(7), second = Threshold(8);
  Acquire(kCharge, &first);
  EXPECT_EQ(*Stats(kCharge).policy, first);
  EXPECT_EQ(Stats(kCharge).policy_source, PolicySource::kWorker);

  Acquire(kCharge, &second);
  EXPECT_EQ(*Stats(kCharge).policy, second);
  Acquire(kCharge);  // bringing none takes none away

  EXPECT_EQ(*Stats(kCharge).policy, second);
  EXPECT_EQ(Stats(kCharge).in_flight, 3u);
}

TEST_F(RegistryOperatorsTest, AWorkersPolicyWaitsBehindAnOperators) {
  const Policy brought = Threshold(7);
  SetPolicy(kCharge, 9);
  Acquire(kCharge, &brought);
  EXPECT_EQ(Stats(kCharge).policy->failure_threshold, 9u);

  registry_.DeletePolicy(kCharge, clock_.Now(), &changes_).IgnoreError();

  EXPECT_EQ(*Stats(kCharge).policy, brought);
}

TEST_F(RegistryOperatorsTest, JoiningWithAPolicyOrAskingNeverMovesAnOpenBreaker) {
  const Policy policy = Threshold(1);
  Acquire(kCharge, &policy);
  Call(kCharge, Outcome::kFailure);
  const BreakerStats before = Stats(kCharge);
  clock_.Advance(absl::Seconds(10));

  const Policy other = Threshold(3);
  Acquire(kCharge, &other);
  Acquire(kCharge, &policy);

  EXPECT_EQ(Stats(kCharge).next_attempt_time, before.next_attempt_time);
  EXPECT_EQ(Stats(kCharge).generation, before.generation);
}

TEST_F(RegistryOperatorsTest, OverridesAndResetAnswerWithStats) {
  Override override;
  override.actor = "ann";

  EXPECT_EQ(registry_.SetOverride(kCharge, override, clock_.Now(), &changes_)->state, State::kOpen);
  EXPECT_EQ(registry_.ClearOverride(kCharge, clock_.Now(), &changes_)->state, State::kClosed);
  EXPECT_EQ(registry_.Reset(kCharge, clock_.Now(), &changes_)->generation, 4u);

  ASSERT_EQ(TransitionsIn(changes_).size(), 3u);
  EXPECT_EQ(TransitionsIn(changes_)[0].transition.cause, Cause::kOverrideSet);
  EXPECT_EQ(TransitionsIn(changes_)[1].transition.cause, Cause::kOverrideCleared);
  EXPECT_EQ(TransitionsIn(changes_)[2].transition.cause, Cause::kReset);
}

TEST_F(RegistryOperatorsTest, NothingToActOnIsNotFound) {
  EXPECT_EQ(registry_.Reset(kCharge, clock_.Now(), &changes_).status().message(),
            "no breaker payments/charge");
  EXPECT_EQ(registry_.ClearOverride(kCharge, clock_.Now(), &changes_).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(registry_.Delete(kCharge, &changes_).code(), absl::StatusCode::kNotFound);
  Call(kCharge);

  EXPECT_EQ(registry_.ClearOverride(kCharge, clock_.Now(), &changes_).status().message(),
            "breaker payments/charge has no override");
}

TEST_F(RegistryOperatorsTest, DeleteForgetsStateAndHistory) {
  SetPolicy(kCharge, 1);
  Call(kCharge, Outcome::kFailure);

  EXPECT_TRUE(registry_.Delete(kCharge, &changes_).ok());

  EXPECT_EQ(registry_.size(), 0u);
  EXPECT_TRUE(Acquire(kCharge).allowed);
  EXPECT_EQ(Stats(kCharge).generation, 1u);
  EXPECT_EQ(Stats(kCharge).lifetime, LifetimeCounts{});
}

TEST_F(RegistryOperatorsTest, ListsByServiceThenOperation) {
  for (const Key& key : {Key("b", "2"), Key("a", "z"), Key("b", "1"), Key("a", "a"), Key("ab", "x"),
                         Key("a", "B")}) {
    Call(key);
  }

  EXPECT_EQ(
      Keys(List("", 10)),
      (std::vector<Key>{{"a", "B"}, {"a", "a"}, {"a", "z"}, {"ab", "x"}, {"b", "1"}, {"b", "2"}}));
  EXPECT_EQ(Keys(List("a", 10)), (std::vector<Key>{{"a", "B"}, {"a", "a"}, {"a", "z"}}));
  EXPECT_TRUE(List("c", 10).stats.empty());
}

TEST_F(RegistryOperatorsTest, PagesEndExactly) {
  for (const char* operation : {"1", "2", "3", "4"}) Call(Key("s", operation));

  const Registry::Page first = List("s", 2);
  const Registry::Page second = List("s", 2, first.next);

  EXPECT_EQ(Keys(first), (std::vector<Key>{{"s", "1"}, {"s", "2"}}));
  EXPECT_EQ(first.next, Key("s", "2"));
  EXPECT_EQ(Keys(second), (std::vector<Key>{{"s", "3"}, {"s", "4"}}));
  EXPECT_FALSE(second.next.has_value());
}

TEST_F(RegistryOperatorsTest, PagesAreStableWhileBreakersComeAndGo) {
  for (const char* operation : {"b", "d", "f", "h"}) Call(Key("s", operation));
  const Registry::Page first = List("", 2);

  registry_.Delete(Key("s", "d"), &changes_).IgnoreError();  // the one that the page ended with
  Call(Key("s", "a"));
  Call(Key("s", "e"));
  const Registry::Page second = List("", 10, first.next);

  EXPECT_EQ(Keys(second), (std::vector<Key>{{"s", "e"}, {"s", "f"}, {"s", "h"}}));
}

TEST_F(RegistryOperatorsTest, ListsOnlyWantedStatesAndFillsPagesWithThem) {
  for (int i = 0; i < 1000; ++i) {
    const Key key("s", absl::StrCat(1000 + i));
    Call(key);
    if (i % 100 != 50) continue;
    registry_.SetOverride(key, Override(), clock_.Now(), &changes_).IgnoreError();
  }
  const auto open = [](const Key&, State state) { return state == State::kOpen; };

  const Registry::Page first =
      registry_.ListStats("", open, 6, std::nullopt, clock_.Now(), &changes_);
  const Registry::Page second =
      registry_.ListStats("", open, 6, first.next, clock_.Now(), &changes_);

  EXPECT_EQ(first.stats.size(), 6u);
  EXPECT_EQ(second.stats.size(), 4u);
  EXPECT_EQ(second.stats.back().key, Key("s", "1950"));
  EXPECT_FALSE(second.next.has_value());
}

TEST_F(RegistryOperatorsTest, ListingSeesStatesAsOfNow) {
  SetPolicy(kCharge, 1);
  Call(kCharge, Outcome::kFailure);
  clock_.Advance(absl::Seconds(30));

  EXPECT_EQ(List("", 1).stats.at(0).state, State::kHalfOpen);
}

TEST_F(RegistryOperatorsTest, WhatChangedIsDirtyOnce) {
  Call(kCharge);
  EXPECT_EQ(Dirty(), std::vector<Key>{kCharge});
  EXPECT_TRUE(Dirty().empty());
  Call(Key("orders", "place"));
  Call(kCharge);

  EXPECT_EQ(Dirty(), (std::vector<Key>{{"orders", "place"}, kCharge}));
}

TEST_F(RegistryOperatorsTest, AskingMakesNothingDirty) {
  Call(kCharge);
  Dirty();

  Stats(kCharge);
  List("", 10);
  registry_.Tick(clock_.Now(), &changes_);
  registry_.Report(kCharge, {"w1", 12345, Outcome::kFailure}, clock_.Now(), &changes_)
      .IgnoreError();

  EXPECT_TRUE(Dirty().empty());
}

TEST_F(RegistryOperatorsTest, EveryCounterThatMovesIsDirty) {
  Acquire(kCharge);
  Dirty();
  clock_.Advance(absl::Seconds(30));
  registry_.Tick(clock_.Now(), &changes_);  // abandons
  EXPECT_EQ(Dirty(), std::vector<Key>{kCharge});
  Acquire(kCharge);
  Dirty();
  clock_.Advance(absl::Seconds(30));
  Stats(kCharge);  // abandons as well
  EXPECT_EQ(Dirty(), std::vector<Key>{kCharge});
  registry_.SetOverride(kCharge, Override(), clock_.Now(), &changes_).IgnoreError();
  EXPECT_EQ(Dirty(), std::vector<Key>{kCharge});
  Acquire(kCharge);  // rejects
  EXPECT_EQ(Dirty(), std::vector<Key>{kCharge});
  Call(kCharge);  // stale

  EXPECT_EQ(Dirty(), std::vector<Key>{kCharge});
}

TEST_F(RegistryOperatorsTest, AWorkersNewPolicyIsDirty) {
  Acquire(kCharge);
  Dirty();
  const Policy brought = Threshold(7);

  Acquire(kCharge, &brought);
  EXPECT_EQ(Dirty(), std::vector<Key>{kCharge});

  EXPECT_EQ(registry_.Save(kCharge, clock_.Now())->worker_policy, brought);
}

TEST_F(RegistryOperatorsTest, ADeletedBreakerIsDirtyAndSavesNothing) {
  Call(kCharge);
  Dirty();

  registry_.Delete(kCharge, &changes_).IgnoreError();

  EXPECT_EQ(Dirty(), std::vector<Key>{kCharge});
  EXPECT_FALSE(registry_.Save(kCharge, clock_.Now()).has_value());
}

TEST_F(RegistryOperatorsTest, ARestoredBreakerGoesOnAndIsNotDirty) {
  SetPolicy(kCharge, 1);
  Call(kCharge, Outcome::kFailure);
  const BreakerSnapshot saved = *registry_.Save(kCharge, clock_.Now());
  Registry other{RegistryOptions()};
  other.SetPolicy(kCharge, Threshold(1), clock_.Now(), &changes_);
  changes_.clear();

  ASSERT_TRUE(other.Restore(saved, clock_.Now()).ok());

  EXPECT_TRUE(other.TakeDirty().empty());
  EXPECT_EQ(other.GetStats(kCharge, clock_.Now(), &changes_)->state, State::kOpen);
  clock_.Advance(absl::Seconds(30));
  other.Tick(clock_.Now(), &changes_);
  ASSERT_EQ(TransitionsIn(changes_).size(), 1u);
  EXPECT_EQ(TransitionsIn(changes_)[0].transition.to, State::kHalfOpen);
}

TEST_F(RegistryOperatorsTest, RestoringOverALivingBreakerChangesNothing) {
  Call(kCharge);
  BreakerSnapshot saved = *registry_.Save(kCharge, clock_.Now());
  saved.generation = 99;

  EXPECT_TRUE(registry_.Restore(saved, clock_.Now()).ok());

  EXPECT_EQ(Stats(kCharge).generation, 1u);
}

TEST_F(RegistryOperatorsTest, ARestoredBreakerHasTheWorkersPolicy) {
  const Policy brought = Threshold(7);
  Acquire(kCharge, &brought);
  const BreakerSnapshot saved = *registry_.Save(kCharge, clock_.Now());
  Registry other{RegistryOptions()};

  ASSERT_TRUE(other.Restore(saved, clock_.Now()).ok());

  const BreakerStats stats = *other.GetStats(kCharge, clock_.Now(), &changes_);
  EXPECT_EQ(*stats.policy, brought);
  EXPECT_EQ(stats.policy_source, PolicySource::kWorker);
}

}  // namespace
}  // namespace breaker::server
