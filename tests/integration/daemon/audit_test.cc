// The audit log: who has done what, and what was before and after it.

#include <grpcpp/grpcpp.h>

#include "absl/strings/str_cat.h"
#include "breaker/v1/admin.grpc.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/as.h"
#include "tests/support/channel.h"
#include "tests/support/daemon_process.h"
#include "tests/support/identities_file.h"
#include "tests/support/temp_dir.h"
#include "tests/support/text_file.h"

namespace breaker::testing {
namespace {

using ::testing::HasSubstr;

TEST(AuditTest, EveryActIsALineWithWhoWhatBeforeAndAfter) {
  TempDir dir;
  WriteFile(dir / "i.yaml",
            absl::StrCat("identities:\n", IdentityEntry("ana", "operator"),
                         IdentityEntry("eve", "viewer"), IdentityEntry("bob", "worker")));
  DaemonProcess daemon({absl::StrCat("--identities=", dir / "i.yaml")});
  const auto admin = v1::BreakerAdmin::NewStub(NewChannel(daemon.target()));
  const auto key = [](auto* request) {
    request->set_service("db");
    request->set_operation("query");
  };
  {
    As as("ana-token");
    v1::SetOverrideRequest request;
    key(&request);
    request.set_mode(v1::Override::FORCED_OPEN);
    request.set_reason("migration");
    request.set_actor("ana at the desk");
    v1::CircuitStats stats;
    ASSERT_TRUE(admin->SetOverride(&as, request, &stats).ok());
  }
  EXPECT_TRUE(
      daemon.WaitForLog("action=SetOverride service=db operation=query before=none "
                        "after=\"OPEN, FORCED_OPEN by ana at the desk: migration\" result=OK"));
  EXPECT_THAT(daemon.log(), HasSubstr(" info audit who=ana from=ipv4:127.0.0.1:"));
  {
    As as("ana-token");
    v1::ClearOverrideRequest request;
    key(&request);
    v1::CircuitStats stats;
    ASSERT_TRUE(admin->ClearOverride(&as, request, &stats).ok());
  }
  EXPECT_TRUE(daemon.WaitForLog(
      "action=ClearOverride service=db operation=query before=\"OPEN, FORCED_OPEN by ana at the "
      "desk: migration\" after=CLOSED result=OK"));
  for (const uint32_t threshold : {7u, 8u}) {
    As as("ana-token");
    v1::SetPolicyRequest request;
    key(&request);
    request.mutable_policy()->set_failure_threshold(threshold);
    v1::PolicyEntry entry;
    ASSERT_TRUE(admin->SetPolicy(&as, request, &entry).ok());
  }
  EXPECT_TRUE(
      daemon.WaitForLog("action=SetPolicy service=db operation=query before=none "
                        "after=\"failure_threshold=7,"));
  EXPECT_TRUE(daemon.WaitForLog("before=\"failure_threshold=7,"));
  EXPECT_THAT(daemon.log(), HasSubstr("after=\"failure_threshold=8,"));
  {
    As as("eve-token");
    v1::ResetRequest request;
    key(&request);
    v1::CircuitStats stats;
    EXPECT_EQ(admin->Reset(&as, request, &stats).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  }
  EXPECT_TRUE(daemon.WaitForLog("warning audit"));
  EXPECT_TRUE(daemon.WaitForLog("result=\"Reset is not for eve, whose role is viewer\""));
  {
    As as("ana-token");
    v1::ResetRequest request;
    request.set_service("db");
    request.set_operation("unknown");
    v1::CircuitStats stats;
    EXPECT_EQ(admin->Reset(&as, request, &stats).error_code(), grpc::StatusCode::NOT_FOUND);
  }
  EXPECT_TRUE(
      daemon.WaitForLog("action=Reset service=db operation=unknown before=none after=none"));
  // No secret is in it.
  EXPECT_THAT(daemon.log(), ::testing::Not(HasSubstr("-token")));
}

}  // namespace
}  // namespace breaker::testing
