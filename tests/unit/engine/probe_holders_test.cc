#include "server/engine/probe_holders.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace breaker::server {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

TEST(ProbeHoldersTest, TheLastConnectionToEndTellsWhereProbesMayBe) {
  ProbeHolders holders;
  holders.Join("w");
  holders.Join("w");
  holders.Note("w", {"s", "a"});
  holders.Note("w", {"s", "b"});
  holders.Note("w", {"s", "b"});

  EXPECT_THAT(holders.Leave("w"), IsEmpty());
  EXPECT_THAT(holders.Leave("w"), UnorderedElementsAre(Key("s", "a"), Key("s", "b")));
  EXPECT_THAT(holders.Leave("w"), IsEmpty());
}

TEST(ProbeHoldersTest, WorkersAreApart) {
  ProbeHolders holders;
  holders.Join("v");
  holders.Join("w");
  holders.Note("v", {"s", "a"});
  holders.Note("w", {"s", "b"});

  EXPECT_THAT(holders.Leave("v"), ElementsAre(Key("s", "a")));
}

TEST(ProbeHoldersTest, OneThatIsNotConnectedIsNotFollowed) {
  ProbeHolders holders;
  holders.Note("w", {"s", "a"});
  holders.Join("w");
  EXPECT_THAT(holders.Leave("w"), IsEmpty());
}

}  // namespace
}  // namespace breaker::server
