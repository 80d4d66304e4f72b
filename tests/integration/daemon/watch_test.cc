#include <grpcpp/grpcpp.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/eventually.h"
#include "tests/support/messages.h"
#include "tests/support/test_daemon.h"
#include "tests/support/watcher.h"

namespace breaker::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kQuick[] =
    "policy { failure_threshold: 1 minimum_request_count: 1 recovery_timeout { nanos: 1000000 } "
    "permit_timeout { seconds: 3600 } }";
constexpr char kOpensForLong[] = "policy { failure_threshold: 1 minimum_request_count: 1 }";

class WatchTest : public ::testing::Test {
 protected:
  static server::DaemonOptions Options() {
    server::DaemonOptions options;
    options.watch_heartbeat = absl::Milliseconds(80);
    return options;
  }

  std::unique_ptr<Watcher> Watch(const std::string& request) {
    return std::make_unique<Watcher>(daemon_.NewChannel(), Text<v1::WatchRequest>(request));
  }
  void Fail(const std::string& operation) {
    daemon_.Report(Text<v1::ReportRequest>("service: 's' operation: '" + operation +
                                           "' worker_id: 'w' outcome: FAILURE error: 'Boom'"));
  }

  server::SystemClock clock_;
  TestDaemon daemon_{&clock_, Options()};
};

TEST_F(WatchTest, FirstTheStateThenEveryTransitionWithItsReason) {
  const auto watcher =
      Watch(std::string("worker_id: 'w1' subscribe { service: 's' operation: 'o' ") + kQuick + "}");
  ASSERT_TRUE(watcher->AwaitUpdates(1));
  Fail("o");
  ASSERT_TRUE(watcher->AwaitUpdates(3));

  const std::vector<v1::CircuitUpdate> updates = watcher->updates();
  EXPECT_EQ(updates[0].state(), v1::CLOSED);
  EXPECT_EQ(updates[0].generation(), 1);
  EXPECT_FALSE(updates[0].has_transition());
  EXPECT_EQ(updates[0].policy().failure_threshold(), 1);
  EXPECT_EQ(updates[0].policy().half_open_max_probes(), 1) << "every field is filled in";
  EXPECT_EQ(updates[0].ramp_fraction(), 1);
  EXPECT_EQ(updates[1].state(), v1::OPEN);
  EXPECT_EQ(updates[1].generation(), 2);
  EXPECT_THAT(updates[1].transition().reason(), HasSubstr("1 consecutive failure (threshold 1)"));
  EXPECT_TRUE(updates[1].has_retry_after());
  EXPECT_EQ(updates[2].state(), v1::HALF_OPEN) << "without any traffic";
  EXPECT_EQ(updates[2].generation(), 3);
}

TEST_F(WatchTest, ASubscriptionCreatesTheBreaker) {
  const auto watcher = Watch("subscribe { service: 's' operation: 'new' }");
  ASSERT_TRUE(watcher->AwaitUpdates(1));
  EXPECT_EQ(daemon_.GetStats("s", "new").state(), v1::CLOSED);
}

TEST_F(WatchTest, SubscribingToAnOpenCircuitTellsWhatIsLeftAndChangesNothing) {
  daemon_.Acquire(
      Text<v1::AcquireRequest>(std::string("service: 's' operation: 'o' ") + kOpensForLong));
  Fail("o");
  const v1::CircuitStats before = daemon_.GetStats("s", "o");
  const auto watcher = Watch("subscribe { service: 's' operation: 'o' }");
  ASSERT_TRUE(watcher->AwaitUpdates(1));

  EXPECT_EQ(watcher->updates()[0].state(), v1::OPEN);
  EXPECT_GT(watcher->updates()[0].retry_after().seconds(), 20);
  EXPECT_EQ(daemon_.GetStats("s", "o").next_attempt_time().nanos(),
            before.next_attempt_time().nanos());
}

TEST_F(WatchTest, SubscriptionsCanBeAddedAndUpdatesGoOnAfterTheClientHasHalfClosed) {
  const auto watcher = Watch("subscribe { service: 's' operation: 'a' }");
  ASSERT_TRUE(watcher->AwaitUpdates(1));
  watcher->Send(Text<v1::WatchRequest>(std::string("subscribe { service: 's' operation: 'b' ") +
                                       kOpensForLong + "}"));
  ASSERT_TRUE(watcher->AwaitUpdates(2));
  watcher->HalfClose();
  Fail("b");

  ASSERT_TRUE(watcher->AwaitUpdates(3));
  EXPECT_EQ(watcher->updates()[2].operation(), "b");
  EXPECT_EQ(watcher->updates()[2].state(), v1::OPEN);
}

TEST_F(WatchTest, AnotherWorkersPolicyIsTold) {
  const auto watcher = Watch("subscribe { service: 's' operation: 'o' }");
  ASSERT_TRUE(watcher->AwaitUpdates(1));
  daemon_.Acquire(
      Text<v1::AcquireRequest>("service: 's' operation: 'o' policy { failure_threshold: 77 }"));

  ASSERT_TRUE(watcher->AwaitUpdates(2));
  EXPECT_EQ(watcher->updates()[1].policy().failure_threshold(), 77);
  EXPECT_EQ(watcher->updates()[1].generation(), 1);
  EXPECT_FALSE(watcher->updates()[1].has_transition());
}

