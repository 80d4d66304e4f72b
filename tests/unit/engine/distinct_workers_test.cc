#include "server/engine/distinct_workers.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/engine/limits.h"

namespace breaker::server {
namespace {

constexpr int kBuckets = SlidingWindow::kBuckets;

TEST(DistinctWorkersTest, CountsEachWorkerOnce) {
  DistinctWorkers workers;
  EXPECT_EQ(workers.Count(0), 0u);

  workers.Record("a", 0);
  workers.Record("b", 0);
  workers.Record("a", 3);

  EXPECT_EQ(workers.Count(3), 2u);
}

TEST(DistinctWorkersTest, AWorkerLeavesAWindowAfterItWasLastSeen) {
  DistinctWorkers workers;
  workers.Record("a", 5);
  workers.Record("b", 5);
  workers.Record("a", 10);

  EXPECT_EQ(workers.Count(5 + kBuckets - 1), 2u);
  EXPECT_EQ(workers.Count(5 + kBuckets), 1u);
  EXPECT_EQ(workers.Count(10 + kBuckets - 1), 1u);
  EXPECT_EQ(workers.Count(10 + kBuckets), 0u);
}

TEST(DistinctWorkersTest, AWorkerThatComesBackCountsAgain) {
  DistinctWorkers workers;
  workers.Record("a", 0);
  EXPECT_EQ(workers.Count(1000), 0u);

  workers.Record("a", 1000);

  EXPECT_EQ(workers.Count(1000), 1u);
  EXPECT_EQ(workers.Count(1000 + kBuckets), 0u);
}

TEST(DistinctWorkersTest, FollowsNoMoreThanTheLimit) {
  DistinctWorkers workers;

  for (uint32_t i = 0; i < kMaxTrackedWorkers + 50; ++i) workers.Record(absl::StrCat(i), 0);

  EXPECT_EQ(workers.Count(0), kMaxTrackedWorkers);
  EXPECT_EQ(workers.Save(0).size(), kMaxTrackedWorkers);
}

TEST(DistinctWorkersTest, AnIdentityCountsForNoMoreThanItsShare) {
  DistinctWorkers workers;
  const QuorumShare chat{.workers = 2};
  for (int i = 0; i < 2; ++i) workers.Record(absl::StrCat("chat/", i), 0, &chat);
  EXPECT_FALSE(chat.TakeExceeded());
  for (int i = 0; i < 50; ++i) workers.Record(absl::StrCat("chat/", i), 0, &chat);
  EXPECT_EQ(workers.Count(0), 2u);
  EXPECT_TRUE(chat.TakeExceeded());
  EXPECT_FALSE(chat.TakeExceeded()) << "told once";

  const QuorumShare chat_2{.workers = 2};
  const QuorumShare push{.workers = 1};
  workers.Record("chat-2/0", 0, &chat_2);
  workers.Record("push/0", 0, &push);
  workers.Record("push/1", 0, &push);
  EXPECT_EQ(workers.Count(0), 4u);
  EXPECT_FALSE(chat_2.TakeExceeded());
  EXPECT_TRUE(push.TakeExceeded());

  // Those that have left the window leave room for others.
  workers.Record("chat/0", kBuckets - 1, &chat);
  workers.Record("chat/7", kBuckets, &chat);
  EXPECT_EQ(workers.Count(kBuckets), 2u);
}

TEST(DistinctWorkersTest, WorkersThatComeBackDoNotPassTheLimit) {
  DistinctWorkers workers;
  for (uint32_t i = 0; i < 450; ++i) workers.Record(absl::StrCat("old", i), 0);
  for (uint32_t i = 0; i < 550; ++i) workers.Record(absl::StrCat("young", i), 10);
  for (uint32_t i = 0; i < 450; ++i) workers.Record(absl::StrCat("new", i), kBuckets);
  ASSERT_EQ(workers.Count(kBuckets), kMaxTrackedWorkers);

  for (uint32_t i = 0; i < 450; ++i) workers.Record(absl::StrCat("old", i), kBuckets);

  EXPECT_EQ(workers.Count(kBuckets), kMaxTrackedWorkers);
}

TEST(DistinctWorkersTest, ThereIsRoomAgainWhenTheWindowHasMovedOn) {
  DistinctWorkers workers;
  for (uint32_t i = 0; i < kMaxTrackedWorkers; ++i) workers.Record(absl::StrCat("old", i), 0);

  for (uint32_t i = 0; i < 10; ++i) workers.Record(absl::StrCat("new", i), kBuckets);

  EXPECT_EQ(workers.Count(kBuckets), 10u);
}

TEST(DistinctWorkersTest, SavesTheWorkersOfTheWindowOldestFirst) {
  DistinctWorkers workers;
  workers.Record("gone", 0);
  workers.Record("a", 1);
  workers.Record("b", 1);
  workers.Record("a", 7);

  EXPECT_EQ(workers.Save(kBuckets),
            (std::vector<std::pair<std::string, int64_t>>{{"b", 1}, {"a", 7}}));
}

}  // namespace
}  // namespace breaker::server
