// The client library against the real daemon.
#include "breaker/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/time/clock.h"
#include "tests/support/daemon_process.h"
#include "tests/support/eventually.h"

namespace breaker {
namespace {

using testing::DaemonProcess;
using ::testing::HasSubstr;

const Key kKey = {"db", "query"};

// Opens after three failures, for longer than a test takes.
const Policy kPolicy = {
    .failure_threshold = 3, .recovery_timeout = absl::Minutes(10), .minimum_request_count = 3};

Policy WithRecovery(absl::Duration recovery_timeout) {
  Policy policy = kPolicy;
  policy.recovery_timeout = recovery_timeout;
  return policy;
}

class ClientTest : public ::testing::Test {
 protected:
  ClientOptions Options(std::string worker_id) {
    return {.target = daemon_.target(),
            .worker_id = std::move(worker_id),
            .rpc_timeout = absl::Seconds(2),
            .policy = kPolicy,
            .mode = Mode::kRemote};
  }

  static void FailThreeTimes(Client& client, const std::optional<Policy>& policy = std::nullopt) {
    for (int i = 0; i < 3; ++i) {
      const absl::Status status = client.Execute(
          kKey, [] { return absl::UnavailableError("down"); }, nullptr, policy);
      ASSERT_EQ(status.message(), "down");
    }
  }

  static State StateOf(Client& client) {
    const absl::StatusOr<Stats> stats = client.GetStats(kKey);
    EXPECT_TRUE(stats.ok()) << stats.status();
    return stats->state;
  }

  DaemonProcess daemon_;
};

TEST_F(ClientTest, FailuresOfOneWorkerRefuseAllWorkers) {
  Client first(Options("w1"));
  Client second(Options("w2"));
  FailThreeTimes(first);
  bool ran = false;
  const absl::Status status = second.Execute(kKey, [&] { ran = true; });
  EXPECT_FALSE(ran);
  EXPECT_TRUE(IsRefusal(status)) << status;
  EXPECT_GT(RefusalRetryAfter(status), absl::Minutes(9));
  EXPECT_EQ(second
                .Execute(
                    kKey, [] { return 1; }, [] { return 2; })
                .value(),
            2);
}

TEST_F(ClientTest, StatsExplainTheState) {
  Client client(Options("w1"));
  ASSERT_TRUE(client.Execute(kKey, [] {}).ok());
  FailThreeTimes(client);
  const absl::StatusOr<Stats> stats = client.GetStats(kKey);
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_EQ(stats->key.service, "db");
  EXPECT_EQ(stats->state, State::kOpen);
  EXPECT_EQ(stats->lifetime.successes, 1);
  EXPECT_EQ(stats->lifetime.failures, 3);
  EXPECT_EQ(stats->lifetime.times_opened, 1);
  EXPECT_EQ(stats->last_failure_error, "UNAVAILABLE");
  EXPECT_TRUE(stats->next_attempt_time.has_value());
  EXPECT_EQ(stats->policy.failure_threshold, 3);
  EXPECT_EQ(stats->policy.expected_response_time, absl::Seconds(1));
  EXPECT_EQ(stats->policy_source, Stats::PolicySource::kWorker);
  ASSERT_EQ(stats->recent_transitions.size(), 1);
  EXPECT_EQ(stats->recent_transitions[0].cause, "CONSECUTIVE_FAILURES");
  EXPECT_THAT(stats->recent_transitions[0].reason, HasSubstr("3 consecutive failures"));
}

TEST_F(ClientTest, CallersOwnMistakesOpenNothing) {
  Client client(Options("w1"));
  for (int i = 0; i < 10; ++i) {
    (void)client.Execute(kKey, [] { return absl::UnauthenticatedError("expired"); });
  }
  const absl::StatusOr<Stats> stats = client.GetStats(kKey);
  EXPECT_EQ(stats->state, State::kClosed);
  EXPECT_EQ(stats->lifetime.ignored, 10);
  EXPECT_EQ(stats->in_flight, 0);
}

TEST_F(ClientTest, OneProbeClosesTheCircuitForAll) {
  const Policy policy = WithRecovery(absl::Milliseconds(1));
  Client first(Options("w1"));
  Client second(Options("w2"));
  FailThreeTimes(first, policy);
  ASSERT_TRUE(Eventually([&] { return StateOf(first) == State::kHalfOpen; }));

  absl::StatusOr<Permit> probe = first.Acquire(kKey, policy);
  ASSERT_TRUE(probe->probe());
  EXPECT_FALSE(second.Acquire(kKey, policy)->allowed());
  probe->Success();
  EXPECT_TRUE(second.Acquire(kKey, policy)->allowed());
  EXPECT_EQ(StateOf(second), State::kClosed);
}

TEST_F(ClientTest, DroppedProbeIsFreeForAnother) {
  const Policy policy = WithRecovery(absl::Milliseconds(1));
  Client first(Options("w1"));
  Client second(Options("w2"));
  FailThreeTimes(first, policy);
  ASSERT_TRUE(Eventually([&] { return StateOf(first) == State::kHalfOpen; }));
  {
    const absl::StatusOr<Permit> probe = first.Acquire(kKey, policy);
    ASSERT_TRUE(probe->probe());
  }
  EXPECT_TRUE(second.Acquire(kKey, policy)->probe());
}

TEST_F(ClientTest, DurationOfACallMakesItSlow) {
  Client client(Options("w1"));
  client.Acquire(kKey)->Report(Outcome::kSuccess, "", absl::Seconds(2));
  client.Acquire(kKey)->Success();
  EXPECT_EQ(client.GetStats(kKey)->slow_count, 1);
}

TEST_F(ClientTest, ShadowRefusesNothingAndItsCallsAreNotReported) {
  Policy policy = kPolicy;
  policy.shadow = true;
  Client client(Options("w1"));
  FailThreeTimes(client, policy);
  {
    absl::StatusOr<Permit> permit = client.Acquire(kKey, policy);
    EXPECT_TRUE(permit->allowed());
    EXPECT_TRUE(permit->shadow());
    permit->Success();
  }
  const absl::StatusOr<Stats> stats = client.GetStats(kKey);
  EXPECT_EQ(stats->state, State::kOpen);
  EXPECT_EQ(stats->lifetime.rejected, 1);
  EXPECT_EQ(stats->lifetime.stale, 0);
}

TEST_F(ClientTest, CallsReportedWithoutAskingCount) {
  Client client(Options("w1"));
  ASSERT_TRUE(client.Acquire(kKey)->allowed());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(client.Report(kKey, Outcome::kFailure, absl::Milliseconds(1), "IOError").ok());
  }
  EXPECT_EQ(StateOf(client), State::kOpen);
}

TEST_F(ClientTest, WrongPolicyIsNamedAndNothingRuns) {
  Client client(Options("w1"));
  bool ran = false;
  const absl::Status status = client.Execute(
      kKey, [&] { ran = true; }, nullptr, Policy{.recovery_jitter = 2});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("policy.recovery_jitter"));
  EXPECT_FALSE(ran);
}

