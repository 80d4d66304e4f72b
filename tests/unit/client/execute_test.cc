#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "breaker/client.h"
#include "tests/support/scripted_breaker_service.h"

namespace breaker {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr absl::Duration kPatience = absl::Seconds(20);
const Key kKey = {"db", "query"};

class ExecuteTest : public ::testing::Test {
 protected:
  void Refuse() {
    v1::AcquireResponse refusal;
    refusal.set_state(v1::OPEN);
    refusal.mutable_retry_after()->set_seconds(27);
    service_.AnswerAcquire(refusal);
  }

  v1::ReportRequest OnlyReport() {
    EXPECT_THAT(service_.reports(), SizeIs(1));
    return service_.reports().empty() ? v1::ReportRequest() : service_.reports()[0];
  }

  testing::ScriptedBreakerService service_;
  Client client_{{.target = service_.target(), .rpc_timeout = kPatience, .mode = Mode::kRemote}};
};

TEST_F(ExecuteTest, ValueIsASuccess) {
  const absl::StatusOr<int> result = client_.Execute(kKey, [] { return 42; });
  EXPECT_EQ(result.value(), 42);
  EXPECT_EQ(OnlyReport().outcome(), v1::SUCCESS);
}

TEST_F(ExecuteTest, ValueMayBeMoveOnly) {
  auto result = client_.Execute(kKey, [] { return std::make_unique<int>(42); });
  EXPECT_EQ(**result, 42);
}

TEST_F(ExecuteTest, NothingIsASuccess) {
  const absl::Status status = client_.Execute(kKey, [] {});
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(OnlyReport().outcome(), v1::SUCCESS);
}

TEST_F(ExecuteTest, StatusIsJudged) {
  const absl::Status status = client_.Execute(kKey, [] { return absl::UnavailableError("down"); });
  EXPECT_EQ(status, absl::UnavailableError("down"));
  EXPECT_FALSE(IsRefusal(status));
  EXPECT_EQ(OnlyReport().outcome(), v1::FAILURE);
  EXPECT_EQ(OnlyReport().error(), "UNAVAILABLE");
}

TEST_F(ExecuteTest, StatusOfStatusOrIsJudged) {
  const absl::StatusOr<std::string> result = client_.Execute(
      kKey, []() -> absl::StatusOr<std::string> { return absl::NotFoundError("no such row"); });
  EXPECT_EQ(result.status(), absl::NotFoundError("no such row"));
  EXPECT_EQ(OnlyReport().outcome(), v1::IGNORED);
  EXPECT_EQ(OnlyReport().error(), "");
}

TEST_F(ExecuteTest, ExceptionPassesThroughAndCountsAsAFailure) {
  EXPECT_THROW(client_.Execute(kKey, []() -> int { throw std::out_of_range("9"); }),
               std::out_of_range);
  EXPECT_EQ(OnlyReport().outcome(), v1::FAILURE);
  EXPECT_EQ(OnlyReport().error(), "std::out_of_range");
}

TEST_F(ExecuteTest, ExceptionOfAnyTypeCountsAsAFailure) {
  EXPECT_THROW(client_.Execute(kKey, []() -> int { throw 9; }), int);
  EXPECT_EQ(OnlyReport().outcome(), v1::FAILURE);
}

TEST_F(ExecuteTest, RefusedCallDoesNotRun) {
  Refuse();
  bool ran = false;
  const absl::Status status = client_.Execute(kKey, [&] { ran = true; });
  EXPECT_FALSE(ran);
  EXPECT_TRUE(IsRefusal(status)) << status;
  EXPECT_EQ(RefusalRetryAfter(status), absl::Seconds(27));
  EXPECT_THAT(service_.reports(), IsEmpty());
}

TEST_F(ExecuteTest, FallbackAnswersForARefusedCall) {
  Refuse();
  const absl::StatusOr<int> result = client_.Execute(
      kKey, [] { return 1; }, [] { return 2; });
  EXPECT_EQ(result.value(), 2);
}

TEST_F(ExecuteTest, FallbackIsToldTheReason) {
  Refuse();
  const absl::StatusOr<std::string> result = client_.Execute(
      kKey, []() -> absl::StatusOr<std::string> { return "fresh"; },
      [](const absl::Status& reason) {
        EXPECT_TRUE(IsRefusal(reason)) << reason;
        return "cached";
      });
  EXPECT_EQ(result.value(), "cached");
}

TEST_F(ExecuteTest, FallbackDoesNotRunOnAFailureByDefault) {
  const absl::Status status = client_.Execute(
      kKey, [] { return absl::InternalError("bad"); }, [] {});
  EXPECT_EQ(status, absl::InternalError("bad"));
}

TEST_F(ExecuteTest, FallbackRunsOnAFailureIfAsked) {
  const absl::StatusOr<int> result = client_.Execute(
      kKey, []() -> absl::StatusOr<int> { return absl::InternalError("bad"); },
      [](const absl::Status& reason) {
        EXPECT_EQ(reason, absl::InternalError("bad"));
        return 2;
      },
      std::nullopt, {.fallback_on_failure = true});
  EXPECT_EQ(result.value(), 2);
  EXPECT_EQ(OnlyReport().outcome(), v1::FAILURE);
}

TEST_F(ExecuteTest, FallbackRunsOnAnExceptionIfAsked) {
  const absl::StatusOr<int> result = client_.Execute(
      kKey, []() -> int { throw std::runtime_error("bad"); },
      [](const absl::Status& reason) {
        EXPECT_EQ(reason, absl::UnknownError("bad"));
        return 2;
      },
      std::nullopt, {.fallback_on_failure = true});
  EXPECT_EQ(result.value(), 2);
  EXPECT_EQ(OnlyReport().outcome(), v1::FAILURE);
}

TEST_F(ExecuteTest, ExceptionPassesThroughWithoutAFallbackToRun) {
  EXPECT_THROW(client_.Execute(kKey, []() -> int { throw std::runtime_error("bad"); }, nullptr,
                               std::nullopt, {.fallback_on_failure = true}),
               std::runtime_error);
}

TEST_F(ExecuteTest, FallbackDoesNotRunOnTheCallersOwnMistake) {
  const absl::Status status = client_.Execute(
      kKey, [] { return absl::NotFoundError("no such row"); }, [] {}, std::nullopt,
      {.fallback_on_failure = true});
  EXPECT_EQ(status, absl::NotFoundError("no such row"));
}

TEST_F(ExecuteTest, ExceptionOfTheFallbackPassesThrough) {
  Refuse();
  EXPECT_THROW(client_.Execute(
                   kKey, [] { return 1; }, []() -> int { throw std::runtime_error("bad"); }),
               std::runtime_error);
}

TEST_F(ExecuteTest, PolicyGoesWithTheCall) {
  ASSERT_TRUE(client_
                  .Execute(
                      kKey, [] {}, nullptr, Policy{.failure_threshold = 3})
                  .ok());
  EXPECT_EQ(service_.acquires()[0].policy().failure_threshold(), 3);
}

TEST_F(ExecuteTest, VerdictOfTheClientReplacesTheDefault) {
  Client client({.target = service_.target(),
                 .rpc_timeout = kPatience,
                 .verdict =
                     [](const absl::Status& status) {
                       return absl::IsNotFound(status) ? Outcome::kFailure : Outcome::kIgnored;
                     },
                 .mode = Mode::kRemote});
  (void)client.Execute(kKey, [] { return absl::NotFoundError("gone"); });
  EXPECT_EQ(OnlyReport().outcome(), v1::FAILURE);
}

TEST_F(ExecuteTest, VerdictOfTheCallReplacesTheClients) {
  Client client({.target = service_.target(),
                 .rpc_timeout = kPatience,
                 .verdict = [](const absl::Status&) { return Outcome::kFailure; },
                 .mode = Mode::kRemote});
  (void)client.Execute(kKey, [] { return absl::InternalError("bad"); }, nullptr, std::nullopt,
                       {.verdict = [](const absl::Status&) { return Outcome::kIgnored; }});
  EXPECT_EQ(OnlyReport().outcome(), v1::IGNORED);
}

TEST_F(ExecuteTest, EmptyVerdictOfTheClientIsTheDefault) {
  Client client({.target = service_.target(),
                 .rpc_timeout = kPatience,
                 .verdict = {},
                 .mode = Mode::kRemote});
  ASSERT_TRUE(client.Execute(kKey, [] {}).ok());
  EXPECT_EQ(OnlyReport().outcome(), v1::SUCCESS);
}

TEST_F(ExecuteTest, InvalidArgumentIsReturnedWithoutRunning) {
  service_.Fail({grpc::StatusCode::INVALID_ARGUMENT, "policy.recovery_jitter: 2 is not in [0, 1)"});
  bool ran = false;
  const absl::Status status = client_.Execute(
      kKey, [&] { ran = true; }, [&] { ran = true; });
  EXPECT_EQ(status, absl::InvalidArgumentError("policy.recovery_jitter: 2 is not in [0, 1)"));
  EXPECT_FALSE(ran);
}

TEST_F(ExecuteTest, DaemonThatCannotHelpDoesNotStopTheCall) {
  service_.Fail({grpc::StatusCode::RESOURCE_EXHAUSTED, "too many breakers"});
  EXPECT_EQ(client_.Execute(kKey, [] { return 1; }).value(), 1);
  EXPECT_THAT(service_.reports(), IsEmpty());
}

TEST_F(ExecuteTest, DaemonThatCannotHelpStopsTheCallIfSoAsked) {
  Client client({.target = service_.target(),
                 .rpc_timeout = kPatience,
                 .on_daemon_unavailable = OnDaemonUnavailable::kDeny,
                 .mode = Mode::kRemote});
  service_.Fail({grpc::StatusCode::RESOURCE_EXHAUSTED, "too many breakers"});
  EXPECT_EQ(client
                .Execute(
                    kKey, [] { return 1; }, [] { return 2; })
                .value(),
            2);
}

TEST(DefaultVerdictTest, SortsEveryStatusCode) {
  using Code = absl::StatusCode;
  EXPECT_EQ(DefaultVerdict(absl::OkStatus()), Outcome::kSuccess);
  for (Code code :
       {Code::kInvalidArgument, Code::kNotFound, Code::kAlreadyExists, Code::kPermissionDenied,
        Code::kUnauthenticated, Code::kFailedPrecondition, Code::kOutOfRange, Code::kCancelled}) {
    EXPECT_EQ(DefaultVerdict(absl::Status(code, "")), Outcome::kIgnored)
        << absl::StatusCodeToString(code);
  }
  for (Code code :
       {Code::kUnknown, Code::kDeadlineExceeded, Code::kResourceExhausted, Code::kAborted,
        Code::kUnimplemented, Code::kInternal, Code::kUnavailable, Code::kDataLoss}) {
    EXPECT_EQ(DefaultVerdict(absl::Status(code, "")), Outcome::kFailure)
        << absl::StatusCodeToString(code);
  }
}

}  // namespace
}  // namespace breaker
