// The client library in its cached mode against the real daemon.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "breaker/client.h"
#include "tests/support/daemon_process.h"
#include "tests/support/eventually.h"

namespace breaker {
namespace {

using testing::DaemonProcess;

const Key kKey = {"db", "query"};

// Opens after three failures, for longer than a test takes.
const Policy kPolicy = {
    .failure_threshold = 3, .recovery_timeout = absl::Minutes(10), .minimum_request_count = 3};

class CachedClientTest : public ::testing::Test {
 protected:
  ClientOptions Options(std::string worker_id, absl::Duration recovery = absl::Minutes(10)) {
    Policy policy = kPolicy;
    policy.recovery_timeout = recovery;
    return {.target = daemon_.target(),
            .worker_id = std::move(worker_id),
            .rpc_timeout = absl::Seconds(2),
            .policy = policy};
  }

  // The daemon's word. A client that found it away asks again only once a ping was answered.
  Stats StatsOf(Client& client) {
    absl::StatusOr<Stats> stats = Stats();
    EXPECT_TRUE(Eventually([&] { return (stats = client.GetStats(kKey)).ok(); })) << stats.status();
    return stats.ok() ? *std::move(stats) : Stats();
  }

  // Makes ignored calls until one of them was not known to the daemon at once, as it would be if it
  // had been asked.
  void Follow(Client& client) {
    client.Acquire(kKey)->Ignore();
    ASSERT_TRUE(Eventually([&] {
      const uint64_t before = StatsOf(client).lifetime.ignored;
      client.Acquire(kKey)->Ignore();
      return StatsOf(client).lifetime.ignored == before;
    }));
  }

  void Fail(Client& client, int times) {
    for (int i = 0; i < times; ++i) {
      EXPECT_EQ(client.Execute(kKey, [] { return absl::UnavailableError("down"); }).message(),
                "down");
    }
  }

  DaemonProcess daemon_;
};

TEST_F(CachedClientTest, FailuresOfOneWorkerRefuseAllWorkers) {
  Client first(Options("w1"));
  Client second(Options("w2"));
  Follow(first);
  Follow(second);
  Fail(first, 3);
  EXPECT_TRUE(Eventually([&] { return !second.Acquire(kKey)->allowed(); }));
  EXPECT_TRUE(Eventually([&] { return !first.Acquire(kKey)->allowed(); }));
  const Stats stats = StatsOf(first);
  EXPECT_EQ(stats.state, State::kOpen);
  EXPECT_EQ(stats.lifetime.failures, 3);
  EXPECT_EQ(stats.last_failure_error, "UNAVAILABLE");
  EXPECT_EQ(stats.policy.failure_threshold, 3);
  // Refused locally.
  EXPECT_FALSE(second.Acquire(kKey)->allowed());
  EXPECT_EQ(StatsOf(first).lifetime.rejected, stats.lifetime.rejected);
}

TEST_F(CachedClientTest, OneProbeClosesTheCircuitForAll) {
  Client first(Options("w1", absl::Milliseconds(500)));
  Client second(Options("w2", absl::Milliseconds(500)));
  Follow(first);
  Follow(second);
  Fail(first, 3);
  ASSERT_TRUE(Eventually([&] { return !second.Acquire(kKey)->allowed(); }));
  std::optional<Permit> probe;
  ASSERT_TRUE(Eventually([&] {
    absl::StatusOr<Permit> permit = second.Acquire(kKey);
    if (permit->probe()) probe = *std::move(permit);
    return probe.has_value();
  }));
  ASSERT_TRUE(Eventually([&] { return !first.Acquire(kKey)->allowed(); }));
  probe->Success();
  EXPECT_TRUE(Eventually([&] { return first.Acquire(kKey)->allowed(); }));
  EXPECT_TRUE(Eventually([&] { return second.Acquire(kKey)->allowed(); }));
}

TEST_F(CachedClientTest, AllOutcomesOfManyThreadsCountOnce) {
  constexpr int kThreads = 4;
  constexpr int kCalls = 50'000;
  auto client = std::make_unique<Client>(Options("w1"));
  Follow(*client);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int call = 0; call < kCalls; ++call) client->Acquire(kKey)->Success();
    });
  }
  for (std::thread& thread : threads) thread.join();
  client.reset();
  Client other(Options("w2"));
  EXPECT_EQ(StatsOf(other).lifetime.successes, kThreads * kCalls);
}

