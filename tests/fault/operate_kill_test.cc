// kill -9 right after an operator's call was answered: what it changed is there after the restart.

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "breaker/v1/admin.grpc.pb.h"
#include "breaker/v1/breaker.grpc.pb.h"
#include "gtest/gtest.h"
#include "tests/support/channel.h"
#include "tests/support/daemon_process.h"
#include "tests/support/messages.h"

namespace breaker::testing {
namespace {

constexpr char kKey[] = "service: 's' operation: 'o' ";

class OperateKillTest : public ::testing::Test {
 protected:
  OperateKillTest() { Connect(); }

  template <typename Request, typename Response>
  void Call(grpc::Status (v1::BreakerAdmin::Stub::*rpc)(grpc::ClientContext*, const Request&,
                                                        Response*),
            const std::string& rest = "") {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    Response response;
    const grpc::Status status =
        (admin_.get()->*rpc)(&context, Text<Request>(kKey + rest), &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  void KillAndRestart() {
    daemon_.Kill();
    daemon_.Restart();
    Connect();  // The old connections may not yet know that they are gone.
  }
  void Connect() {
    admin_ = v1::BreakerAdmin::NewStub(NewChannel(daemon_.target()));
    stub_ = v1::CircuitBreaker::NewStub(NewChannel(daemon_.target()));
  }
  grpc::Status Stats() {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    return stub_->GetStats(&context, Text<v1::GetStatsRequest>(kKey), &stats_);
  }

  // Nothing is stored but what a call has stored.
  DaemonProcess daemon_{{"--snapshot_interval=1h"}};
  std::unique_ptr<v1::BreakerAdmin::Stub> admin_;
  std::unique_ptr<v1::CircuitBreaker::Stub> stub_;
  v1::CircuitStats stats_;
};

TEST_F(OperateKillTest, PolicyIsKept) {
  Call(&v1::BreakerAdmin::Stub::SetOverride, "mode: FORCED_CLOSED");  // so that there is a breaker
  Call(&v1::BreakerAdmin::Stub::SetPolicy, "policy { failure_threshold: 3 }");
  KillAndRestart();
  ASSERT_TRUE(Stats().ok());
  EXPECT_EQ(stats_.policy().failure_threshold(), 3);

  Call(&v1::BreakerAdmin::Stub::DeletePolicy);
  KillAndRestart();
  ASSERT_TRUE(Stats().ok());
  EXPECT_EQ(stats_.policy().failure_threshold(), 5);
}

TEST_F(OperateKillTest, OverrideIsKept) {
  Call(&v1::BreakerAdmin::Stub::SetOverride, "mode: FORCED_CLOSED actor: 'ana'");
  KillAndRestart();
  ASSERT_TRUE(Stats().ok());
  EXPECT_EQ(stats_.override().actor(), "ana");
  Call(&v1::BreakerAdmin::Stub::ClearOverride);
  KillAndRestart();
  ASSERT_TRUE(Stats().ok());
  EXPECT_FALSE(stats_.has_override());
}

TEST_F(OperateKillTest, DeletedStaysDeleted) {
  Call(&v1::BreakerAdmin::Stub::SetOverride, "mode: FORCED_OPEN");
  Call(&v1::BreakerAdmin::Stub::Delete);
  KillAndRestart();
  EXPECT_EQ(Stats().error_code(), grpc::StatusCode::NOT_FOUND);
}

}  // namespace
}  // namespace breaker::testing
