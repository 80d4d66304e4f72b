// Backups of a real daemon, and what becomes of them.

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "breaker/v1/admin.grpc.pb.h"
#include "breaker/v1/breaker.grpc.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/backup_folder.h"
#include "tests/support/channel.h"
#include "tests/support/daemon_process.h"
#include "tests/support/eventually.h"
#include "tests/support/many_breakers.h"
#include "tests/support/messages.h"
#include "tests/support/status_matchers.h"
#include "tests/support/subprocess.h"
#include "tests/support/temp_dir.h"

namespace breaker::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// Takes no more from the daemon than the test reads. Left to itself, gRPC measures the connection
// and takes ever more of what nobody has asked for, in time a whole backup.
std::shared_ptr<grpc::Channel> NewChannelAtTheTestsPace(const std::string& target) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
}

// What workers and operators call, of one life of a daemon.
struct Stubs {
  explicit Stubs(const std::string& target)
      : worker(v1::CircuitBreaker::NewStub(NewChannel(target))),
        admin(v1::BreakerAdmin::NewStub(NewChannelAtTheTestsPace(target))) {}

  v1::AcquireResponse Acquire(const std::string& request) {
    grpc::ClientContext context;
    v1::AcquireResponse response;
    EXPECT_TRUE(worker->Acquire(&context, Text<v1::AcquireRequest>(request), &response).ok());
    return response;
  }
  v1::ReportResponse Report(const v1::ReportRequest& request) {
    grpc::ClientContext context;
    v1::ReportResponse response;
    EXPECT_TRUE(worker->Report(&context, request, &response).ok());
    return response;
  }
  v1::ListStatsResponse List(const std::string& service) {
    grpc::ClientContext context;
    v1::ListStatsRequest request;
    request.set_service(service);
    v1::ListStatsResponse response;
    EXPECT_TRUE(worker->ListStats(&context, request, &response).ok());
    // No permit outlives the daemon that granted it.
    for (v1::CircuitStats& stats : *response.mutable_stats()) stats.clear_in_flight();
    return response;
  }
  std::string Policies() {
    grpc::ClientContext context;
    v1::ListPoliciesResponse response;
    EXPECT_TRUE(admin->ListPolicies(&context, {}, &response).ok());
    return response.DebugString();
  }

  std::unique_ptr<v1::CircuitBreaker::Stub> worker;
  std::unique_ptr<v1::BreakerAdmin::Stub> admin;
};

// A Backup that is read as the test wants it.
struct Stream {
  explicit Stream(Stubs& stubs) : reader(stubs.admin->Backup(&context, {})) {}
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReader<v1::BackupChunk>> reader;
  v1::BackupChunk chunk;
};

absl::StatusOr<v1::BackupSummary> Backup(Stubs& stubs, const std::string& folder) {
  const auto writer = server::BackupFolderWriter::Begin(folder);
  if (!writer.ok()) return writer.status();
  Stream stream(stubs);
  while (stream.reader->Read(&stream.chunk)) {
    if (absl::Status taken = (*writer)->Take(stream.chunk); !taken.ok()) return taken;
  }
  const grpc::Status status = stream.reader->Finish();
  if (!status.ok()) {
    return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  }
  return (*writer)->End();
}

class BackupTest : public ::testing::Test {
 protected:
  std::unique_ptr<Subprocess> Restore(const std::string& folder, const std::string& data_dir) {
    auto process = std::make_unique<Subprocess>(
        std::vector<std::string>{BREAKERD_PATH, "--restore=" + folder, "--data_dir=" + data_dir});
    process->Wait();
    return process;
  }
  void ExpectRestored(const std::string& folder, const std::string& data_dir) {
    const auto restore = Restore(folder, data_dir);
    EXPECT_EQ(restore->Wait(), 0) << restore->err();
    EXPECT_THAT(restore->out(), StartsWith("restored " + folder + " to " + data_dir + ": "));
  }
  // Says `why` in one line, and puts nothing in place.
  void ExpectRefused(const std::string& folder, const std::string& why) {
    const std::string data_dir = dir_ / "refused";
    const auto restore = Restore(folder, data_dir);
    EXPECT_EQ(restore->Wait(), 1);
    EXPECT_THAT(restore->err(), StartsWith("breakerd: " + folder));
    EXPECT_THAT(restore->err(), HasSubstr(why));
    EXPECT_EQ(restore->err().find('\n'), restore->err().size() - 1) << restore->err();
    EXPECT_FALSE(fs::exists(data_dir + "/db"));
    EXPECT_FALSE(fs::exists(data_dir + "/restoring"));
  }
  bool CheckpointIsThere() { return fs::exists(daemon_.data_dir() + "/checkpoint"); }

  TempDir dir_;
  // The last counters are stored by nothing but the backup.
  DaemonProcess daemon_{
      {"--snapshot_interval=1h", "--drain_timeout=100ms", "--max_new_breakers_per_minute=0"}};
  Stubs stubs_{daemon_.target()};
};

