#include "server/engine/sessions.h"

#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/simulated_clock.h"

namespace breaker::server {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class SessionsTest : public testing::Test {
 protected:
  void Apply(uint64_t session, uint64_t sequence) {
    const std::shared_ptr<Sessions::Session> found = sessions_.Use(session, clock_.Now().mono);
    MutexLock lock(&found->mu);
    found->Applied(sequence);
  }

  SimulatedClock clock_;
  Sessions sessions_;
};

TEST(SessionNameTest, IsThatOfTheWorkersProcess) {
  EXPECT_EQ(SessionName("w", 1), SessionName("w", 1));
  EXPECT_NE(SessionName("w", 1), SessionName("w", 2));
  EXPECT_NE(SessionName("w", 1), SessionName("v", 1));
  EXPECT_NE(SessionName("", 1), 1u);
  // It is stored: the same for ever.
  EXPECT_EQ(SessionName("ws-1", 0x0123456789abcdef), 0xa55dc8bed2487115u);
}

TEST_F(SessionsTest, AMarkIsUnstoredUntilItIsStored) {
  Apply(1, 5);
  const std::vector<SessionMark> marks = sessions_.Unstored(clock_.Now());
  EXPECT_THAT(marks, ElementsAre(SessionMark{1, 5, clock_.Now().wall}));
  EXPECT_EQ(sessions_.StoredUpTo(1), 0u);

  Apply(1, 6);  // meanwhile
  sessions_.Stored(marks);

  EXPECT_EQ(sessions_.StoredUpTo(1), 5u);
  EXPECT_THAT(sessions_.Unstored(clock_.Now()), ElementsAre(SessionMark{1, 6, clock_.Now().wall}));
}

TEST_F(SessionsTest, AnotherStoreHoldsNothing) {
  Apply(1, 5);
  sessions_.Stored(sessions_.Unstored(clock_.Now()));
  ASSERT_THAT(sessions_.Unstored(clock_.Now()), IsEmpty());

  sessions_.NoneStored();

  EXPECT_EQ(sessions_.Unstored(clock_.Now()).size(), 1u);
  EXPECT_EQ(sessions_.StoredUpTo(1), 0u);
}

TEST_F(SessionsTest, IdleOnesAreForgotten) {
  Apply(1, 5);
  clock_.Advance(Sessions::kSessionTtl - absl::Nanoseconds(1));
  Apply(2, 1);
  EXPECT_THAT(sessions_.Forget(clock_.Now().mono), IsEmpty());
  clock_.Advance(absl::Nanoseconds(1));

  EXPECT_THAT(sessions_.Forget(clock_.Now().mono), ElementsAre(1));
  EXPECT_EQ(sessions_.size(), 1u);
}

TEST_F(SessionsTest, TheLongestUnusedGoWhenThereAreTooMany) {
  for (uint64_t i = 1; i <= Sessions::kMaxSessions + 2; ++i) {
    Apply(i, 1);
    clock_.Advance(absl::Nanoseconds(1));
  }

  EXPECT_THAT(sessions_.Forget(clock_.Now().mono), testing::UnorderedElementsAre(1, 2));
  EXPECT_EQ(sessions_.size(), Sessions::kMaxSessions);
}

TEST_F(SessionsTest, WhatWasStoredIsKnownAgain) {
  sessions_.Restore({1, 5, clock_.Now().wall - absl::Minutes(9)}, clock_.Now());

  EXPECT_EQ(sessions_.StoredUpTo(1), 5u);
  EXPECT_EQ(sessions_.Use(2, clock_.Now().mono)->applied(), 0u);
  clock_.Advance(absl::Minutes(1));
  EXPECT_THAT(sessions_.Forget(clock_.Now().mono), ElementsAre(1));
}

TEST_F(SessionsTest, ASessionThatHasGoneOnIsNotSetBack) {
  Apply(1, 9);
  sessions_.Restore({1, 5, clock_.Now().wall}, clock_.Now());
  EXPECT_EQ(sessions_.Use(1, clock_.Now().mono)->applied(), 9u);
}

}  // namespace
}  // namespace breaker::server
