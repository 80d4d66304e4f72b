// A client whose token the daemon does not know, or whose role it does not permit what it asks: the
// worker's calls go on, nothing spins, and what was to be reported is when that is put right.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "breaker/client.h"
#include "tests/support/eventually.h"
#include "tests/support/messages.h"
#include "tests/support/scripted_breaker_service.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/text_file.h"

namespace breaker {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using testing::Text;
using testing::WriteFile;

const Key kKey = {"db", "query"};
constexpr absl::Duration kTimeout = absl::Seconds(5);

class DeniedTest : public ::testing::Test {
 protected:
  DeniedTest() {
    service_.Beat(absl::Milliseconds(200));
    service_.RequireToken("good");
  }

  ClientOptions Options(Mode mode, OnDaemonUnavailable choice = OnDaemonUnavailable::kLocal) {
    return {.target = service_.target(),
            .token_file = token_file_,
            .token_over_plaintext = true,
            .rpc_timeout = kTimeout,
            .on_daemon_unavailable = choice,
            .policy = Policy{.failure_threshold = 2, .minimum_request_count = 1},
            .mode = mode};
  }
  // Calls are decided by what the stream says, and their outcomes go out.
  void Follow(Client& client) {
    ASSERT_TRUE(Eventually([&] {
      client.Acquire(kKey)->Success();
      return !service_.batches().empty();
    }));
  }
  // The token is not known any more, and the stream is over.
  void Revoke() {
    service_.RequireToken("another");
    service_.EndStreams({grpc::StatusCode::UNAUTHENTICATED, "revoked"});
  }
  void Grant() {
    service_.EndStreams(grpc::Status::OK);
    service_.RequireToken("good");
  }
  uint64_t Reported() const {
    uint64_t count = 0;
    for (const v1::OutcomeRun& run : service_.runs()) count += run.count();
    return count;
  }

  TempDir dir_;
  const std::string token_file_ = WriteFile(dir_ / "token", "good");
  testing::ScriptedBreakerService service_;
};

TEST_F(DeniedTest, UnknownTokenLeavesTheCallToTheRule) {
  service_.RequireToken("another");
  for (const Mode mode : {Mode::kRemote, Mode::kCached}) {
    for (const auto choice : {OnDaemonUnavailable::kAllow, OnDaemonUnavailable::kLocal}) {
      Client client(Options(mode, choice));
      const absl::StatusOr<Permit> permit = client.Acquire(kKey);
      ASSERT_THAT(permit, IsOk());
      EXPECT_TRUE(permit->allowed());
      EXPECT_TRUE(permit->daemon_unavailable());
      EXPECT_EQ(client.Execute(kKey, [] { return 1; }).value(), 1);
    }
    Client client(Options(mode, OnDaemonUnavailable::kDeny));
    EXPECT_TRUE(IsRefusal(client.Execute(kKey, [] { return 1; }).status()));
  }
}

TEST_F(DeniedTest, UnknownTokenIsSaid) {
  service_.RequireToken("another");
  Client client(Options(Mode::kRemote));
  const auto is_unknown = StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("no such token"));
  EXPECT_THAT(client.daemon_status(), IsOk());
  EXPECT_THAT(client.GetStats(kKey), is_unknown);
  EXPECT_THAT(client.Report(kKey, Outcome::kSuccess, absl::ZeroDuration()), is_unknown);
  EXPECT_THAT(client.daemon_status(), is_unknown);
}

TEST_F(DeniedTest, OwnBreakerOpensForAWorkerThatIsNotKnown) {
  service_.RequireToken("another");
  Client client(Options(Mode::kCached));
  for (int i = 0; i < 2; ++i) client.Acquire(kKey)->Failure();
  EXPECT_FALSE(client.Acquire(kKey)->allowed());
}

