// The six protected operations of the first application, a WebSocket service, each with its own
// policy: two workers of it share a daemon through the client library, and each circuit goes from
// closed to open to half-open, back to open, and to closed again.

#include <memory>
#include <ostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "breaker/client.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/simulated_clock.h"
#include "tests/support/test_daemon.h"

namespace breaker::testing {
namespace {

using ::testing::HasSubstr;

struct Operation {
  Key key;
  uint32_t failures_in_a_row;
  absl::Duration recovery;
  absl::Duration expected_response;
  absl::Duration window;
  uint32_t minimum;
  // What decides: the run of failures, or the minimum of calls when that is larger.
  uint32_t opens_at;
};

void PrintTo(const Operation& operation, std::ostream* out) {
  *out << operation.key.service << "/" << operation.key.operation;
}

const Operation kOperations[] = {
    {{"cognito", "verifyJWT"}, 3, absl::Seconds(30), absl::Seconds(2), absl::Seconds(60), 5, 5},
    {{"apigateway-management", "postToConnection"},
     5,
     absl::Seconds(15),
     absl::Seconds(1),
     absl::Seconds(30),
     3,
     5},
    {{"dynamodb", "storeUserMessage"},
     3,
     absl::Seconds(20),
     absl::Milliseconds(500),
     absl::Seconds(60),
     5,
     5},
    {{"dynamodb", "storeBotMessage"},
     3,
     absl::Seconds(20),
     absl::Milliseconds(500),
     absl::Seconds(60),
     5,
     5},
    {{"dynamodb", "storeConnection"},
     3,
     absl::Seconds(20),
     absl::Milliseconds(500),
     absl::Seconds(60),
     5,
     5},
    {{"dynamodb", "removeConnection"},
     3,
     absl::Seconds(20),
     absl::Milliseconds(500),
     absl::Seconds(60),
     5,
     5},
};

// A worker process of the application; its dependency works or does not.
class Worker {
 public:
  Worker(const TestDaemon& daemon, const std::string& worker_id, const Operation& operation)
      : client_({.target = absl::StrCat("127.0.0.1:", daemon.port()),
                 .worker_id = worker_id,
                 // Longer than a busy machine takes: no test here is about a daemon that is away.
                 .rpc_timeout = absl::Seconds(30),
                 .policy = Policy{.failure_threshold = operation.failures_in_a_row,
                                  .recovery_timeout = operation.recovery,
                                  .expected_response_time = operation.expected_response,
                                  .monitoring_window = operation.window,
                                  .minimum_request_count = operation.minimum},
                 // The daemon's clock is the test's, and each outcome counts at once.
                 .mode = Mode::kRemote}),
        key_(operation.key) {}

  // What the caller gets: "ok", "unavailable" (the fallback) or the failure's message.
  std::string Call(bool dependency_works) {
    const absl::StatusOr<std::string> answer = client_.Execute(
        key_,
        [&]() -> absl::StatusOr<std::string> {
          ++calls_;
          if (!dependency_works) return absl::InternalError("boom");
          return std::string("ok");
        },
        [] { return std::string("unavailable"); });
    return answer.ok() ? *answer : std::string(answer.status().message());
  }

  Stats stats() { return client_.GetStats(key_).value(); }
  Permit Acquire() { return client_.Acquire(key_).value(); }
  // Calls that reached the dependency.
  int calls() const { return calls_; }

 private:
  Client client_;
  const Key key_;
  int calls_ = 0;
};

class FirstApplicationTest : public ::testing::TestWithParam<Operation> {
 protected:
  // Fails in turns on both workers until just before the circuit opens.
  void FailUntilTheLast() {
    for (uint32_t i = 0; i + 1 < GetParam().opens_at; ++i) {
      EXPECT_EQ((i % 2 == 0 ? one_ : two_).Call(false), "boom");
      EXPECT_EQ(one_.stats().state, State::kClosed) << "after " << i + 1 << " failures";
    }
  }
  void Open() {
    FailUntilTheLast();
    EXPECT_EQ(two_.Call(false), "boom");
    ASSERT_EQ(one_.stats().state, State::kOpen);
  }

