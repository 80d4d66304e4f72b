// kill -9 right after the Report that opened a circuit was answered.

#include <grpcpp/grpcpp.h>

#include "breaker/v1/breaker.grpc.pb.h"
#include "google/protobuf/util/time_util.h"
#include "gtest/gtest.h"
#include "tests/support/channel.h"
#include "tests/support/daemon_process.h"
#include "tests/support/messages.h"

namespace breaker::testing {
namespace {

using google::protobuf::util::TimeUtil;

constexpr int kRounds = 50;

class Rounds : public ::testing::TestWithParam<const char*> {};

TEST_P(Rounds, CircuitStaysOpenWithTheSameNextAttempt) {
  // No snapshot helps: only what is written before the answer is there.
  DaemonProcess daemon({GetParam(), "--snapshot_interval=1h"});
  auto stub = v1::CircuitBreaker::NewStub(NewChannel(daemon.target()));
  const auto call = [](auto rpc) {
    grpc::ClientContext context;
    const grpc::Status status = rpc(&context);
    ASSERT_TRUE(status.ok()) << status.error_message();
  };
  for (int round = 0; round < kRounds; ++round) {
    const std::string key = "service: 's' operation: 'round " + std::to_string(round) + "' ";
    v1::AcquireResponse acquired;
    call([&](auto* context) {
      return stub->Acquire(context,
                           Text<v1::AcquireRequest>(key + "policy { failure_threshold: 3 "
                                                          "minimum_request_count: 3 "
                                                          "recovery_timeout { seconds: 3600 } "
                                                          "recovery_jitter: 0.5 }"),
                           &acquired);
    });
    v1::ReportResponse reported;
    for (int i = 0; i < 3; ++i) {
      call([&](auto* context) {
        return stub->Report(context, Text<v1::ReportRequest>(key + "outcome: FAILURE"), &reported);
      });
    }
    ASSERT_EQ(reported.state(), v1::OPEN);
    // Every other round lets nothing come between the answer and the kill.
    v1::CircuitStats before;
    if (round % 2 == 0) {
      call([&](auto* context) {
        return stub->GetStats(context, Text<v1::GetStatsRequest>(key), &before);
      });
    }
    daemon.Kill();
    daemon.Restart();
    stub = v1::CircuitBreaker::NewStub(NewChannel(daemon.target()));

    v1::CircuitStats after;
    call([&](auto* context) {
      return stub->GetStats(context, Text<v1::GetStatsRequest>(key), &after);
    });
    EXPECT_EQ(after.state(), v1::OPEN);
    EXPECT_EQ(after.generation(), 2);
    ASSERT_TRUE(after.has_next_attempt_time());
    if (round % 2 == 0) {
      EXPECT_EQ(TimeUtil::ToString(after.next_attempt_time()),
                TimeUtil::ToString(before.next_attempt_time()));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(KillTest, Rounds,
                         ::testing::Values("--durability=process", "--durability=disk"),
                         [](const auto& param) {
                           return std::string(param.param).substr(sizeof("--durability=") - 1);
                         });

}  // namespace
}  // namespace breaker::testing