TEST_F(DeniedTest, WorkerThatIsNotKnownAsksOnceASecond) {
  service_.RequireToken("another");
  Client client(Options(Mode::kCached));
  const absl::Time start = absl::Now();
  EXPECT_TRUE(Eventually([&] {
    client.Acquire(kKey)->Success();
    return service_.unauthenticated() >= 4;  // The call, a ping at once, and two later.
  }));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(1900));
}

TEST_F(DeniedTest, CorrectedTokenFileBringsTheDaemonBack) {
  WriteFile(token_file_, "bad");
  for (const Mode mode : {Mode::kRemote, Mode::kCached}) {
    Client client(Options(mode));
    ASSERT_TRUE(client.Acquire(kKey)->daemon_unavailable());
    WriteFile(token_file_, "good");
    EXPECT_TRUE(Eventually([&] { return !client.Acquire(kKey)->daemon_unavailable(); }));
    EXPECT_THAT(client.daemon_status(), IsOk());
    WriteFile(token_file_, "bad");
  }
}

TEST_F(DeniedTest, RevokedTokenBreaksNoCallAndLosesNoOutcome) {
  Client client(Options(Mode::kCached));
  Follow(client);
  Revoke();
  // Those that the cache allows while it is trusted still wait to be reported after that.
  uint64_t cached = 0;
  ASSERT_TRUE(Eventually([&] {
    absl::StatusOr<Permit> permit = client.Acquire(kKey);
    EXPECT_THAT(permit, IsOk());
    EXPECT_TRUE(permit->allowed());
    permit->Success();
    cached += permit->daemon_unavailable() ? 0 : 1;
    return permit->daemon_unavailable();
  }));
  EXPECT_GT(cached, 0U);
  EXPECT_THAT(client.daemon_status(), StatusIs(absl::StatusCode::kUnauthenticated));
  const uint64_t reported = Reported();

  WriteFile(token_file_, "another");
  service_.EndStreams(grpc::Status::OK);
  EXPECT_TRUE(Eventually([&] { return Reported() > reported; }));
  EXPECT_TRUE(Eventually([&] { return !client.Acquire(kKey)->daemon_unavailable(); }));
  EXPECT_TRUE(Eventually([&] { return client.daemon_status().ok(); }));
  EXPECT_EQ(client.cache_stats().dropped_outcomes, 0U);
}

TEST_F(DeniedTest, BatchesOfAnUnknownTokenAreSentAgainOnceASecond) {
  Client client(Options(Mode::kCached));
  Follow(client);
  service_.FailBatches({grpc::StatusCode::UNAUTHENTICATED, "revoked"});
  const size_t before = service_.batches().size();
  client.Acquire(kKey)->Failure("refused batch");
  const absl::Time start = absl::Now();
  ASSERT_TRUE(Eventually([&] {
    client.Acquire(kKey)->Success();  // The stream is up: decided at once.
    return service_.batches().size() >= before + 4;
  }));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(1900));
  EXPECT_THAT(client.daemon_status(), StatusIs(absl::StatusCode::kUnauthenticated));

  // Always the same one; it is accepted in the end, and so are those behind it.
  const uint64_t denied = service_.batches()[before + 2].sequence();
  EXPECT_EQ(service_.batches().back().sequence(), denied);
  service_.FailBatches(grpc::Status::OK);
  EXPECT_TRUE(Eventually([&] { return service_.batches().back().sequence() > denied; }));
  EXPECT_TRUE(Eventually([&] { return client.daemon_status().ok(); }));
  EXPECT_EQ(client.cache_stats().dropped_outcomes, 0U);
}

