#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>

#include "breaker/client.h"
#include "tests/support/scripted_breaker_service.h"

namespace breaker {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

// Far above what an rpc takes on a loaded machine; no test waits for it to pass.
constexpr absl::Duration kPatience = absl::Seconds(20);

class PermitTest : public ::testing::Test {
 protected:
  Permit Acquire() {
    absl::StatusOr<Permit> permit = client_.Acquire({"db", "query"});
    EXPECT_TRUE(permit.ok()) << permit.status();
    return *std::move(permit);
  }

  testing::ScriptedBreakerService service_;
  Client client_{{.target = service_.target(),
                  .worker_id = "w1",
                  .rpc_timeout = kPatience,
                  .mode = Mode::kRemote}};
};

TEST_F(PermitTest, AcquireNamesBreakerAndWorker) {
  Acquire();
  ASSERT_THAT(service_.acquires(), SizeIs(1));
  EXPECT_EQ(service_.acquires()[0].service(), "db");
  EXPECT_EQ(service_.acquires()[0].operation(), "query");
  EXPECT_EQ(service_.acquires()[0].worker_id(), "w1");
  EXPECT_FALSE(service_.acquires()[0].has_policy());
}

TEST_F(PermitTest, AcquireBringsThePolicyOfTheCall) {
  ASSERT_TRUE(client_.Acquire({"db", "query"}, Policy{.failure_threshold = 3}).ok());
  EXPECT_EQ(service_.acquires()[0].policy().failure_threshold(), 3);
}

TEST_F(PermitTest, AcquireBringsThePolicyOfTheClient) {
  Client client({.target = service_.target(),
                 .rpc_timeout = kPatience,
                 .policy = Policy{.failure_threshold = 4},
                 .mode = Mode::kRemote});
  ASSERT_TRUE(client.Acquire({"db", "query"}).ok());
  ASSERT_TRUE(client.Acquire({"db", "query"}, Policy{.failure_threshold = 3}).ok());
  EXPECT_EQ(service_.acquires()[0].policy().failure_threshold(), 4);
  EXPECT_EQ(service_.acquires()[1].policy().failure_threshold(), 3);
}

TEST_F(PermitTest, WorkerIsHostAndProcessByDefault) {
  Client client({.target = service_.target(), .rpc_timeout = kPatience, .mode = Mode::kRemote});
  ASSERT_TRUE(client.Acquire({"db", "query"}).ok());
  char host[256] = {};
  gethostname(host, sizeof(host) - 1);
  EXPECT_EQ(service_.acquires()[0].worker_id(), host + (":" + std::to_string(getpid())));
}

TEST_F(PermitTest, SuccessIsReportedWithThePermit) {
  Acquire().Success();
  ASSERT_THAT(service_.reports(), SizeIs(1));
  const v1::ReportRequest report = service_.reports()[0];
  EXPECT_EQ(report.service(), "db");
  EXPECT_EQ(report.operation(), "query");
  EXPECT_EQ(report.worker_id(), "w1");
  EXPECT_EQ(report.permit_id(), 7);
  EXPECT_EQ(report.outcome(), v1::SUCCESS);
}

TEST_F(PermitTest, FailureIsReportedWithItsLabel) {
  Acquire().Failure("IOError");
  ASSERT_THAT(service_.reports(), SizeIs(1));
  EXPECT_EQ(service_.reports()[0].outcome(), v1::FAILURE);
  EXPECT_EQ(service_.reports()[0].error(), "IOError");
}

TEST_F(PermitTest, LabelThatIsNotAsciiDoesNotLoseTheReport) {
  Acquire().Failure("caf\xe9");
  ASSERT_THAT(service_.reports(), SizeIs(1));
  EXPECT_EQ(service_.reports()[0].error(), "caf?");
}

TEST_F(PermitTest, DroppedPermitIsGivenBackAsIgnored) {
  { const Permit permit = Acquire(); }
  ASSERT_THAT(service_.reports(), SizeIs(1));
  EXPECT_EQ(service_.reports()[0].permit_id(), 7);
  EXPECT_EQ(service_.reports()[0].outcome(), v1::IGNORED);
}

TEST_F(PermitTest, OnlyTheFirstVerdictCounts) {
  {
    Permit permit = Acquire();
    permit.Failure();
    permit.Success();
  }
  ASSERT_THAT(service_.reports(), SizeIs(1));
  EXPECT_EQ(service_.reports()[0].outcome(), v1::FAILURE);
}

TEST_F(PermitTest, MovedPermitIsReportedOnce) {
  {
    Permit first = Acquire();
    Permit second = std::move(first);
    second.Success();
  }
  EXPECT_THAT(service_.reports(), SizeIs(1));
}

TEST_F(PermitTest, OverwrittenPermitIsGivenBack) {
  Permit permit = Acquire();
  permit = Acquire();
  ASSERT_THAT(service_.reports(), SizeIs(1));
  EXPECT_EQ(service_.reports()[0].outcome(), v1::IGNORED);
}

TEST_F(PermitTest, DurationIsMeasuredFromAcquire) {
  using Clock = std::chrono::steady_clock;
  const auto before = Clock::now();
  Permit permit = Acquire();
  const auto inside = Clock::now();
  while (Clock::now() == inside) {
  }
  const auto least = Clock::now() - inside;
  permit.Success();
  const auto most = Clock::now() - before;
  const int64_t nanos = service_.reports()[0].duration().nanos();
  EXPECT_GE(nanos, std::chrono::nanoseconds(least).count());
  EXPECT_LE(nanos, std::chrono::nanoseconds(most).count());
}

TEST_F(PermitTest, DurationCanBeGiven) {
  Acquire().Report(Outcome::kSuccess, "", absl::Milliseconds(1250));
  EXPECT_EQ(service_.reports()[0].duration().seconds(), 1);
  EXPECT_EQ(service_.reports()[0].duration().nanos(), 250'000'000);
}

TEST_F(PermitTest, RefusalSaysWhyAndForHowLong) {
  v1::AcquireResponse refusal;
  refusal.set_state(v1::OPEN);
  refusal.mutable_retry_after()->set_seconds(27);
  service_.AnswerAcquire(refusal);
  {
    const Permit permit = Acquire();
    EXPECT_FALSE(permit.allowed());
    EXPECT_EQ(permit.state(), State::kOpen);
    EXPECT_EQ(permit.retry_after(), absl::Seconds(27));
    EXPECT_EQ(permit.status().code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(permit.status().message(), "db/query is OPEN, retry in 27s");
    EXPECT_TRUE(IsRefusal(permit.status()));
    EXPECT_EQ(RefusalRetryAfter(permit.status()), absl::Seconds(27));
  }
  EXPECT_THAT(service_.reports(), IsEmpty());
}

TEST_F(PermitTest, StatusOfTheCalleeIsNoRefusal) {
  EXPECT_FALSE(IsRefusal(absl::UnavailableError("down")));
  EXPECT_EQ(RefusalRetryAfter(absl::UnavailableError("down")), absl::ZeroDuration());
}

TEST_F(PermitTest, ProbeIsMarked) {
  v1::AcquireResponse probe;
  probe.set_allowed(true);
  probe.set_probe(true);
  probe.set_state(v1::HALF_OPEN);
  probe.set_permit_id(8);
  service_.AnswerAcquire(probe);
  const Permit permit = Acquire();
  EXPECT_TRUE(permit.probe());
  EXPECT_EQ(permit.state(), State::kHalfOpen);
}

TEST_F(PermitTest, ShadowPermitIsNotReported) {
  v1::AcquireResponse shadow;
  shadow.set_allowed(true);
  shadow.set_shadow(true);
  shadow.set_state(v1::OPEN);
  service_.AnswerAcquire(shadow);
  Permit permit = Acquire();
  EXPECT_TRUE(permit.allowed());
  EXPECT_TRUE(permit.shadow());
  permit.Failure();
  EXPECT_THAT(service_.reports(), IsEmpty());
}

// The daemon hands those out past its bound on permits; the call counts all the same.
TEST_F(PermitTest, PermitWithoutAnIdIsReported) {
  v1::AcquireResponse response;
  response.set_allowed(true);
  response.set_state(v1::CLOSED);
  service_.AnswerAcquire(response);
  Acquire().Failure();
  ASSERT_THAT(service_.reports(), SizeIs(1));
  EXPECT_EQ(service_.reports()[0].permit_id(), 0);
}

TEST_F(PermitTest, ErrorsOfTheDaemonAreReturned) {
  service_.Fail({grpc::StatusCode::RESOURCE_EXHAUSTED, "too many breakers"});
  EXPECT_EQ(client_.Acquire({"db", "query"}).status(),
            absl::ResourceExhaustedError("too many breakers"));
  EXPECT_EQ(client_.Report({"db", "query"}, Outcome::kSuccess, absl::ZeroDuration()),
            absl::ResourceExhaustedError("too many breakers"));
  service_.Fail({grpc::StatusCode::NOT_FOUND, "no such breaker"});
  EXPECT_EQ(client_.GetStats({"db", "query"}).status(), absl::NotFoundError("no such breaker"));
}

TEST_F(PermitTest, CallMadeWithoutAskingIsReportedWithoutAPermit) {
  ASSERT_TRUE(client_.Report({"db", "query"}, Outcome::kFailure, absl::Seconds(2), "IOError").ok());
  ASSERT_THAT(service_.reports(), SizeIs(1));
  EXPECT_EQ(service_.reports()[0].permit_id(), 0);
  EXPECT_EQ(service_.reports()[0].worker_id(), "w1");
  EXPECT_EQ(service_.reports()[0].outcome(), v1::FAILURE);
  EXPECT_EQ(service_.reports()[0].duration().seconds(), 2);
  EXPECT_EQ(service_.reports()[0].error(), "IOError");
}

TEST_F(PermitTest, GetStatsAnswersWithTheStats) {
  v1::CircuitStats stats;
  stats.set_service("db");
  stats.set_state(v1::HALF_OPEN);
  service_.AnswerStats(stats);
  const absl::StatusOr<Stats> answer = client_.GetStats({"db", "query"});
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->key.service, "db");
  EXPECT_EQ(answer->state, State::kHalfOpen);
}

}  // namespace
}  // namespace breaker
