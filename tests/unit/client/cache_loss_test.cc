// A client in Mode::kCached and a daemon that falls silent, or goes and comes back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "breaker/client.h"
#include "tests/support/eventually.h"
#include "tests/support/messages.h"
#include "tests/support/scripted_breaker_service.h"

namespace breaker {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;
using testing::Text;

// Long enough for an rpc on a loaded machine.
constexpr absl::Duration kTimeout = absl::Seconds(1);
const Key kKey = {"db", "query"};

// One failure opens the circuit, for longer than a test takes.
constexpr char kSensitive[] =
    "policy { failure_threshold: 1 minimum_request_count: 1 recovery_timeout { seconds: 600 } } ";

class CacheLossTest : public ::testing::Test {
 protected:
  CacheLossTest() {
    service_.Beat(absl::Milliseconds(200));
    service_.AnswerSubscriptions(
        Text<v1::CircuitUpdate>(absl::StrCat("state: CLOSED generation: 1 ", kSensitive)));
  }

  ClientOptions Options(OnDaemonUnavailable choice = OnDaemonUnavailable::kLocal) {
    return {.target = service_.target(), .rpc_timeout = kTimeout, .on_daemon_unavailable = choice};
  }

  // Whether the next call is decided without the daemon's being asked, or its being away.
  bool IsCached(Client& client) {
    const size_t asked = service_.acquires().size();
    absl::StatusOr<Permit> permit = client.Acquire(kKey);
    permit->Ignore();
    return !permit->daemon_unavailable() && service_.acquires().size() == asked;
  }
  void Follow(Client& client) {
    ASSERT_TRUE(Eventually([&] { return IsCached(client); }));
    ASSERT_TRUE(Eventually([&] { return !service_.batches().empty(); }));
  }
  // The trust in the cache is over.
  void Lose(Client& client) {
    ASSERT_TRUE(Eventually([&] { return client.Acquire(kKey)->daemon_unavailable(); }));
  }

  std::vector<std::string> Failures() {
    std::vector<std::string> labels;
    for (const v1::OutcomeRun& run : service_.runs()) {
      if (run.outcome() == v1::FAILURE) labels.push_back(run.error());
    }
    return labels;
  }