TEST_F(DeniedTest, StreamThatGoesOnHoldsNoCallOfAnUnknownWorkerBack) {
  service_.AnswerSubscriptions(
      Text<v1::CircuitUpdate>("state: OPEN generation: 2 retry_after { seconds: 1 } "
                              "policy { failure_threshold: 2 minimum_request_count: 1 }"));
  v1::AcquireResponse refusal;
  refusal.set_state(v1::OPEN);
  refusal.set_generation(2);
  refusal.mutable_retry_after()->set_seconds(1);
  service_.AnswerAcquire(refusal);
  Client client(Options(Mode::kCached));
  // Until it is the stream's word that refuses.
  ASSERT_TRUE(Eventually([&] {
    const size_t asked = service_.acquires().size();
    return !client.Acquire(kKey)->allowed() && service_.acquires().size() == asked;
  }));
  service_.RequireToken("another");
  // A probe is to be had when the time is over, by the stream, and so for ever; the worker's own
  // breaker gives one.
  EXPECT_TRUE(Eventually([&] { return client.Acquire(kKey)->allowed(); }, absl::Seconds(5)));
  EXPECT_EQ(service_.streams(), 1);
}

TEST_F(DeniedTest, WhatIsNotPermittedLeavesTheCallToTheRule) {
  service_.Fail({grpc::StatusCode::PERMISSION_DENIED, "not for you"});
  for (const Mode mode : {Mode::kRemote, Mode::kCached}) {
    Client client(Options(mode));
    const absl::StatusOr<Permit> permit = client.Acquire(kKey);
    ASSERT_THAT(permit, IsOk());
    EXPECT_TRUE(permit->allowed());
    EXPECT_TRUE(permit->daemon_unavailable());
    EXPECT_THAT(client.daemon_status(),
                StatusIs(absl::StatusCode::kPermissionDenied, "not for you"));
    for (int i = 0; i < 2; ++i) client.Acquire(kKey)->Failure();
    EXPECT_FALSE(client.Acquire(kKey)->allowed());
  }
}

TEST_F(DeniedTest, WhatIsNotPermittedIsAskedOnceASecond) {
  service_.Fail({grpc::StatusCode::PERMISSION_DENIED, "not for you"});
  Client client(Options(Mode::kCached));
  const absl::Time start = absl::Now();
  ASSERT_TRUE(Eventually([&] {
    client.Acquire(kKey)->Success();
    return service_.acquires().size() >= 3;
  }));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(1900));
  service_.Fail(grpc::Status::OK);
  EXPECT_TRUE(Eventually([&] { return !client.Acquire(kKey)->daemon_unavailable(); }));
  EXPECT_THAT(client.daemon_status(), IsOk());
}

TEST_F(DeniedTest, OtherBreakersAreNotHeldUpByOneThatIsNotPermitted) {
  Client client(Options(Mode::kCached));
  Follow(client);
  service_.Fail({grpc::StatusCode::PERMISSION_DENIED, "not for you"});
  EXPECT_TRUE(client.Acquire({"other", "team"})->daemon_unavailable());
  const size_t asked = service_.acquires().size();
  EXPECT_FALSE(client.Acquire(kKey)->daemon_unavailable());
  EXPECT_THAT(service_.acquires(), SizeIs(asked));  // By the cache.
}

TEST_F(DeniedTest, SubscriptionThatIsNotPermittedDoesNotEndTheStreamForOthers) {
  Client client(Options(Mode::kCached));
  Follow(client);
  service_.EndStreams({grpc::StatusCode::PERMISSION_DENIED, "not for you"});
  ASSERT_TRUE(Eventually([&] { return service_.streams() == 0; }));
  EXPECT_TRUE(Eventually([&] { return absl::IsPermissionDenied(client.daemon_status()); }));
  const size_t subscribed = service_.subscriptions().size();
  service_.EndStreams(grpc::Status::OK);
  EXPECT_TRUE(Eventually([&] { return client.daemon_status().ok(); }));
  EXPECT_EQ(service_.subscriptions().size(), subscribed);
  // It begins anew with the next call, which asks.
  EXPECT_TRUE(Eventually([&] {
    client.Acquire(kKey)->Ignore();
    return service_.subscriptions().size() > subscribed;
  }));
}

}  // namespace
}  // namespace breaker
