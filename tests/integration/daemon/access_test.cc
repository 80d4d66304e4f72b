// Who may do what: every rpc of the contract with every role, tokens and certificates, services,
// and the quorum.

#include <google/protobuf/descriptor.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "breaker/v1/admin.grpc.pb.h"
#include "breaker/v1/breaker.grpc.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/clock.h"
#include "tests/support/as.h"
#include "tests/support/certificates.h"
#include "tests/support/channel.h"
#include "tests/support/daemon_process.h"
#include "tests/support/eventually.h"
#include "tests/support/identities_file.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_daemon.h"
#include "tests/support/text_file.h"
#include "tests/support/watcher.h"

namespace breaker::testing {
namespace {

using ::testing::HasSubstr;

class AccessTest : public ::testing::Test {
 protected:
  AccessTest() {
    WriteFile(path_,
              absl::StrCat("identities:\n", IdentityEntry("worker", "worker"),
                           IdentityEntry("viewer", "viewer"), IdentityEntry("operator", "operator"),
                           IdentityEntry("team-a", "worker", "    services: [a, shared-]\n"),
                           IdentityEntry("team-a-ops", "operator", "    services: [a]\n"),
                           IdentityEntry("fleet", "worker", "    workers: 2\n")));
    server::DaemonOptions options;
    options.identities = path_;
    options.http_listen = "";
    daemon_ = std::make_unique<TestDaemon>(&clock_, options);
  }

  grpc::Status Acquire(const std::string& token, const std::string& service) {
    As as(token);
    v1::AcquireRequest request;
    request.set_service(service);
    request.set_operation("op");
    v1::AcquireResponse response;
    return daemon_->stub().Acquire(&as, request, &response);
  }
  grpc::Status Fail(const std::string& token, const std::string& worker_id) {
    As as(token);
    v1::ReportRequest request;
    request.set_service("db");
    request.set_operation("op");
    request.set_worker_id(worker_id);
    request.set_outcome(v1::FAILURE);
    v1::ReportResponse response;
    return daemon_->stub().Report(&as, request, &response);
  }
  void AskForAQuorumOfThree() {
    As as("operator-token");
    v1::SetPolicyRequest policy;
    policy.set_service("db");
    policy.set_operation("op");
    policy.mutable_policy()->set_minimum_failing_workers(3);
    v1::PolicyEntry entry;
    ASSERT_TRUE(daemon_->admin().SetPolicy(&as, policy, &entry).ok());
  }
  v1::CircuitStats StatsOf(const std::string& service) {
    As as("operator-token");
    v1::GetStatsRequest request;
    request.set_service(service);
    request.set_operation("op");
    v1::CircuitStats stats;
    const grpc::Status status = daemon_->stub().GetStats(&as, request, &stats);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return stats;
  }

  bool Exists(const std::string& service) {
    As as("operator-token");
    v1::GetStatsRequest request;
    request.set_service(service);
    request.set_operation("op");
    v1::CircuitStats stats;
    return daemon_->stub().GetStats(&as, request, &stats).ok();
  }

