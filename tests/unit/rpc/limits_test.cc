// The parts that limits are made of: who is counted as one, what is open, and what is told.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <sys/socket.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/descriptor.h"
#include "server/rpc/limit_refusals.h"
#include "server/rpc/listen_sockets.h"
#include "server/rpc/open_sockets.h"
#include "server/rpc/source.h"
#include "server/rpc/watch_slots.h"
#include "tests/support/simulated_clock.h"

namespace breaker::server {
namespace {

using testing::HasSubstr;

TEST(SourceTest, IsTheHostOfThePeer) {
  EXPECT_EQ(HostOfPeer("ipv4:10.0.0.7:41234"), "10.0.0.7");
  EXPECT_EQ(HostOfPeer("ipv6:[::1]:41234"), "::1");
  EXPECT_EQ(HostOfPeer("ipv6:%5B::1%5D:41234"), "::1");
  EXPECT_EQ(HostOfPeer("unix:/run/x"), "unix:/run/x");
}

TEST(SourceTest, OfAnIpv6HostItIsTheNetwork) {
  EXPECT_EQ(HostOfPeer("ipv6:[2001:db8:1:2:3:4:5:6]:1"), "2001:db8:1:2::/64");
  EXPECT_EQ(HostOfPeer("ipv6:%5B2001:db8:1:2::9%5D:1"), "2001:db8:1:2::/64");
  EXPECT_EQ(HostOfPeer("ipv6:[fe80::1%25eth0]:1"), "fe80::/64");
  EXPECT_EQ(HostOfPeer("ipv6:[::ffff:10.0.0.7]:1"), "::ffff:10.0.0.7");
}

TEST(SourceTest, OfAnAddressIsThatOfItsPeer) {
  const auto address = [](int family, const char* text) {
    sockaddr_storage storage = {};
    storage.ss_family = static_cast<sa_family_t>(family);
    void* at = family == AF_INET
                   ? static_cast<void*>(&reinterpret_cast<sockaddr_in&>(storage).sin_addr)
                   : static_cast<void*>(&reinterpret_cast<sockaddr_in6&>(storage).sin6_addr);
    EXPECT_EQ(inet_pton(family, text, at), 1);
    return HostOfAddress(storage);
  };
  EXPECT_EQ(address(AF_INET, "10.0.0.7"), "10.0.0.7");
  EXPECT_EQ(address(AF_INET6, "::1"), "::1");
  EXPECT_EQ(address(AF_INET6, "2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
  EXPECT_EQ(address(AF_INET6, "::ffff:10.0.0.7"), "::ffff:10.0.0.7");
}

Descriptor NewSocket() { return Descriptor(socket(AF_INET, SOCK_STREAM, 0)); }

TEST(OpenSocketsTest, ThoseThatOthersHaveClosedAreNoticed) {
  OpenSockets open;
  Descriptor first = NewSocket();
  Descriptor second = NewSocket();
  open.Add(first.get(), "one");
  open.Add(second.get(), "two");
  EXPECT_EQ(open.Recount(), 2u);
  first.Close();
  EXPECT_EQ(open.count(), 2u) << "never fewer than are open";
  EXPECT_EQ(open.CountOf("one"), 1u);
  EXPECT_EQ(open.Recount(), 1u);
  EXPECT_EQ(open.CountOf("one"), 0u);
  EXPECT_EQ(open.CountOf("two"), 1u);
  second.Close();
  EXPECT_EQ(open.Recount(), 0u);
  EXPECT_EQ(open.CountOf("two"), 0u);
}

TEST(OpenSocketsTest, ANumberThatIsUsedAgainIsNotTheSameSocket) {
  OpenSockets open;
  Descriptor first = NewSocket();
  const int number = first.get();
  open.Add(number, "one");
  first.Close();

  Descriptor other = NewSocket();
  ASSERT_EQ(other.get(), number) << "the system gives the lowest number that is free";
  EXPECT_EQ(open.Recount(), 0u) << "a socket of someone else's";
  open.Add(number, "one");
  EXPECT_EQ(open.count(), 1u);
  other.Close();
  const Descriptor third = NewSocket();
  open.Add(third.get(), "two");
  EXPECT_EQ(open.count(), 1u) << "the first of that number must be closed";
  EXPECT_EQ(open.CountOf("one"), 0u);
  EXPECT_EQ(open.CountOf("two"), 1u);
}

TEST(ListenTest, TakesHostsOfAllKinds) {
  for (const char* address : {"127.0.0.1:0", "localhost:0", "0.0.0.0:0"}) {
    const absl::StatusOr<ListenSockets> listening = Listen(address);
    ASSERT_TRUE(listening.ok()) << address << ": " << listening.status();
    EXPECT_GT(listening->port, 0);
    EXPECT_FALSE(listening->sockets.empty());
    EXPECT_EQ(Listen(absl::StrCat("127.0.0.1:", listening->port)).status().code(),
              absl::StatusCode::kAlreadyExists)
        << "a port is for one process alone";
  }
}

TEST(ListenTest, SaysWhatIsWrong) {
  for (const char* address : {"", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536", ":1", "::1:0"}) {
    EXPECT_EQ(Listen(address).status().message(), "it is not HOST:PORT") << address;
  }
  EXPECT_THAT(Listen("192.0.2.1:0").status().message(), HasSubstr("Cannot assign"));
}

class RefusalsTest : public testing::Test {
 protected:
  // What the log gets while `act` runs.
  template <typename Act>
  std::string LogOf(Act act) {
    testing::internal::CaptureStderr();
    act();
    return testing::internal::GetCapturedStderr();
  }
  std::string Metrics() { return prometheus::TextSerializer().Serialize(measured_.Collect()); }

  SimulatedClock clock_;
  prometheus::Registry measured_;
  LimitRefusals refusals_{&measured_, &clock_};
};

TEST_F(RefusalsTest, EachIsCountedAndTheLogHasALineAMinute) {
  EXPECT_THAT(LogOf([&] { refusals_.Count(Limit::kConnections, "connections: 7"); }),
              HasSubstr("warning limit_reached limit=connections refused=1 "
                        "last=\"connections: 7\""));
  EXPECT_EQ(LogOf([&] {
              for (int i = 0; i < 99; ++i) refusals_.Count(Limit::kConnections, "more");
            }),
            "");
  EXPECT_THAT(LogOf([&] { refusals_.Count(Limit::kSubscriptions, "another limit"); }),
              HasSubstr("limit=subscriptions"));
  clock_.Advance(absl::Minutes(1));
  EXPECT_THAT(LogOf([&] { refusals_.Count(Limit::kConnections, "more"); }),
              HasSubstr("refused=100"));
  EXPECT_THAT(Metrics(), HasSubstr("breakerd_limit_refusals_total{limit=\"connections\"} 101"));
}

TEST_F(RefusalsTest, TheStatusIsForTheClient) {
  const absl::Status status = refusals_.Refuse(Limit::kSubscriptions, "subscriptions: 3");
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_EQ(status.message(), "subscriptions: 3");
}

TEST_F(RefusalsTest, AConnectionHasSoManyWatches) {
  WatchSlots slots(2, &refusals_);
  std::optional<WatchSlots::Slot> first = *slots.Take("ipv4:10.0.0.7:1");
  const WatchSlots::Slot second = *slots.Take("ipv4:10.0.0.7:1");
  const absl::Status third = slots.Take("ipv4:10.0.0.7:1").status();
  EXPECT_TRUE(absl::IsResourceExhausted(third));
  EXPECT_EQ(third.message(),
            "watches of this connection: 2 are open, which is --max_watches_per_connection");
  EXPECT_TRUE(slots.Take("ipv4:10.0.0.7:2").ok()) << "another one";
  first.reset();
  EXPECT_TRUE(slots.Take("ipv4:10.0.0.7:1").ok());
}

TEST_F(RefusalsTest, ZeroIsAsManyWatchesAsOneLikes) {
  WatchSlots slots(0, &refusals_);
  std::vector<WatchSlots::Slot> held;
  for (int i = 0; i < 1000; ++i) {
    absl::StatusOr<WatchSlots::Slot> slot = slots.Take("ipv4:10.0.0.7:1");
    ASSERT_TRUE(slot.ok());
    held.push_back(*std::move(slot));
  }
}

}  // namespace
}  // namespace breaker::server
