#include "server/engine/sliding_window.h"

#include <cstdint>
#include <limits>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace breaker {
namespace {

constexpr CallCounts kSuccess{1, 0, 0};
constexpr CallCounts kFailure{0, 1, 0};
constexpr uint32_t kMax = std::numeric_limits<uint32_t>::max();

// A window of 20 buckets of a second, and the clock that moves it.
class SlidingWindowTest : public testing::Test {
 protected:
  void Pass(absl::Duration time) {
    now_ = now_ + time;
    window_.Advance(now_);
  }
  void Record(const CallCounts& counts) { window_.Record(counts, now_); }

  MonotonicTime now_ = MonotonicTime::FromNanos(5'000'000'000);
  SlidingWindow window_{absl::Seconds(20)};
};

TEST_F(SlidingWindowTest, StartsEmpty) {
  Pass(absl::Hours(1));

  EXPECT_EQ(window_.counts(), CallCounts{});
  EXPECT_TRUE(window_.Save().empty());
}

TEST_F(SlidingWindowTest, SumsWhatIsRecorded) {
  Record({2, 3, 1});
  Pass(absl::Seconds(5));
  Record({10, 20, 5});

  EXPECT_EQ(window_.counts(), (CallCounts{12, 23, 6}));
  EXPECT_EQ(window_.counts().total(), 35u);
}

TEST_F(SlidingWindowTest, ACallAtTheStartOfABucketStaysForTheWholeWindow) {
  Record(kSuccess);

  Pass(absl::Seconds(20) - absl::Nanoseconds(1));
  EXPECT_EQ(window_.counts(), kSuccess);
  Pass(absl::Nanoseconds(1));

  EXPECT_EQ(window_.counts(), CallCounts{});
}

TEST_F(SlidingWindowTest, ACallAtTheEndOfABucketStaysForTheWindowLessOneBucket) {
  Record(kSuccess);
  Pass(absl::Seconds(1) - absl::Nanoseconds(1));
  Record(kFailure);

  Pass(absl::Seconds(19));
  EXPECT_EQ(window_.counts(), (CallCounts{1, 1, 0}));
  Pass(absl::Nanoseconds(1));

  EXPECT_EQ(window_.counts(), CallCounts{});
}

TEST_F(SlidingWindowTest, SlidesBucketByBucket) {
  for (int i = 0; i < 20; ++i) {
    Record(kFailure);
    Pass(absl::Seconds(1));
  }

  for (uint32_t left = 19; left > 0; --left) {
    EXPECT_EQ(window_.counts().failures, left);
    Pass(absl::Seconds(1));
  }
  EXPECT_EQ(window_.counts().failures, 0u);
}

TEST_F(SlidingWindowTest, AGapLongerThanTheWindowEmptiesItAndItGoesOn) {
  Record(kFailure);
  Pass(absl::Seconds(1007.5));
  Record(kSuccess);

  EXPECT_EQ(window_.counts(), kSuccess);
  Pass(absl::Seconds(19.4));
  EXPECT_EQ(window_.counts(), kSuccess);
  Pass(absl::Seconds(0.6));

  EXPECT_EQ(window_.counts(), CallCounts{});
}

TEST_F(SlidingWindowTest, AnEarlierInstantMovesNothing) {
  Record(kSuccess);
  Pass(absl::Seconds(5));
  Record(kFailure);

  window_.Advance(now_ - absl::Hours(1));

  EXPECT_EQ(window_.counts(), (CallCounts{1, 1, 0}));
  Pass(absl::Seconds(15));
  EXPECT_EQ(window_.counts(), kFailure);
}

TEST_F(SlidingWindowTest, CountersStopAtTheirLimitAndComeDownToZero) {
  Record({kMax - 1, 0, 0});
  Pass(absl::Seconds(1));
  Record({5, 0, 0});
  EXPECT_EQ(window_.counts().successes, kMax);

  Pass(absl::Seconds(19));
  EXPECT_EQ(window_.counts().successes, 1u);
  Pass(absl::Seconds(1));

  EXPECT_EQ(window_.counts(), CallCounts{});
}

TEST_F(SlidingWindowTest, BucketNumbersGrowByOneWithEachBucket) {
  Record(kSuccess);
  const int64_t first = window_.bucket();

  Pass(absl::Seconds(1) - absl::Nanoseconds(1));
  EXPECT_EQ(window_.bucket(), first);
  Pass(absl::Nanoseconds(1));
  EXPECT_EQ(window_.bucket(), first + 1);
  Pass(absl::Seconds(100));

  EXPECT_EQ(window_.bucket(), first + 101);
  EXPECT_EQ(window_.StartOf(first + 101), now_);
  EXPECT_EQ(window_.StartOf(first + 100), now_ - absl::Seconds(1));
}

TEST_F(SlidingWindowTest, ABucketIsFoundByItsStartGiveOrTakeHalfABucket) {
  Record(kSuccess);
  Pass(absl::Seconds(10));
  const int64_t newest = window_.bucket();

  EXPECT_EQ(window_.BucketStartingAt(now_), newest);
  EXPECT_EQ(window_.BucketStartingAt(now_ - absl::Seconds(3)), newest - 3);
  EXPECT_EQ(window_.BucketStartingAt(now_ - absl::Seconds(3.4)), newest - 3);
  EXPECT_EQ(window_.BucketStartingAt(now_ - absl::Seconds(2.6)), newest - 3);
  EXPECT_EQ(window_.BucketStartingAt(now_ + absl::Hours(1)), newest);
  EXPECT_EQ(window_.BucketStartingAt(now_ - absl::Hours(1)), 0);
}

TEST_F(SlidingWindowTest, SavesTheBucketsThatHoldCallsOldestFirst) {
  Record(kSuccess);
  Pass(absl::Seconds(3.5));
  Record(kFailure);

  const std::vector<SlidingWindow::Bucket> saved = window_.Save();

  ASSERT_EQ(saved.size(), 2u);
  EXPECT_EQ(saved[0].counts, kSuccess);
  EXPECT_EQ(saved[0].start, now_ - absl::Seconds(3.5));
  EXPECT_EQ(saved[1].counts, kFailure);
  EXPECT_EQ(saved[1].start, now_ - absl::Seconds(0.5));
}

TEST_F(SlidingWindowTest, ARestoredWindowGoesOnWhereItStopped) {
  for (int i = 0; i < 20; ++i) {
    Record(kFailure);
    Pass(absl::Seconds(1));
  }
  Pass(absl::Seconds(0.25));
  SlidingWindow restored(absl::Seconds(20));

  restored.Restore(window_.Save(), now_);

  EXPECT_EQ(restored.counts(), window_.counts());
  for (int i = 0; i < 100; ++i) {
    Pass(absl::Seconds(0.25));
    restored.Advance(now_);
    EXPECT_EQ(restored.counts(), window_.counts());
  }
}

TEST_F(SlidingWindowTest, RestoreDropsWhatHasLeftTheWindow) {
  Record(kSuccess);
  Pass(absl::Seconds(10));
  Record(kFailure);
  const std::vector<SlidingWindow::Bucket> saved = window_.Save();
  SlidingWindow restored(absl::Seconds(20));

  restored.Restore(saved, now_ + absl::Seconds(10));

  EXPECT_EQ(restored.counts(), kFailure);
}

TEST_F(SlidingWindowTest, RestoreDropsBucketsThatCannotBeOfOneWindow) {
  SlidingWindow restored(absl::Seconds(20));

  restored.Restore({{now_ - absl::Seconds(500), kSuccess}, {now_, kFailure}}, now_);

  EXPECT_EQ(restored.counts(), kFailure);
}

}  // namespace
}  // namespace breaker