  server::SystemClock clock_;
  TempDir dir_;
  const std::string path_ = dir_ / "identities.yaml";
  std::unique_ptr<TestDaemon> daemon_;
};

// ---------------------------------------------------------------------------------------------
// The table

// Who may call what. An rpc of the contract that is not here fails the test.
const std::map<std::string, std::vector<std::string>> kAllowed = {
    {"Acquire", {"worker", "operator"}},
    {"Report", {"worker", "operator"}},
    {"ReportBatch", {"worker", "operator"}},
    {"GetStats", {"worker", "viewer", "operator"}},
    {"ListStats", {"worker", "viewer", "operator"}},
    {"Watch", {"worker", "viewer", "operator"}},
    {"SetPolicy", {"operator"}},
    {"DeletePolicy", {"operator"}},
    {"ListPolicies", {"operator"}},
    {"SetOverride", {"operator"}},
    {"ClearOverride", {"operator"}},
    {"Reset", {"operator"}},
    {"Delete", {"operator"}},
    {"Backup", {"operator"}},
};

std::vector<const google::protobuf::MethodDescriptor*> Rpcs() {
  std::vector<const google::protobuf::MethodDescriptor*> rpcs;
  for (const auto* file :
       {v1::AcquireRequest::descriptor()->file(), v1::ResetRequest::descriptor()->file()}) {
    for (int i = 0; i < file->service_count(); ++i) {
      for (int j = 0; j < file->service(i)->method_count(); ++j) {
        rpcs.push_back(file->service(i)->method(j));
      }
    }
  }
  return rpcs;
}

// Calls any rpc with an empty message and gives the status that ends it; a stream that does not end
// by itself is cancelled once it has answered.
grpc::Status CallEmpty(grpc::GenericStub& stub, const google::protobuf::MethodDescriptor& rpc,
                       const std::string& token) {
  As as(token);
  grpc::CompletionQueue queue;
  const std::string path = absl::StrCat("/", rpc.service()->full_name(), "/", rpc.name());
  const auto call = stub.PrepareCall(&as, path, &queue);
  const auto wait = [&queue] {
    void* tag;
    bool ok = false;
    EXPECT_TRUE(queue.Next(&tag, &ok));
    return ok;
  };
  call->StartCall(nullptr);
  bool ok = wait();
  grpc::ByteBuffer empty(nullptr, 0);
  grpc::ByteBuffer answer;
  if (ok) {
    call->Write(empty, nullptr);
    wait();
  }
  if (ok && !rpc.client_streaming()) {
    call->WritesDone(nullptr);
    wait();
  }
  call->Read(&answer, nullptr);
  if (wait() && (rpc.client_streaming() || rpc.server_streaming())) (&as)->TryCancel();
  grpc::Status status;
  call->Finish(&status, nullptr);
  wait();
  return status;
}

TEST_F(AccessTest, EachRoleMayDoWhatTheTableSays) {
  grpc::GenericStub stub(daemon_->NewChannel());
  for (const google::protobuf::MethodDescriptor* rpc : Rpcs()) {
    const auto allowed = kAllowed.find(rpc->name());
    ASSERT_NE(allowed, kAllowed.end()) << rpc->name() << " has no row in the table";
    for (const std::string role : {"worker", "viewer", "operator"}) {
      const grpc::Status status = CallEmpty(stub, *rpc, role + "-token");
      const bool may = std::count(allowed->second.begin(), allowed->second.end(), role) > 0;
      EXPECT_NE(status.error_code(), grpc::StatusCode::UNAUTHENTICATED)
          << rpc->name() << " as " << role << ": " << status.error_message();
      EXPECT_EQ(status.error_code() != grpc::StatusCode::PERMISSION_DENIED, may)
          << rpc->name() << " as " << role << ": " << status.error_message();
      if (!may) {
        EXPECT_EQ(status.error_message(),
                  absl::StrCat(rpc->name(), " is not for ", role, ", whose role is ", role));
      }
    }
    for (const std::string token : {"", "wrong"}) {
      EXPECT_EQ(CallEmpty(stub, *rpc, token).error_code(), grpc::StatusCode::UNAUTHENTICATED)
          << rpc->name() << " with the token \"" << token << "\"";
    }
  }
}

TEST_F(AccessTest, BackupIsNotForAnOperatorOfSomeServices) {
  const auto backup = [&](const std::string& token) {
    As as(token);
    const auto stream = daemon_->admin().Backup(&as, {});
    v1::BackupChunk chunk;
    while (stream->Read(&chunk)) {
    }
    return stream->Finish();
  };
  EXPECT_TRUE(backup("operator-token").ok());
  const grpc::Status status = backup("team-a-ops-token");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(status.error_message(),
            "service: \"*\" is not for team-a-ops, whose services begin with a");
}

// ---------------------------------------------------------------------------------------------
// Tokens

TEST_F(AccessTest, SaysWhatIsMissing) {
  EXPECT_EQ(Acquire("", "s").error_message(),
            "neither a token (authorization: Bearer TOKEN) nor a certificate says who calls");
  EXPECT_EQ(Acquire("guess", "s").error_message(),
            "authorization: the token is not one that is known");

  grpc::ClientContext context;
  context.AddMetadata("authorization", "Basic d29ya2Vy");
  v1::AcquireRequest request;
  v1::AcquireResponse response;
  EXPECT_EQ(daemon_->stub().Acquire(&context, request, &response).error_message(),
            "authorization: is not \"Bearer TOKEN\"");
}

TEST_F(AccessTest, ARevokedTokenIsWorthNothingAndItsStreamsEnd) {
  grpc::ClientContext watching;
  watching.AddMetadata("authorization", "Bearer worker-token");
  const auto stream = daemon_->stub().Watch(&watching);
  v1::WatchRequest subscribe;
  subscribe.set_worker_id("w");
  ASSERT_TRUE(stream->Write(subscribe));
  v1::WatchResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_TRUE(Acquire("worker-token", "s").ok());

  WriteFile(path_, absl::StrCat("identities:\n", IdentityEntry("operator", "operator")));

  while (stream->Read(&response)) {
  }
  const grpc::Status end = stream->Finish();
  EXPECT_EQ(end.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(end.error_message(), "who calls is not known any more, or has other rights now");
  EXPECT_EQ(Acquire("worker-token", "s").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(Acquire("operator-token", "s").ok());
}

TEST(IdentitiesReloadTest, AFileWithAnErrorChangesNothing) {
  TempDir dir;
  const std::string path = dir / "i.yaml";
  WriteFile(path, absl::StrCat("identities:\n", IdentityEntry("old", "worker")));
  DaemonProcess daemon({"--identities=" + path});
  const auto stub = v1::CircuitBreaker::NewStub(NewChannel(daemon.target()));
  const auto list = [&stub](const std::string& token) {
    As as(token);
    v1::ListStatsResponse page;
    return stub->ListStats(&as, v1::ListStatsRequest(), &page);
  };

  WriteFile(path, "identities: broken\n");
  ASSERT_TRUE(daemon.WaitForLog("error identities_not_loaded reason="));
  EXPECT_TRUE(list("old-token").ok());

  WriteFile(path, absl::StrCat("identities:\n", IdentityEntry("new", "worker")));
  EXPECT_TRUE(Eventually([&] { return list("new-token").ok(); }));
  EXPECT_EQ(list("old-token").error_code(), grpc::StatusCode::UNAUTHENTICATED);
}

// ---------------------------------------------------------------------------------------------
// Services

TEST_F(AccessTest, ATeamTouchesItsOwnServicesAlone) {
  EXPECT_TRUE(Acquire("team-a-token", "a").ok());
  EXPECT_TRUE(Acquire("team-a-token", "a-db").ok());
  EXPECT_TRUE(Acquire("team-a-token", "shared-keys").ok());
  const grpc::Status refused = Acquire("team-a-token", "b");
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(refused.error_message(),
            "service: \"b\" is not for team-a, whose services begin with a, shared-");
}

// One outcome, or as many, of each of these services, from session 1.
v1::ReportBatchRequest BatchOf(uint64_t sequence,
                               const std::vector<std::pair<std::string, v1::Outcome>>& outcomes,
                               uint32_t count = 1) {
  v1::ReportBatchRequest batch;
  batch.set_session_id(1);
  batch.set_sequence(sequence);
  for (const auto& [service, outcome] : outcomes) {
    v1::OutcomeRun* const run = batch.add_outcomes();
    run->set_service(service);
    run->set_operation("op");
    run->set_outcome(outcome);
    run->set_count(count);
  }
  return batch;
}

TEST_F(AccessTest, OfABatchOnlyWhatATeamMayNotNameIsLeftOut) {
  const v1::ReportBatchRequest batch =
      BatchOf(1, {{"b", v1::SUCCESS}, {"a", v1::SUCCESS}, {"c", v1::FAILURE}}, 2);
  for (const bool again : {false, true}) {
    As as("team-a-token");
    v1::ReportBatchResponse response;
    const grpc::Status status = daemon_->stub().ReportBatch(&as, batch, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.counted(), again ? 0u : 2u);
    EXPECT_EQ(response.denied(), 4u);
    EXPECT_EQ(response.duplicate(), again);
  }
  EXPECT_EQ(StatsOf("a").lifetime().successes(), 2u);
  EXPECT_FALSE(Exists("b"));
  EXPECT_FALSE(Exists("c"));
}

TEST_F(AccessTest, ABatchOfNothingThatATeamMayNameIsRefusedAndItsNumberNotUsedUp) {
  v1::ReportBatchResponse response;
  As as("team-a-token");
  const grpc::Status refused = daemon_->stub().ReportBatch(
      &as, BatchOf(1, {{"b", v1::SUCCESS}, {"c", v1::SUCCESS}}), &response);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(refused.error_message(),
            "service: \"b\" is not for team-a, whose services begin with a, shared-");
  EXPECT_FALSE(Exists("b"));

  As with_a("team-a-token");
  ASSERT_TRUE(
      daemon_->stub().ReportBatch(&with_a, BatchOf(1, {{"a", v1::SUCCESS}}), &response).ok());
  EXPECT_EQ(response.counted(), 1u);
  EXPECT_EQ(response.denied(), 0u);
  As empty("team-a-token");
  EXPECT_TRUE(daemon_->stub().ReportBatch(&empty, BatchOf(2, {}), &response).ok());
}

// The batch is sent again to a daemon that knows only of the breaker, which was stored as it
// opened, what it has had of the batch; and the team has other rights meanwhile.
TEST(BatchOfMixedServicesTest, EachOutcomeCountsOnceThoughRightsChangeAndTheDaemonIsKilled) {
  TempDir dir;
  const std::string path = dir / "i.yaml";
  const auto team_of = [&](const std::string& services) {
    WriteFile(path,
              absl::StrCat("identities:\n",
                           IdentityEntry("team", "worker", "    services: [" + services + "]\n")));
  };
  team_of("a");
  DaemonProcess daemon({"--identities=" + path, "--snapshot_interval=1h"});
  const v1::ReportBatchRequest batch = BatchOf(1, {{"b", v1::SUCCESS}, {"a", v1::FAILURE}}, 5);
  const auto send = [&] {
    const auto stub = v1::CircuitBreaker::NewStub(NewChannel(daemon.target()));
    As as("team-token");
    v1::ReportBatchResponse response;
    const grpc::Status status = stub->ReportBatch(&as, batch, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  };
  const v1::ReportBatchResponse first = send();
  EXPECT_EQ(first.counted(), 5u);
  EXPECT_EQ(first.denied(), 5u);

  daemon.Kill();
  team_of("a, b");
  daemon.Restart();
  const v1::ReportBatchResponse again = send();
  EXPECT_FALSE(again.duplicate());
  EXPECT_EQ(again.counted(), 5u) << "those of b";
  EXPECT_EQ(again.stale(), 0u) << "those of a are known";
  EXPECT_EQ(again.denied(), 0u);
}

TEST_F(AccessTest, ATeamSeesItsOwnServicesAlone) {
  for (const char* service : {"a", "b", "c"}) ASSERT_TRUE(Acquire("worker-token", service).ok());

  As list("team-a-token");
  v1::ListStatsResponse page;
  ASSERT_TRUE(daemon_->stub().ListStats(&list, v1::ListStatsRequest(), &page).ok());
  ASSERT_EQ(page.stats_size(), 1);
  EXPECT_EQ(page.stats(0).service(), "a");
  EXPECT_EQ(page.next_page_token(), "");

  As of_b("team-a-token");
  v1::ListStatsRequest request;
  request.set_service("b");
  EXPECT_EQ(daemon_->stub().ListStats(&of_b, request, &page).error_code(),
            grpc::StatusCode::PERMISSION_DENIED);

  grpc::ClientContext watching;
  watching.AddMetadata("authorization", "Bearer team-a-token");
  const auto stream = daemon_->stub().Watch(&watching);
  v1::WatchRequest all;
  all.set_all(true);
  ASSERT_TRUE(stream->Write(all));
  ASSERT_TRUE(Acquire("worker-token", "b2").ok());
  ASSERT_TRUE(Acquire("worker-token", "a2").ok());  // the last that it may see
  std::vector<std::string> seen;
  v1::WatchResponse response;
  while ((seen.empty() || seen.back() != "a2") && stream->Read(&response)) {
    for (const v1::CircuitUpdate& update : response.updates()) seen.push_back(update.service());
  }
  EXPECT_THAT(seen, ::testing::Each(::testing::StartsWith("a")));
  watching.TryCancel();
  stream->Finish();
}

TEST_F(AccessTest, AnOperatorOfATeamOperatesItsOwnServicesAlone) {
  for (const char* service : {"a", "b"}) {
    As as("team-a-ops-token");
    v1::SetOverrideRequest request;
    request.set_service(service);
    request.set_operation("op");
    request.set_mode(v1::Override::FORCED_OPEN);
    v1::CircuitStats stats;
    const grpc::Status status = daemon_->admin().SetOverride(&as, request, &stats);
    EXPECT_EQ(status.error_code(),
              *service == 'a' ? grpc::StatusCode::OK : grpc::StatusCode::PERMISSION_DENIED);
  }
  EXPECT_EQ(StatsOf("a").override().actor(), "team-a-ops");

  As as("team-a-ops-token");
  v1::SetPolicyRequest everything;
  everything.set_service("*");
  everything.set_operation("*");
  everything.mutable_policy();
  v1::PolicyEntry entry;
  EXPECT_EQ(daemon_->admin().SetPolicy(&as, everything, &entry).error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(AccessTest, AViewerChangesNothing) {
  v1::WatchRequest request;
  request.set_worker_id("v");
  v1::Subscription* const subscription = request.add_subscribe();
  subscription->set_service("unknown");
  subscription->set_operation("op");
  grpc::ClientContext watching;
  watching.AddMetadata("authorization", "Bearer viewer-token");
  const auto stream = daemon_->stub().Watch(&watching);
  ASSERT_TRUE(stream->Write(request));
  v1::WatchResponse response;
  while (stream->Read(&response)) {
  }
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::NOT_FOUND);

  ASSERT_TRUE(Acquire("worker-token", "known").ok());
  subscription->set_service("known");
  subscription->mutable_policy()->set_failure_threshold(77);
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer viewer-token");
  const auto second = daemon_->stub().Watch(&context);
  ASSERT_TRUE(second->Write(request));
  while (response.updates_size() == 0 && second->Read(&response)) {
  }
  ASSERT_EQ(response.updates_size(), 1);
  EXPECT_EQ(StatsOf("known").policy().failure_threshold(), 5u);
  context.TryCancel();
  second->Finish();
}

// ---------------------------------------------------------------------------------------------
// The quorum

TEST_F(AccessTest, OneIdentityCannotMakeUpAQuorum) {
  AskForAQuorumOfThree();

  // A fleet of two that says it is twenty.
  ::testing::internal::CaptureStderr();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(Fail("fleet-token", absl::StrCat("w", i)).ok());
  EXPECT_EQ(StatsOf("db").state(), v1::CLOSED);
  EXPECT_EQ(StatsOf("db").failing_workers(), 2u);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              HasSubstr("workers: more than 2 of identity fleet fail, and a quorum counts no more "
                        "(its workers in --identities)"));

  // Another's worker by the name of one of them is another worker.
  ASSERT_TRUE(Fail("worker-token", "w0").ok());
  EXPECT_EQ(StatsOf("db").state(), v1::OPEN);
}

TEST_F(AccessTest, BatchesCountIdentitiesToo) {
  AskForAQuorumOfThree();
  for (int i = 0; i < 20; ++i) {
    As fleet("fleet-token");
    v1::ReportBatchRequest batch;
    batch.set_worker_id(absl::StrCat("w", i));
    batch.set_session_id(1);
    batch.set_sequence(1);
    v1::OutcomeRun* const run = batch.add_outcomes();
    run->set_service("db");
    run->set_operation("op");
    run->set_outcome(v1::FAILURE);
    run->set_count(1);
    v1::ReportBatchResponse response;
    ASSERT_TRUE(daemon_->stub().ReportBatch(&fleet, batch, &response).ok());
    ASSERT_EQ(response.counted(), 1u);
  }
  EXPECT_EQ(StatsOf("db").failing_workers(), 2u);
  EXPECT_EQ(StatsOf("db").state(), v1::CLOSED);
}

}  // namespace
}  // namespace breaker::testing