TEST_F(BackupTest, UnderLoadIsRestoredAsThingsWereThen) {
  const std::string policy =
      " policy { minimum_request_count: 1 monitoring_window { seconds: 9999 }"
      " recovery_timeout { seconds: 9999 } }";
  const auto call = [&](const std::string& operation, v1::Outcome outcome) {
    const auto permit = stubs_.Acquire("service: 's' operation: '" + operation + "'" + policy);
    auto report = Text<v1::ReportRequest>("service: 's' worker_id: 'w' error: 'E'");
    report.set_operation(operation);
    report.set_permit_id(permit.permit_id());
    report.set_outcome(outcome);
    EXPECT_EQ(stubs_.Report(report).disposition(), v1::ReportResponse::COUNTED);
  };
  for (int i = 0; i < 5; ++i) call("open", v1::FAILURE);
  for (const v1::Outcome outcome : {v1::SUCCESS, v1::FAILURE, v1::SUCCESS})
    call("counted", outcome);
  {
    grpc::ClientContext context, other;
    v1::CircuitStats stats;
    v1::PolicyEntry entry;
    ASSERT_TRUE(stubs_.admin
                    ->SetOverride(&context,
                                  Text<v1::SetOverrideRequest>(
                                      "service: 's' operation: 'forced' mode: FORCED_OPEN"
                                      " reason: 'migration' actor: 'ana'"),
                                  &stats)
                    .ok());
    ASSERT_TRUE(stubs_.admin
                    ->SetPolicy(&other,
                                Text<v1::SetPolicyRequest>("service: 'shop' operation: '*'"
                                                           " policy { failure_threshold: 7 }"),
                                &entry)
                    .ok());
  }
  const auto permit = stubs_.Acquire("service: 's' operation: 'counted'");
  const v1::ListStatsResponse before = stubs_.List("s");
  ASSERT_EQ(before.stats_size(), 3);
  const std::string policies = stubs_.Policies();

  std::atomic<bool> stop = false;
  std::vector<std::thread> workers;
  for (int i = 0; i < 2; ++i) {
    workers.emplace_back([&, i] {
      Stubs stubs(daemon_.target());
      const std::string name = "service: 'busy' operation: 'o" + std::to_string(i) + "'";
      while (!stop) {
        auto report = Text<v1::ReportRequest>(name + " outcome: SUCCESS");
        report.set_permit_id(stubs.Acquire(name).permit_id());
        stubs.Report(report);
      }
    });
  }
  const auto successes = [](Stubs& stubs) {
    uint64_t count = 0;
    const v1::ListStatsResponse busy = stubs.List("busy");
    for (const v1::CircuitStats& stats : busy.stats()) {
      count += stats.lifetime().successes();
    }
    return count;
  };
  EXPECT_TRUE(Eventually([&] { return successes(stubs_) > 100; }));
  const uint64_t at_least = successes(stubs_);
  const auto summary = Backup(stubs_, dir_ / "backup");
  const uint64_t at_most = successes(stubs_);
  EXPECT_TRUE(Eventually([&] { return successes(stubs_) > at_most + 10; })) << "the load goes on";
  stop = true;
  for (std::thread& worker : workers) worker.join();
  ASSERT_THAT(summary, IsOk());
  EXPECT_EQ(summary->breakers(), 5);

  call("counted", v1::SUCCESS);  // after the backup
  ExpectRestored(dir_ / "backup", dir_ / "data");
  DaemonProcess restored({"--data_dir=" + dir_ / "data"});
  Stubs stubs(restored.target());
  EXPECT_EQ(stubs.List("s").DebugString(), before.DebugString());
  EXPECT_EQ(stubs.Policies(), policies);
  EXPECT_GE(successes(stubs), at_least);
  EXPECT_LE(successes(stubs), at_most);

  auto late = Text<v1::ReportRequest>("service: 's' operation: 'counted' outcome: FAILURE");
  late.set_permit_id(permit.permit_id());
  EXPECT_EQ(stubs.Report(late).disposition(), v1::ReportResponse::UNKNOWN_PERMIT);
}

TEST_F(BackupTest, PermitsOfWhatIsRestoredAreNobodyElses) {
  constexpr int kPermits = 20;
  ASSERT_THAT(Backup(stubs_, dir_ / "backup"), IsOk());
  // The original goes on to its next epoch, and so does each of the copies.
  daemon_.Terminate();
  daemon_.Restart();
  ExpectRestored(dir_ / "backup", dir_ / "a");
  ExpectRestored(dir_ / "backup", dir_ / "b");
  DaemonProcess a({"--data_dir=" + dir_ / "a"});
  DaemonProcess b({"--data_dir=" + dir_ / "b"});

  std::set<uint64_t> permits;
  for (const DaemonProcess* daemon : {&daemon_, &a, &b}) {
    Stubs stubs(daemon->target());
    const std::set<uint64_t> others = permits;
    for (int i = 0; i < kPermits; ++i) {
      permits.insert(stubs.Acquire("service: 's' operation: 'o'").permit_id());
    }
    for (const uint64_t other : others) {
      auto report = Text<v1::ReportRequest>("service: 's' operation: 'o' outcome: FAILURE");
      report.set_permit_id(other);
      EXPECT_EQ(stubs.Report(report).disposition(), v1::ReportResponse::UNKNOWN_PERMIT);
    }
  }
  EXPECT_EQ(permits.size(), 3 * kPermits);
}

