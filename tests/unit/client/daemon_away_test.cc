#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>

#include "absl/time/clock.h"
#include "breaker/client.h"
#include "tests/support/eventually.h"
#include "tests/support/scripted_breaker_service.h"

namespace breaker {
namespace {

using ::testing::Each;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const Key kKey = {"db", "query"};

// Long enough for an rpc on a loaded machine, and long enough that many would be noticed.
constexpr absl::Duration kTimeout = absl::Seconds(1);

class DaemonAwayTest : public ::testing::Test {
 protected:
  ClientOptions Options(OnDaemonUnavailable choice = OnDaemonUnavailable::kAllow) {
    return {.target = service_.target(),
            .rpc_timeout = kTimeout,
            .on_daemon_unavailable = choice,
            .mode = Mode::kRemote};
  }

  // The daemon has answered, so the client has a connection.
  void Connect(Client& client) {
    ASSERT_TRUE(Eventually([&] { return !client.Acquire(kKey)->daemon_unavailable(); }));
  }

  testing::ScriptedBreakerService service_;
};

TEST_F(DaemonAwayTest, FiftyMillisecondsIsTheDefaultDeadline) {
  EXPECT_EQ(ClientOptions().rpc_timeout, absl::Milliseconds(50));
  EXPECT_EQ(ClientOptions().on_daemon_unavailable, OnDaemonUnavailable::kLocal);
}

TEST_F(DaemonAwayTest, CallIsAllowedIfSoAsked) {
  Client client(Options());
  service_.Stop();
  const absl::StatusOr<Permit> permit = client.Acquire(kKey);
  ASSERT_TRUE(permit.ok()) << permit.status();
  EXPECT_TRUE(permit->allowed());
  EXPECT_TRUE(permit->daemon_unavailable());
  EXPECT_EQ(client.Execute(kKey, [] { return 1; }).value(), 1);
}

TEST_F(DaemonAwayTest, CallIsDeniedIfSoAsked) {
  Client client(Options(OnDaemonUnavailable::kDeny));
  service_.Stop();
  bool ran = false;
  const absl::Status status = client.Execute(kKey, [&] { ran = true; });
  EXPECT_FALSE(ran);
  EXPECT_TRUE(IsRefusal(status)) << status;
  EXPECT_GT(RefusalRetryAfter(status), absl::ZeroDuration());
  EXPECT_EQ(client
                .Execute(
                    kKey, [] { return 1; }, [] { return 2; })
                .value(),
            2);
}

TEST_F(DaemonAwayTest, PermitOfAnAbsentDaemonIsNotReported) {
  Client client(Options());
  service_.Stop();
  absl::StatusOr<Permit> permit = client.Acquire(kKey);
  service_.Start();
  ASSERT_TRUE(Eventually([&] { return !client.Acquire(kKey)->daemon_unavailable(); }));
  const size_t reports = service_.reports().size();
  permit->Failure();
  EXPECT_THAT(service_.reports(), SizeIs(reports));
}

TEST_F(DaemonAwayTest, ReportIsLostQuietly) {
  Client client(Options());
  Connect(client);
  absl::StatusOr<Permit> permit = client.Acquire(kKey);
  service_.Stop();
  permit->Success();
  EXPECT_EQ(client.Report(kKey, Outcome::kSuccess, absl::ZeroDuration()).code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(client.GetStats(kKey).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(DaemonAwayTest, DaemonThatNeverAnswersCostsOneDeadline) {
  Client client(Options());
  Connect(client);
  const size_t asked = service_.acquires().size();
  service_.Hang();
  const absl::Time start = absl::Now();
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(client.Acquire(kKey)->daemon_unavailable());
    (void)client.Report(kKey, Outcome::kSuccess, absl::ZeroDuration());
    (void)client.GetStats(kKey);
  }
  EXPECT_LT(absl::Now() - start, 2 * kTimeout);
  EXPECT_THAT(service_.acquires(), SizeIs(asked + 1));
}

TEST_F(DaemonAwayTest, DeadDaemonCostsLessThanOneDeadline) {
  Client client(Options());
  Connect(client);
  service_.Stop();
  const absl::Time start = absl::Now();
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(client.Acquire(kKey)->allowed());
  EXPECT_LT(absl::Now() - start, kTimeout);
}

TEST_F(DaemonAwayTest, PingsGoOutOneAtATime) {
  Client client(Options());
  Connect(client);
  service_.Hang();
  (void)client.Acquire(kKey);
  ASSERT_TRUE(Eventually([&] {
    (void)client.Acquire(kKey);
    return service_.list_calls() == 1;
  }));
  // Several ping intervals, all within the deadline of the first ping.
  const absl::Time end = absl::Now() + absl::Milliseconds(500);
  while (absl::Now() < end) (void)client.Acquire(kKey);
  EXPECT_EQ(service_.list_calls(), 1);
}

TEST_F(DaemonAwayTest, PingsKeepTheirInterval) {
  Client client(
      {.target = service_.target(), .rpc_timeout = absl::Milliseconds(10), .mode = Mode::kRemote});
  service_.Hang();
  const absl::Time start = absl::Now();
  ASSERT_TRUE(Eventually([&] {
    (void)client.Acquire(kKey);
    return service_.list_calls() == 4;
  }));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(300));
}

TEST_F(DaemonAwayTest, DaemonThatAnswersAgainIsAskedAgain) {
  Client client(Options());
  Connect(client);
  service_.Hang();
  EXPECT_TRUE(client.Acquire(kKey)->daemon_unavailable());
  service_.Release();
  Connect(client);
}

TEST_F(DaemonAwayTest, RestartedDaemonIsAskedAgain) {
  Client client(Options());
  Connect(client);
  service_.Stop();
  EXPECT_TRUE(client.Acquire(kKey)->daemon_unavailable());
  service_.Start();
  const absl::Time start = absl::Now();
  Connect(client);
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));  // Not gRPC's own backoff of two minutes.
}

TEST_F(DaemonAwayTest, PingThatIsAnsweredWithAnErrorBringsTheDaemonBack) {
  Client client(Options());
  Connect(client);
  service_.Hang();
  (void)client.Acquire(kKey);
  service_.Fail({grpc::StatusCode::RESOURCE_EXHAUSTED, "full"});
  service_.Release();
  EXPECT_TRUE(Eventually([&] { return absl::IsResourceExhausted(client.Acquire(kKey).status()); }));
}

TEST_F(DaemonAwayTest, RpcCutOffByAShutdownMeansAway) {
  Client client(Options());
  Connect(client);
  service_.Fail({grpc::StatusCode::CANCELLED, "shutting down"});
  const absl::StatusOr<Permit> permit = client.Acquire(kKey);
  ASSERT_TRUE(permit.ok()) << permit.status();
  EXPECT_TRUE(permit->daemon_unavailable());
}

TEST_F(DaemonAwayTest, ClientEndsAtOnceWhileAPingHangs) {
  auto client = std::make_unique<Client>(ClientOptions{
      .target = service_.target(), .rpc_timeout = absl::Seconds(5), .mode = Mode::kRemote});
  service_.Fail({grpc::StatusCode::UNAVAILABLE, "away"});
  (void)client->Acquire(kKey);
  service_.Hang();
  ASSERT_TRUE(Eventually([&] {
    (void)client->Acquire(kKey);
    return service_.list_calls() >= 1;
  }));
  const absl::Time start = absl::Now();
  client.reset();
  EXPECT_LT(absl::Now() - start, absl::Seconds(4));
}

TEST_F(DaemonAwayTest, ManyThreadsMayShareAClient) {
  Client client(Options());
  Connect(client);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 100; ++j) EXPECT_EQ(client.Execute(kKey, [] { return 1; }).value(), 1);
    });
  }
  service_.Stop();
  service_.Start();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace breaker