TEST_F(CachedClientTest, NoOutcomeIsLostOrCountedTwiceWhenTheDaemonIsKilled) {
  Client client(Options("w1"));
  Follow(client);
  uint64_t successes = 0;
  const auto call_for = [&](absl::Duration time) {
    const absl::Time end = absl::Now() + time;
    for (; absl::Now() < end; std::this_thread::yield()) {
      absl::StatusOr<Permit> permit = client.Acquire(kKey);
      if (permit->daemon_unavailable()) continue;
      permit->Success();
      ++successes;
    }
  };
  for (int i = 0; i < 3; ++i) {
    call_for(absl::Milliseconds(300));
    daemon_.Kill();
    call_for(absl::Milliseconds(50));  // Still believed.
    daemon_.Restart();
    call_for(absl::Milliseconds(300));
  }
  ASSERT_TRUE(Eventually([&] {
    const absl::StatusOr<Stats> stats = client.GetStats(kKey);
    return stats.ok() && stats->lifetime.successes >= successes;
  }));
  EXPECT_EQ(StatsOf(client).lifetime.successes, successes);
  EXPECT_EQ(client.cache_stats().dropped_outcomes, 0);
}

TEST_F(CachedClientTest, StatesAgreeAgainSoonAfterARestart) {
  Client first(Options("w1"));
  Follow(first);
  daemon_.Kill();
  ASSERT_TRUE(first.Acquire(kKey)->allowed()) << "still believed";
  daemon_.Restart();
  const absl::Time listening = absl::Now();
  ClientOptions asks = Options("w2");
  asks.mode = Mode::kRemote;
  Client second(asks);
  Fail(second, 3);

  EXPECT_TRUE(Eventually([&] { return !first.Acquire(kKey)->allowed(); }));

  const absl::Duration took = absl::Now() - listening;
  RecordProperty("took", absl::FormatDuration(took));
  // A tenth of a second where nothing else runs; sanitizers and other loads take their share.
  EXPECT_LT(took, absl::Seconds(5));
}

TEST_F(CachedClientTest, LocalBreakerStandsInForADaemonThatIsKilled) {
  Client client(Options("w1"));
  Follow(client);
  daemon_.Kill();
  ASSERT_TRUE(Eventually([&] { return client.Acquire(kKey)->daemon_unavailable(); }));
  Fail(client, 3);
  EXPECT_FALSE(client.Acquire(kKey)->allowed());
  daemon_.Restart();
  EXPECT_TRUE(Eventually([&] {
    const absl::StatusOr<Permit> permit = client.Acquire(kKey);
    return permit->allowed() && !permit->daemon_unavailable();
  }));
  EXPECT_EQ(StatsOf(client).lifetime.failures, 0);
}

TEST_F(CachedClientTest, DaemonThatHangsIsReplacedByTheLocalBreaker) {
  Client client(Options("w1"));
  Follow(client);
  daemon_.Stop();
  ASSERT_TRUE(Eventually([&] { return client.Acquire(kKey)->daemon_unavailable(); }));
  const absl::Time start = absl::Now();
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(client.Acquire(kKey)->allowed());
  EXPECT_LT(absl::Now() - start, absl::Seconds(2));
  daemon_.Continue();
  ASSERT_TRUE(Eventually([&] { return !client.Acquire(kKey)->daemon_unavailable(); }));
}

}  // namespace
}  // namespace breaker
