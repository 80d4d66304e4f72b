#include "server/rpc/new_breaker_limits.h"

#include <prometheus/registry.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/registry.h"
#include "tests/support/simulated_clock.h"

namespace breaker::server {
namespace {

using testing::HasSubstr;

struct Someone : Creator {
  Someone(std::string from, std::string worker) : from_(std::move(from)), worker_(worker) {}
  absl::string_view worker_id() const override { return worker_; }
  std::string source() const override { return from_; }

  const std::string from_;
  const std::string worker_;
};

class NewBreakerLimitsTest : public testing::Test {
 protected:
  static constexpr size_t kAMinute = 10;
  static constexpr size_t kMany = 1'000'000;

  absl::StatusOr<Account> Admit(const std::string& source, const std::string& worker,
                                size_t free = kMany) {
    return limits_.Admit(Someone(source, worker), KeyView{"s", "o"}, free, clock_.Now());
  }
  // How many more the worker may create right now.
  int Left(const std::string& source, const std::string& worker) {
    int admitted = 0;
    while (admitted < 1000 && Admit(source, worker).ok()) ++admitted;
    return admitted;
  }

  SimulatedClock clock_;
  prometheus::Registry measured_;
  LimitRefusals refusals_{&measured_, &clock_};
  NewBreakerLimits limits_{{kAMinute, 100}, &refusals_};
};

TEST_F(NewBreakerLimitsTest, AWorkerMayCreateSoManyAMinute) {
  EXPECT_EQ(Left("host", "w1"), 10);
  const absl::Status refused = Admit("host", "w1").status();
  EXPECT_TRUE(absl::IsResourceExhausted(refused));
  EXPECT_EQ(refused.message(),
            "cannot create breaker s/o: worker \"w1\" has created 10 within a minute, which is "
            "--max_new_breakers_per_minute");
}

TEST_F(NewBreakerLimitsTest, TheAllowanceGrowsBackOverAMinuteAndNoFurther) {
  Left("host", "w1");
  clock_.Advance(absl::Seconds(5));
  EXPECT_EQ(Left("host", "w1"), 0);
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(Left("host", "w1"), 1);
  clock_.Advance(absl::Hours(1));
  EXPECT_EQ(Left("host", "w1"), 10);
}

TEST_F(NewBreakerLimitsTest, OneWorkerTakesNothingFromAnotherNorFromItsNamesakeElsewhere) {
  Left("host", "w1");
  EXPECT_EQ(Left("host", "w2"), 10);
  EXPECT_EQ(Left("other host", "w1"), 10);
}

TEST_F(NewBreakerLimitsTest, ZeroIsNoLimit) {
  NewBreakerLimits limits({0, 100}, &refusals_);
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_TRUE(limits.Admit(Someone("host", "w1"), KeyView{"s", "o"}, kMany, clock_.Now()).ok());
  }
}

TEST_F(NewBreakerLimitsTest, InventedWorkersShareWhatIsLeftOfTheTableAndItIsClearedInTime) {
  for (size_t i = 0; i < NewBreakerLimits::kMaxWorkers; ++i) {
    ASSERT_TRUE(Admit("host", absl::StrCat("invented-", i)).ok());
  }
  EXPECT_EQ(limits_.workers(), NewBreakerLimits::kMaxWorkers);
  EXPECT_EQ(Left("host", "one more") + Left("host", "another"), 10) << "of both together";
  EXPECT_EQ(limits_.workers(), NewBreakerLimits::kMaxWorkers);

  clock_.Advance(absl::Minutes(1));
  EXPECT_EQ(Left("host", "one more"), 10);
  EXPECT_EQ(Left("host", "another"), 10);
  EXPECT_LE(limits_.workers(), 2u);
}

TEST_F(NewBreakerLimitsTest, ASourceHasNoMoreThanIsLeftToOthers) {
  ASSERT_TRUE(Admit("host", "w1", 3).ok());
  ASSERT_TRUE(Admit("host", "w2", 2).ok());
  const absl::Status refused = Admit("host", "w3", 2).status();
  EXPECT_TRUE(absl::IsResourceExhausted(refused));
  EXPECT_EQ(refused.message(),
            "cannot create breaker s/o: 2 are of host, which is as many as are left to all others "
            "of --max_breakers (100)");
  EXPECT_TRUE(Admit("other host", "w1", 2).ok());
}

TEST_F(NewBreakerLimitsTest, ABreakerThatIsGoneIsOnNobodysAccount) {
  const Account account = *Admit("host", "w1", 1);
  EXPECT_FALSE(Admit("host", "w1", 1).ok());
  limits_.Gone(account);
  EXPECT_EQ(limits_.sources(), 0u);
  EXPECT_TRUE(Admit("host", "w1", 1).ok());
  EXPECT_EQ(*Admit("other host", "w1"), account + 1) << "accounts are used again";
}

// Through the registry, which knows how much is free.
class ShareTest : public testing::Test {
 protected:
  // How many breakers the source can create.
  int Fill(const std::string& source) {
    const Someone creator(source, "w");
    int created = 0;
    while (created < 1000) {
      const Key key("service", absl::StrCat(source, created));
      const absl::StatusOr<Decision> decision =
          registry_.Acquire(key, "w", nullptr, clock_.Now(), &changes_, &creator);
      if (!decision.ok()) {
        refused_ = std::string(decision.status().message());
        return created;
      }
      ++created;
    }
    return created;
  }