  server::SimulatedClock clock_;
  TestDaemon daemon_{&clock_};
  Worker one_{daemon_, "ws-1", GetParam()};
  Worker two_{daemon_, "ws-2", GetParam()};
};

TEST_P(FirstApplicationTest, OpensForAllWorkersAtItsOwnNumberOfFailures) {
  Open();
  const int reached = one_.calls() + two_.calls();
  EXPECT_EQ(one_.Call(true), "unavailable");
  EXPECT_EQ(two_.Call(true), "unavailable");
  EXPECT_EQ(one_.calls() + two_.calls(), reached) << "a refused call reached the dependency";
  EXPECT_THAT(
      one_.stats().recent_transitions.at(0).reason,
      HasSubstr(absl::StrCat(GetParam().opens_at, " consecutive failures (threshold ",
                             GetParam().failures_in_a_row, ") with ", GetParam().opens_at)));
}

TEST_P(FirstApplicationTest, SuccessBreaksTheRunOfFailures) {
  FailUntilTheLast();
  EXPECT_EQ(one_.Call(true), "ok");
  for (uint32_t i = 0; i + 1 < GetParam().failures_in_a_row; ++i) {
    EXPECT_EQ(one_.Call(false), "boom");
    EXPECT_EQ(one_.stats().state, State::kClosed);
  }
  EXPECT_EQ(one_.Call(false), "boom");
  EXPECT_EQ(one_.stats().state, State::kOpen);
}

TEST_P(FirstApplicationTest, RecoversThroughOneProbeAfterItsOwnRecoveryTime) {
  Open();
  clock_.Advance(GetParam().recovery - absl::Nanoseconds(1));
  EXPECT_EQ(one_.Call(true), "unavailable");
  EXPECT_EQ(one_.stats().state, State::kOpen);
  clock_.Advance(absl::Nanoseconds(1));
  {
    Permit probe = one_.Acquire();
    EXPECT_TRUE(probe.allowed() && probe.probe());
    EXPECT_EQ(two_.Call(true), "unavailable") << "a second probe went out";
    EXPECT_EQ(two_.stats().state, State::kHalfOpen);
    probe.Success();
  }
  EXPECT_EQ(two_.stats().state, State::kClosed);
  EXPECT_EQ(two_.stats().total_requests, 0);
  EXPECT_EQ(one_.Call(true), "ok");
  EXPECT_EQ(two_.Call(true), "ok");
}

TEST_P(FirstApplicationTest, FailedProbeOpensItForAnotherRecoveryTime) {
  Open();
  clock_.Advance(GetParam().recovery);
  EXPECT_EQ(two_.Call(false), "boom");
  EXPECT_EQ(one_.stats().state, State::kOpen);
  clock_.Advance(GetParam().recovery - absl::Nanoseconds(1));
  EXPECT_EQ(one_.Call(true), "unavailable");
  clock_.Advance(absl::Nanoseconds(1));
  EXPECT_EQ(one_.Call(true), "ok");
  EXPECT_EQ(two_.stats().state, State::kClosed);
}

TEST_P(FirstApplicationTest, FailuresThatLeaveTheWindowAreForgotten) {
  FailUntilTheLast();
  clock_.Advance(GetParam().window);
  EXPECT_EQ(one_.Call(false), "boom");
  const Stats stats = one_.stats();
  EXPECT_EQ(stats.state, State::kClosed);
  EXPECT_EQ(stats.total_requests, 1);
  EXPECT_EQ(stats.consecutive_failures, 1);
}

TEST_P(FirstApplicationTest, CallLongerThanExpectedIsSlowAndNoFailure) {
  one_.Acquire().Report(Outcome::kSuccess, "", GetParam().expected_response);
  EXPECT_EQ(one_.stats().slow_count, 0);
  one_.Acquire().Report(Outcome::kSuccess, "", GetParam().expected_response + absl::Nanoseconds(1));
  EXPECT_EQ(one_.stats().slow_count, 1);
  EXPECT_EQ(one_.stats().failure_count, 0);
}

INSTANTIATE_TEST_SUITE_P(Operations, FirstApplicationTest, ::testing::ValuesIn(kOperations),
                         [](const auto& param) { return param.param.key.operation; });

}  // namespace
}  // namespace breaker::testing