  testing::ScriptedBreakerService service_;
};

TEST_F(CacheLossTest, SilentStreamIsNotBelievedAfterThreeHeartbeats) {
  Client client(Options());
  Follow(client);
  service_.FallSilent();
  const absl::Time start = absl::Now();
  ASSERT_TRUE(Eventually([&] { return !IsCached(client); }));
  EXPECT_GT(absl::Now() - start, absl::Milliseconds(350));
  EXPECT_TRUE(client.Acquire(kKey)->allowed());
  EXPECT_FALSE(client.Acquire(kKey)->daemon_unavailable());  // It was asked.
}

TEST_F(CacheLossTest, SilentStreamIsReplaced) {
  Client client(Options());
  Follow(client);
  service_.FallSilent();
  ASSERT_TRUE(Eventually([&] { return service_.subscriptions().size() >= 2; }));
  service_.Beat(absl::Milliseconds(200));
  EXPECT_TRUE(Eventually([&] { return IsCached(client); }));
}

TEST_F(CacheLossTest, CacheIsBelievedForAWhileWhenTheDaemonDies) {
  service_.Beat(absl::Minutes(10));
  Client client(Options());
  Follow(client);
  service_.Stop();
  absl::StatusOr<Permit> permit = client.Acquire(kKey);
  EXPECT_TRUE(permit->allowed());
  EXPECT_FALSE(permit->daemon_unavailable());
}

TEST_F(CacheLossTest, LocalBreakerDecidesWhenTheDaemonIsAway) {
  Client client(Options());
  Follow(client);
  service_.Stop();
  Lose(client);
  (void)client.Execute(kKey, [] { return absl::UnavailableError("down"); });
  const absl::StatusOr<Permit> permit = client.Acquire(kKey);
  EXPECT_FALSE(permit->allowed());
  EXPECT_TRUE(permit->daemon_unavailable());
  EXPECT_EQ(permit->state(), State::kOpen);
  EXPECT_EQ(permit->status().message(), "db/query is OPEN, retry in 10m");
}

TEST_F(CacheLossTest, LocalOutcomesAreForgottenWhenTheDaemonIsBack) {
  Client client(Options());
  Follow(client);
  service_.Stop();
  Lose(client);
  (void)client.Execute(kKey, [] { return absl::UnavailableError("down"); });
  EXPECT_FALSE(client.Acquire(kKey)->allowed());
  service_.Start();
  ASSERT_TRUE(Eventually([&] { return IsCached(client); }));
  EXPECT_TRUE(client.Acquire(kKey)->allowed());
  client.Acquire(kKey)->Failure("after");
  ASSERT_TRUE(Eventually([&] { return !Failures().empty(); }));
  EXPECT_THAT(Failures(), ElementsAre("after"));
}

TEST_F(CacheLossTest, KnownOpenHoldsUntilItsTimeAndThenOneProbesLocally) {
  Client client(Options());
  Follow(client);
  service_.Push(Text<v1::CircuitUpdate>(
      std::string("service: 'db' operation: 'query' state: OPEN generation: 2 "
                  "retry_after { seconds: 2 } ") +
      kSensitive));
  ASSERT_TRUE(Eventually([&] { return !client.Acquire(kKey)->allowed(); }));
  const absl::Time start = absl::Now();
  service_.Stop();
  Lose(client);
  EXPECT_FALSE(client.Acquire(kKey)->allowed());
  std::optional<Permit> probe;
  ASSERT_TRUE(Eventually([&] {
    absl::StatusOr<Permit> permit = client.Acquire(kKey);
    if (permit->allowed()) probe = *std::move(permit);
    return probe.has_value();
  }));
  EXPECT_GT(absl::Now() - start, absl::Milliseconds(1500));
  EXPECT_TRUE(probe->probe());
  EXPECT_FALSE(client.Acquire(kKey)->allowed());
  probe->Success();
  EXPECT_TRUE(client.Acquire(kKey)->allowed());
}

TEST_F(CacheLossTest, OtherChoicesHoldForACachedClientToo) {
  Client allowing(Options(OnDaemonUnavailable::kAllow));
  Client denying(Options(OnDaemonUnavailable::kDeny));
  Follow(allowing);
  Follow(denying);
  service_.Stop();
  Lose(allowing);
  Lose(denying);
  EXPECT_TRUE(allowing.Acquire(kKey)->allowed());
  EXPECT_FALSE(denying.Acquire(kKey)->allowed());
  EXPECT_TRUE(IsRefusal(denying.Execute(kKey, [] {})));
}

TEST_F(CacheLossTest, RemoteClientHasALocalBreakerToo) {
  Client client({.target = service_.target(),
                 .rpc_timeout = kTimeout,
                 .policy = Policy{.failure_threshold = 1, .minimum_request_count = 1},
                 .mode = Mode::kRemote});
  service_.Stop();
  ASSERT_TRUE(client.Acquire(kKey)->daemon_unavailable());
  client.Acquire(kKey)->Failure();
  EXPECT_FALSE(client.Acquire(kKey)->allowed());
  service_.Start();
  ASSERT_TRUE(Eventually([&] { return !client.Acquire(kKey)->daemon_unavailable(); }));
  EXPECT_TRUE(client.Acquire(kKey)->allowed());
  EXPECT_EQ(service_.streams(), 0);
}

TEST_F(CacheLossTest, AllIsSubscribedToAgain) {
  Client client(Options());
  Follow(client);
  ASSERT_TRUE(client.Acquire({"db", "insert"}, Policy{.failure_threshold = 3}).ok());
  ASSERT_TRUE(Eventually([&] { return service_.subscriptions().size() == 2; }));
  service_.Stop();
  service_.Start();
  ASSERT_TRUE(Eventually([&] { return service_.subscriptions().size() == 4; }));
  int with_policy = 0;
  for (const v1::Subscription& subscription : service_.subscriptions()) {
    with_policy += subscription.policy().failure_threshold() == 3 ? 1 : 0;
  }
  EXPECT_EQ(with_policy, 2);
}

TEST_F(CacheLossTest, StreamThatIsRejectedBeginsAnewWithTheNextCalls) {
  Client client(Options());
  Follow(client);
  service_.EndStreams({grpc::StatusCode::INVALID_ARGUMENT, "service: \"\" is not 1 to 128 bytes"});
  ASSERT_TRUE(Eventually([&] { return !IsCached(client); }));
  service_.EndStreams(grpc::Status::OK);
  EXPECT_TRUE(Eventually([&] { return IsCached(client); }));
}

TEST_F(CacheLossTest, UnansweredBatchIsSentAgainUnderItsNumber) {
  Client client(Options());
  Follow(client);
  const size_t before = service_.batches().size();
  service_.FailBatches({grpc::StatusCode::UNAVAILABLE, "busy"});
  client.Acquire(kKey)->Failure("first");
  ASSERT_TRUE(Eventually([&] { return service_.batches().size() == before + 2; }));
  client.Acquire(kKey)->Failure("second");  // It waits for its turn.
  service_.FailBatches(grpc::Status::OK);
  ASSERT_TRUE(Eventually([&] { return Failures().back() == "second"; }));
  const std::vector<v1::ReportBatchRequest> batches = service_.batches();
  for (size_t i = before + 1; i + 1 < batches.size(); ++i) {
    EXPECT_EQ(batches[i].SerializeAsString(), batches[before].SerializeAsString());
  }
  EXPECT_EQ(batches.back().sequence(), batches[before].sequence() + 1);
  EXPECT_EQ(client.cache_stats().dropped_outcomes, 0);
}

TEST_F(CacheLossTest, WhatIsNotStoredIsSentAgainInOrderOnTheNextConnection) {
  Client client(Options());
  Follow(client);
  for (const char* label : {"a", "b", "c"}) {
    const size_t before = Failures().size();
    client.Acquire(kKey)->Failure(label);
    ASSERT_TRUE(Eventually([&] { return Failures().size() == before + 1; }));
  }
  absl::StatusOr<Permit> last = client.Acquire(kKey);
  service_.Stop();
  // The client knows that the connection is lost: else the next batch could be the first on a new
  // one.
  ASSERT_TRUE(Eventually([&] {
    absl::StatusOr<Permit> permit = client.Acquire(kKey);
    permit->Ignore();
    return permit->daemon_unavailable();
  }));
  last->Failure("d");
  service_.Start();
  ASSERT_TRUE(Eventually([&] { return Failures().size() >= 7; }));
  EXPECT_THAT(Failures(), ElementsAre("a", "b", "c", "a", "b", "c", "d"));
}

TEST_F(CacheLossTest, WhatIsStoredIsNotSentAgain) {
  Client client(Options());
  Follow(client);
  service_.StoreUpTo(1'000'000);
  client.Acquire(kKey)->Failure("a");
  ASSERT_TRUE(Eventually([&] { return Failures().size() == 1; }));
  service_.Stop();
  service_.Start();
  ASSERT_TRUE(Eventually([&] { return IsCached(client); }));
  client.Acquire(kKey)->Failure("b");
  ASSERT_TRUE(Eventually([&] { return Failures().size() >= 2; }));
  EXPECT_THAT(Failures(), ElementsAre("a", "b"));
}

TEST_F(CacheLossTest, ClientEndsSoonWhenTheDaemonIsAway) {
  auto client = std::make_unique<Client>(Options());
  Follow(*client);
  service_.Stop();
  client->Acquire(kKey)->Failure();
  const absl::Time start = absl::Now();
  client.reset();
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
}

TEST_F(CacheLossTest, ClientEndsSoonWhenTheDaemonHangs) {
  auto client = std::make_unique<Client>(Options());
  Follow(*client);
  service_.Hang();
  client->Acquire(kKey)->Failure();
  const absl::Time start = absl::Now();
  client.reset();
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
}

}  // namespace
}  // namespace breaker