TEST_F(ClientTest, StatsOfNoBreakerAreNotFound) {
  Client client(Options("w1"));
  EXPECT_EQ(client.GetStats(kKey).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ClientTest, CircuitOutlivesAKilledDaemonAndCallsGoOnMeanwhile) {
  Client client(Options("w1"));
  FailThreeTimes(client);
  daemon_.Kill();
  EXPECT_EQ(client.Execute(kKey, [] { return 1; }).value(), 1);
  daemon_.Restart();
  ASSERT_TRUE(Eventually([&] { return !client.Acquire(kKey)->daemon_unavailable(); }));
  EXPECT_TRUE(IsRefusal(client.Execute(kKey, [] {})));
}

TEST_F(ClientTest, CircuitOutlivesADaemonThatWasToldToStop) {
  Client client(Options("w1"));
  FailThreeTimes(client);
  EXPECT_EQ(daemon_.Terminate(), 0);
  daemon_.Restart();
  ASSERT_TRUE(Eventually([&] { return !client.Acquire(kKey)->daemon_unavailable(); }));
  EXPECT_EQ(client.GetStats(kKey)->lifetime.failures, 3);
}

TEST_F(ClientTest, DaemonThatHangsCostsOneDeadline) {
  Client client(Options("w1"));
  ASSERT_TRUE(client.Execute(kKey, [] {}).ok());
  daemon_.Stop();
  const absl::Time start = absl::Now();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(client.Execute(kKey, [] { return 1; }).value(), 1);
  const absl::Duration waited = absl::Now() - start;
  EXPECT_GE(waited, absl::Seconds(2));
  EXPECT_LT(waited, absl::Seconds(4));
  daemon_.Continue();
  ASSERT_TRUE(Eventually([&] { return !client.Acquire(kKey)->daemon_unavailable(); }));
}

}  // namespace
}  // namespace breaker
