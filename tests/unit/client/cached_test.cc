// A client in Mode::kCached and a daemon that is there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "breaker/client.h"
#include "tests/support/eventually.h"
#include "tests/support/messages.h"
#include "tests/support/scripted_breaker_service.h"

namespace {

// Allocations by this thread.
thread_local int64_t allocations = 0;

}  // namespace

// Not inlined: the compiler would see a malloc that is deleted, and say so.
#ifndef __SANITIZE_ADDRESS__  // which has an allocator of its own, and pairs its calls
[[gnu::noinline]] void* operator new(size_t size) {
  ++allocations;
  if (void* const memory = malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { free(memory); }
#endif

namespace breaker {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;
using testing::Text;

// Far above what an rpc takes on a loaded machine; no test waits for it to pass.
constexpr absl::Duration kPatience = absl::Seconds(20);
const Key kKey = {"db", "query"};

class CachedTest : public ::testing::Test {
 protected:
  ClientOptions Options() { return {.target = service_.target(), .rpc_timeout = kPatience}; }

  // From then on the client decides by what the stream says. Leaves no outcome behind.
  void Follow(Client& client, const Key& key = kKey) {
    ASSERT_TRUE(Eventually([&] {
      const size_t asked = service_.acquires().size();
      client.Acquire(key)->Ignore();
      return service_.acquires().size() == asked;
    }));
    ASSERT_TRUE(Eventually([&] { return !service_.runs().empty(); }));
  }

  // The outcomes that the daemon was told in batches since Follow, but for ignored ones.
  uint64_t Told(v1::Outcome outcome) {
    uint64_t count = 0;
    for (const v1::OutcomeRun& run : service_.runs()) {
      if (run.outcome() == outcome) count += run.count();
    }
    return count;
  }

  v1::CircuitUpdate Update(const std::string& rest) {
    return Text<v1::CircuitUpdate>("service: 'db' operation: 'query' " + rest);
  }

  testing::ScriptedBreakerService service_;
};

TEST_F(CachedTest, IsTheDefault) {
  EXPECT_EQ(ClientOptions().mode, Mode::kCached);
  EXPECT_EQ(ClientOptions().on_daemon_unavailable, OnDaemonUnavailable::kLocal);
}

TEST_F(CachedTest, FirstCallAsksAndSubscribes) {
  Client client({.target = service_.target(),
                 .worker_id = "w1",
                 .rpc_timeout = kPatience,
                 .policy = Policy{.failure_threshold = 3}});
  client.Acquire(kKey)->Success();
  EXPECT_THAT(service_.acquires(), SizeIs(1));
  ASSERT_THAT(service_.reports(), SizeIs(1));
  EXPECT_EQ(service_.reports()[0].permit_id(), 7);
  ASSERT_TRUE(Eventually([&] { return service_.subscriptions().size() == 1; }));
  EXPECT_EQ(service_.subscriptions()[0].service(), "db");
  EXPECT_EQ(service_.subscriptions()[0].operation(), "query");
  EXPECT_EQ(service_.subscriptions()[0].policy().failure_threshold(), 3);
}

TEST_F(CachedTest, CallsAskUntilTheSubscriptionIsAnswered) {
  service_.IgnoreSubscriptions();
  Client client(Options());
  client.Acquire(kKey)->Success();
  ASSERT_TRUE(Eventually([&] { return service_.subscriptions().size() == 1; }));
  client.Acquire(kKey)->Success();
  EXPECT_THAT(service_.acquires(), SizeIs(2));
  EXPECT_THAT(service_.reports(), SizeIs(2));
  EXPECT_THAT(service_.subscriptions(), SizeIs(1));
}

TEST_F(CachedTest, ClosedCircuitNeedsNoRpc) {
  Client client(Options());
  Follow(client);
  const size_t asked = service_.acquires().size();
  const size_t reported = service_.reports().size();
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(client.Execute(kKey, [] {}).ok());
  EXPECT_THAT(service_.acquires(), SizeIs(asked));
  ASSERT_TRUE(Eventually([&] { return Told(v1::SUCCESS) == 100; }));
  EXPECT_THAT(service_.reports(), SizeIs(reported));
}

TEST_F(CachedTest, CallAllocatesNothing) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "allocations are AddressSanitizer's here";
#endif
  Client client(Options());
  const Key key = {std::string(100, 's'), std::string(100, 'o')};
  Follow(client, key);
  client.Acquire(key)->Success();
  const int64_t before = allocations;
  for (int i = 0; i < 100; ++i) client.Acquire(key)->Success();
  EXPECT_EQ(allocations, before);
}

TEST_F(CachedTest, BatchNamesWorkerSessionAndGeneration) {
  service_.AnswerSubscriptions(Text<v1::CircuitUpdate>("state: CLOSED generation: 7"));
  Client client({.target = service_.target(), .worker_id = "w1", .rpc_timeout = kPatience});
  Follow(client);
  const size_t before = service_.batches().size();
  client.Acquire(kKey)->Failure("IOError");
  ASSERT_TRUE(Eventually([&] { return service_.batches().size() > before; }));
  const std::vector<v1::ReportBatchRequest> batches = service_.batches();
  EXPECT_EQ(batches.back().worker_id(), "w1");
  EXPECT_NE(batches.back().session_id(), 0);
  EXPECT_EQ(batches.back().session_id(), batches.front().session_id());
  EXPECT_EQ(batches.front().sequence(), 1);
  EXPECT_EQ(batches.back().sequence(), batches.size());
  ASSERT_THAT(batches.back().outcomes(), SizeIs(1));
  const v1::OutcomeRun& run = batches.back().outcomes(0);
  EXPECT_EQ(run.service(), "db");
  EXPECT_EQ(run.operation(), "query");
  EXPECT_EQ(run.generation(), 7);
  EXPECT_EQ(run.outcome(), v1::FAILURE);
  EXPECT_EQ(run.count(), 1);
  EXPECT_EQ(run.error(), "IOError");
}

TEST_F(CachedTest, FailuresOfAFewAnswersComeInFewBatches) {
  Client client(Options());
  Follow(client);
  const size_t before = service_.batches().size();
  const absl::Time start = absl::Now();
  uint64_t failures = 0;
  for (; absl::Now() - start < absl::Milliseconds(20); ++failures) client.Acquire(kKey)->Failure();
  ASSERT_TRUE(Eventually([&] { return Told(v1::FAILURE) == failures; }));
  EXPECT_LE(service_.batches().size() - before, 25);
}

TEST_F(CachedTest, RestIsSentWhenTheClientEnds) {
  auto client = std::make_unique<Client>(Options());
  Follow(*client);
  for (int i = 0; i < 10; ++i) client->Acquire(kKey)->Success();
  client->Acquire(kKey)->Failure();
  client->Acquire(kKey)->Success();
  client.reset();
  EXPECT_EQ(Told(v1::SUCCESS), 11);
  EXPECT_EQ(Told(v1::FAILURE), 1);
  EXPECT_TRUE(Eventually([&] { return service_.streams() == 0; }));
}

TEST_F(CachedTest, TripIsHeardOfAndRefusesLocally) {
  Client client(Options());
  Follow(client);
  service_.Push(Update("state: OPEN generation: 2 retry_after { seconds: 60 }"));
  const size_t asked = service_.acquires().size();
  ASSERT_TRUE(Eventually([&] { return !client.Acquire(kKey)->allowed(); }));
  const absl::StatusOr<Permit> permit = client.Acquire(kKey);
  EXPECT_EQ(permit->state(), State::kOpen);
  EXPECT_GT(permit->retry_after(), absl::Seconds(20));
  EXPECT_FALSE(permit->daemon_unavailable());
  EXPECT_TRUE(IsRefusal(permit->status()));
  EXPECT_EQ(client
                .Execute(
                    kKey, [] { return 1; }, [] { return 2; })
                .value(),
            2);
  EXPECT_THAT(service_.acquires(), SizeIs(asked));
}

TEST_F(CachedTest, ProbeIsTheDaemonsToGrantAndIsReportedToIt) {
  Client client(Options());
  Follow(client);
  service_.AnswerAcquire(Text<v1::AcquireResponse>(
      "allowed: true permit_id: 9 probe: true state: HALF_OPEN generation: 3"));
  const size_t reported = service_.reports().size();
  service_.Push(Update("state: OPEN generation: 2 retry_after { nanos: 50000000 }"));
  ASSERT_TRUE(Eventually([&] { return !client.Acquire(kKey)->allowed(); }));
  ASSERT_TRUE(Eventually([&] {
    absl::StatusOr<Permit> permit = client.Acquire(kKey);
    if (!permit->probe()) return false;
    permit->Success();
    return true;
  }));
  ASSERT_THAT(service_.reports(), SizeIs(reported + 1));
  EXPECT_EQ(service_.reports().back().permit_id(), 9);
}

TEST_F(CachedTest, RefusedProbeIsNotAskedForAgainBeforeItsTime) {
  Client client(Options());
  Follow(client);
  service_.AnswerAcquire(
      Text<v1::AcquireResponse>("state: HALF_OPEN generation: 3 retry_after { seconds: 60 }"));
  service_.Push(Update("state: OPEN generation: 2"));
  const size_t asked = service_.acquires().size();
  ASSERT_TRUE(Eventually([&] { return client.Acquire(kKey)->state() == State::kHalfOpen; }));
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(client.Acquire(kKey)->allowed());
  EXPECT_THAT(service_.acquires(), SizeIs(asked + 1));
}

TEST_F(CachedTest, UnansweredQuestionForAProbeIsARefusalWhileTheDaemonIsHeardFrom) {
  ClientOptions options = Options();
  options.rpc_timeout = absl::Milliseconds(500);
  Client client(options);
  Follow(client);
  service_.AnswerAcquire(Text<v1::AcquireResponse>("state: HALF_OPEN generation: 3"));
  service_.Push(Update("state: HALF_OPEN generation: 3"));
  ASSERT_TRUE(Eventually([&] { return client.Acquire(kKey)->state() == State::kHalfOpen; }));
  service_.Hang();
  // A breaker of the client's own would let one call through.
  for (int i = 0; i < 3; ++i) {
    const absl::StatusOr<Permit> permit = client.Acquire(kKey);
    EXPECT_FALSE(permit->allowed());
    EXPECT_EQ(permit->state(), State::kHalfOpen);
    EXPECT_FALSE(permit->daemon_unavailable());
  }
  service_.Release();
}

TEST_F(CachedTest, ShadowIsHonoured) {
  Client client(Options());
  Follow(client);
  service_.Push(
      Update("state: OPEN generation: 2 retry_after { seconds: 60 } policy { shadow: true }"));
  ASSERT_TRUE(Eventually([&] { return client.Acquire(kKey)->shadow(); }));
  absl::StatusOr<Permit> permit = client.Acquire(kKey);
  EXPECT_TRUE(permit->allowed());
  permit->Failure();
  service_.Push(Update("state: CLOSED generation: 3"));
  ASSERT_TRUE(Eventually([&] { return !client.Acquire(kKey)->shadow(); }));
  client.Acquire(kKey)->Success();
  ASSERT_TRUE(Eventually([&] { return Told(v1::SUCCESS) == 1; }));
  EXPECT_EQ(Told(v1::FAILURE), 0);
}

TEST_F(CachedTest, RemovedBreakerIsAskedAboutAndSubscribedAnew) {
  Client client(Options());
  Follow(client);
  const size_t asked = service_.acquires().size();
  service_.Push(Update("removed: true"));
  ASSERT_TRUE(Eventually([&] {
    client.Acquire(kKey)->Ignore();
    return service_.acquires().size() > asked;
  }));
  EXPECT_TRUE(Eventually([&] { return service_.subscriptions().size() == 2; }));
}

TEST_F(CachedTest, AnotherPolicyIsBroughtToTheDaemonAtOnce) {
  Client client(Options());
  Follow(client);
  const size_t asked = service_.acquires().size();
  const Policy policy = {.failure_threshold = 3};
  for (int i = 0; i < 3; ++i) client.Acquire(kKey, policy)->Success();
  ASSERT_THAT(service_.acquires(), SizeIs(asked + 1));
  EXPECT_EQ(service_.acquires().back().policy().failure_threshold(), 3);
}

TEST_F(CachedTest, WhatTheDaemonRejectsIsNotSubscribedTo) {
  Client client(Options());
  Follow(client);
  const size_t subscribed = service_.subscriptions().size();
  service_.Fail({grpc::StatusCode::INVALID_ARGUMENT, "policy.recovery_jitter: 2 is not in [0, 1)"});
  EXPECT_TRUE(absl::IsInvalidArgument(client.Acquire({"", "bad"}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(client.Acquire(kKey, Policy{.recovery_jitter = 2}).status()));
  const size_t asked = service_.acquires().size();
  EXPECT_TRUE(client.Acquire(kKey)->allowed());
  EXPECT_THAT(service_.acquires(), SizeIs(asked));
  EXPECT_THAT(service_.subscriptions(), SizeIs(subscribed));
  EXPECT_EQ(client.cache_stats().breakers, 1);
}

TEST_F(CachedTest, BreakersPastTheBoundAreRemote) {
  Client client({.target = service_.target(), .rpc_timeout = kPatience, .max_cached_breakers = 1});
  Follow(client);
  const size_t asked = service_.acquires().size();
  const size_t reported = service_.reports().size();
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(client.Execute({"one", "more"}, [] {}).ok());
  EXPECT_THAT(service_.acquires(), SizeIs(asked + 5));
  EXPECT_THAT(service_.reports(), SizeIs(reported + 5));
  EXPECT_EQ(client.cache_stats().breakers, 1);
}

TEST_F(CachedTest, DaemonWithoutStreamsIsAskedForEachCall) {
  service_.EndStreams({grpc::StatusCode::UNIMPLEMENTED, "no Watch here"});
  Client client(Options());
  for (int i = 0; i < 5; ++i) client.Acquire(kKey)->Success();
  EXPECT_THAT(service_.acquires(), SizeIs(5));
  EXPECT_THAT(service_.reports(), SizeIs(5));
  EXPECT_THAT(service_.batches(), IsEmpty());
}

TEST_F(CachedTest, BatchThatIsRejectedIsGivenUpAndCounted) {
  Client client(Options());
  Follow(client);
  service_.FailBatches(
      {grpc::StatusCode::INVALID_ARGUMENT, "outcomes[0].count: 0 is not 1 or more"});
  client.Acquire(kKey)->Failure();
  client.Acquire(kKey)->Failure();
  ASSERT_TRUE(Eventually([&] { return client.cache_stats().dropped_outcomes == 2; }));
}

TEST_F(CachedTest, ManyThreadsOnOneBreakerLoseNoOutcome) {
  constexpr int kThreads = 4;
  constexpr int kCalls = 20'000;
  auto client = std::make_unique<Client>(Options());
  Follow(*client);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int call = 0; call < kCalls; ++call) {
        absl::StatusOr<Permit> permit = client->Acquire(kKey);
        if (call % 100 == 0) {
          permit->Failure();
        } else {
          permit->Success();
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  client.reset();
  EXPECT_EQ(Told(v1::FAILURE), kThreads * kCalls / 100);
  EXPECT_EQ(Told(v1::SUCCESS), kThreads * kCalls / 100 * 99);
}

}  // namespace
}  // namespace breaker