  SimulatedClock clock_;
  prometheus::Registry measured_;
  LimitRefusals refusals_{&measured_, &clock_};
  NewBreakerLimits limits_{{0, 900}, &refusals_};
  Registry registry_{[this] {
    RegistryOptions options;
    options.max_breakers = 900;
    options.idle_ttl = absl::Hours(1);
    options.admission = &limits_;
    return options;
  }()};
  Changes changes_;
  std::string refused_;
};

TEST_F(ShareTest, OneSourceTakesHalfAndThereIsAlwaysRoomForTheNext) {
  EXPECT_EQ(Fill("a"), 450);
  EXPECT_THAT(refused_, HasSubstr("450 are of a"));
  EXPECT_EQ(Fill("b"), 225);
  EXPECT_EQ(Fill("c"), 113);
  EXPECT_EQ(Fill("d"), 56);
}

TEST_F(ShareTest, WhatIsEvictedOrDeletedMayBeCreatedAgain) {
  EXPECT_EQ(Fill("a"), 450);
  ASSERT_TRUE(registry_.Delete(KeyView{"service", "a0"}, &changes_).ok());
  const Someone creator("a", "w");
  EXPECT_TRUE(
      registry_.Acquire(KeyView{"service", "a0"}, "w", nullptr, clock_.Now(), &changes_, &creator)
          .ok());
  clock_.Advance(absl::Hours(2));
  registry_.Tick(clock_.Now(), &changes_);
  EXPECT_EQ(registry_.size(), 0u);
  EXPECT_EQ(limits_.sources(), 0u);
  EXPECT_EQ(Fill("a"), 450);
}

TEST_F(ShareTest, OperatorsAreNotAsked) {
  Fill("a");
  Override forced;
  EXPECT_TRUE(registry_.SetOverride(KeyView{"s", "o"}, forced, clock_.Now(), &changes_).ok());
}

TEST_F(ShareTest, OutcomesOfABreakerThatMayNotBeCreatedAreLeftOutOfABatch) {
  Fill("a");
  OutcomeRun run;
  run.worker_id = "w";
  std::vector<KeyedRun> runs = {KeyedRun(KeyView{"service", "a0"}, run),
                                KeyedRun(KeyView{"service", "new"}, run)};
  const Someone creator("a", "w");
  const BatchResult result =
      *registry_.ReportBatch({1, 1}, runs, clock_.Now(), &changes_, &creator);
  EXPECT_EQ(result.counted, 1u);
  EXPECT_EQ(result.stale, 0u);
}

}  // namespace
}  // namespace breaker::server