TEST_F(WatchTest, WhoWatchesAllIsToldOfThoseThatAreThereAndThoseToCome) {
  constexpr size_t kThere = 600;  // more than a page
  for (size_t i = 0; i < kThere; ++i) {
    daemon_.Acquire(
        Text<v1::AcquireRequest>("service: 's' operation: '" + std::to_string(i) + "'"));
  }
  const auto watcher = Watch("all: true");
  const auto distinct = [](const std::vector<v1::CircuitUpdate>& updates) {
    std::set<std::string> operations;
    for (const v1::CircuitUpdate& update : updates) operations.insert(update.operation());
    return operations.size();
  };
  ASSERT_TRUE(watcher->Await([&](const auto& updates) { return distinct(updates) == kThere; }));

  daemon_.Acquire(Text<v1::AcquireRequest>("service: 's' operation: 'new'"));
  EXPECT_TRUE(watcher->Await([&](const auto& updates) { return distinct(updates) > kThere; }));
}

TEST_F(WatchTest, AQuietStreamHasAHeartbeat) {
  const auto watcher = Watch("worker_id: 'w1'");
  EXPECT_TRUE(watcher->AwaitHeartbeats(4));
}

TEST_F(WatchTest, AnInvalidSubscriptionEndsTheStreamAndNamesTheField) {
  EXPECT_EQ(Watch("subscribe { service: 's' }")->AwaitEnd().error_message(),
            "operation: a length of 0 bytes is not in [1, 128]");
  EXPECT_EQ(Watch("subscribe { service: 's' operation: 'o' policy { recovery_jitter: 2 } }")
                ->AwaitEnd()
                .error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(WatchTest, AProbeIsFreeAgainWhenTheOnlyStreamOfItsWorkerEnds) {
  auto holder = Watch(std::string("worker_id: 'holder' subscribe { service: 's' operation: 'o' ") +
                      kQuick + "}");
  auto other = Watch("worker_id: 'other' subscribe { service: 's' operation: 'o' }");
  ASSERT_TRUE(holder->AwaitUpdates(1));
  Fail("o");
  ASSERT_TRUE(other->Await([](const auto& updates) {
    return !updates.empty() && updates.back().state() == v1::HALF_OPEN;
  }));
  const auto acquire = [&](const std::string& worker) {
    return daemon_.Acquire(
        Text<v1::AcquireRequest>("service: 's' operation: 'o' worker_id: '" + worker + "'"));
  };
  ASSERT_TRUE(acquire("holder").probe());
  ASSERT_FALSE(acquire("other").allowed());

  holder.reset();

  EXPECT_TRUE(Eventually([&] { return acquire("other").probe(); }));
}

TEST_F(WatchTest, OneThatNeverReadsHoldsUpNobodyAndIsSentTheLatestStateInTheEnd) {
  constexpr int kBreakers = 300;
  // Reads nothing until it is told to, and has little room for what it did not read.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const auto stub = v1::CircuitBreaker::NewStub(
      grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(daemon_.port()),
                                grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext context;
  const auto stream = stub->Watch(&context);
  v1::WatchRequest request;
  for (int i = 0; i < kBreakers; ++i) {
    *request.add_subscribe() = Text<v1::Subscription>("service: 's' operation: '" +
                                                      std::to_string(i) + "' " + kOpensForLong);
  }
  ASSERT_TRUE(stream->Write(request));
  const auto reader = Watch("all: true");
  ASSERT_TRUE(Eventually([&] {
    return daemon_.stub()
        .GetStats(std::make_unique<grpc::ClientContext>().get(),
                  Text<v1::GetStatsRequest>("service: 's' operation: '299'"),
                  std::make_unique<v1::CircuitStats>().get())
        .ok();
  }));

  // Far more changes than its window of flow control takes, and than may wait for it.
  constexpr int kRounds = 30;
  const auto driver = Watch("worker_id: 'driver'");
  for (int round = 1; round <= kRounds; ++round) {
    for (v1::Subscription& subscription : *request.mutable_subscribe()) {
      subscription.mutable_policy()->set_half_open_max_probes(round);
    }
    ASSERT_TRUE(driver->Send(request));
  }
  ASSERT_TRUE(Eventually(
      [&] { return daemon_.GetStats("s", "299").policy().half_open_max_probes() == kRounds; }));
  for (int i = 0; i < kBreakers; ++i) Fail(std::to_string(i));
  const auto open = [](const std::vector<v1::CircuitUpdate>& updates) {
    int count = 0;
    for (const v1::CircuitUpdate& update : updates) count += update.state() == v1::OPEN;
    return count == kBreakers;
  };
  ASSERT_TRUE(reader->Await(open)) << "a slow reader held up another one";

  std::vector<v1::CircuitUpdate> updates;
  v1::WatchResponse response;
  while (!open(updates) && stream->Read(&response)) {
    updates.insert(updates.end(), response.updates().begin(), response.updates().end());
  }
  EXPECT_TRUE(open(updates));
  EXPECT_LT(updates.size(), static_cast<size_t>(kBreakers * kRounds) * 3 / 4)
      << "what has changed again was not sent";
  std::map<std::string, uint64_t> generations;
  for (const v1::CircuitUpdate& update : updates) {
    EXPECT_GE(update.generation(), generations[update.operation()]);
    generations[update.operation()] = update.generation();
  }
  context.TryCancel();
  EXPECT_FALSE(stream->Finish().ok());
}

TEST_F(WatchTest, ShuttingDownEndsTheStreamsAtOnce) {
  const auto watcher = Watch("all: true");
  ASSERT_TRUE(watcher->AwaitHeartbeats(1));
  const absl::Time start = absl::Now();
  daemon_.Restart();
  EXPECT_LT(absl::Now() - start, absl::Seconds(8)) << "drain_timeout is 10 s";
  EXPECT_EQ(watcher->AwaitEnd().error_code(), grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace breaker::testing