TEST_F(BackupTest, IsNotRestoredOntoADatabase) {
  stubs_.Acquire("service: 's' operation: 'o'");
  ASSERT_THAT(Backup(stubs_, dir_ / "backup"), IsOk());
  const auto running = Restore(dir_ / "backup", daemon_.data_dir());
  EXPECT_EQ(running->Wait(), 1);
  EXPECT_THAT(running->err(), HasSubstr("is in use by another process"));

  daemon_.Terminate();
  const auto stopped = Restore(dir_ / "backup", daemon_.data_dir());
  EXPECT_EQ(stopped->Wait(), 1);
  EXPECT_THAT(stopped->err(), HasSubstr(daemon_.data_dir() + " has a database already; move it"));

  daemon_.Restart();
  EXPECT_EQ(Stubs(daemon_.target()).List("s").stats_size(), 1);
}

TEST_F(BackupTest, ThatWasDamagedIsRefused) {
  AddManyBreakers(*stubs_.worker, 1000);
  const fs::path good = dir_ / "good";
  ASSERT_THAT(Backup(stubs_, good), IsOk());
  std::string table;
  for (const auto& file : fs::directory_iterator(good)) {
    if (file.path().extension() == ".sst") table = file.path().filename();
  }
  ASSERT_FALSE(table.empty());
  const fs::path bad = dir_ / "bad";
  const auto damaged = [&](auto damage) {
    fs::remove_all(bad);
    fs::copy(good, bad);
    damage();
    return bad.string();
  };
  ExpectRefused(damaged([&] { fs::resize_file(bad / table, fs::file_size(bad / table) - 1); }),
                table + " is not what was written");
  ExpectRefused(damaged([&] {
                  std::fstream file(bad / table, std::ios::in | std::ios::out | std::ios::binary);
                  file.seekg(5000);
                  const char byte = static_cast<char>(file.get() ^ 1);
                  file.seekp(5000);
                  file.put(byte);
                }),
                table + " is not what was written");
  ExpectRefused(damaged([&] { fs::remove(bad / "SHA256SUMS"); }), "it has no SHA256SUMS");
  ExpectRefused(damaged([&] { fs::remove(bad / "backup.json"); }), "it lacks backup.json");
  ExpectRefused(damaged([&] { fs::remove(bad / table); }), "it lacks " + table);
  ExpectRefused(damaged([&] { std::ofstream(bad / "000999.log") << "x"; }),
                "it holds 000999.log, which is no file of the backup");
  ExpectRefused(dir_ / "nowhere", "it has no SHA256SUMS");
  ExpectRestored(good, dir_ / "data");
}

TEST_F(BackupTest, ClientThatGoesAwayEndsItAndAnotherMayCome) {
  AddManyBreakers(*stubs_.worker, 5000);
  {
    Stream stream(stubs_);
    ASSERT_TRUE(stream.reader->Read(&stream.chunk));
    EXPECT_TRUE(CheckpointIsThere());
    EXPECT_THAT(
        Backup(stubs_, dir_ / "second"),
        StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("another backup is under way")));
    stream.context.TryCancel();
    EXPECT_FALSE(stream.reader->Finish().ok());
  }
  EXPECT_TRUE(Eventually([&] { return !CheckpointIsThere(); }));
  EXPECT_TRUE(daemon_.WaitForLog("backup_failed reason=\"the client is gone\""))
      << "it goes on to the end for nobody";
  EXPECT_FALSE(fs::exists(dir_ / "second"));
  absl::StatusOr<v1::BackupSummary> next;
  EXPECT_TRUE(Eventually([&] { return (next = Backup(stubs_, dir_ / "next")).ok(); }));
  EXPECT_EQ(next->breakers(), 5000);
}

TEST_F(BackupTest, DaemonThatIsKilledLeavesNothingForLong) {
  AddManyBreakers(*stubs_.worker, 5000);
  Stream stream(stubs_);
  ASSERT_TRUE(stream.reader->Read(&stream.chunk));
  daemon_.Kill();
  while (stream.reader->Read(&stream.chunk)) EXPECT_FALSE(stream.chunk.has_summary());
  EXPECT_EQ(stream.reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  ASSERT_TRUE(CheckpointIsThere());
  daemon_.Restart();
  EXPECT_FALSE(CheckpointIsThere());
  EXPECT_THAT(daemon_.log(), HasSubstr("leftovers_removed"));
}

TEST_F(BackupTest, ShutdownDoesNotWaitForASlowClient) {
  AddManyBreakers(*stubs_.worker, 5000);
  Stream stream(stubs_);
  ASSERT_TRUE(stream.reader->Read(&stream.chunk));
  EXPECT_EQ(daemon_.Terminate(), 0);
  EXPECT_FALSE(CheckpointIsThere());
}

}  // namespace
}  // namespace breaker::testing
