// Start, drain, restart.

#include <filesystem>
#include <future>

#include "gmock/gmock.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "gtest/gtest.h"
#include "tests/support/channel.h"
#include "tests/support/daemon_process.h"
#include "tests/support/eventually.h"
#include "tests/support/messages.h"
#include "tests/support/subprocess.h"
#include "tests/support/test_daemon.h"

namespace breaker::testing {
namespace {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using ::testing::HasSubstr;

TEST(DaemonLifecycleTest, HealthIsServingForTheDaemonAndItsService) {
  const server::SystemClock clock;
  TestDaemon daemon(&clock);
  const auto health = Health::NewStub(daemon.NewChannel());
  for (const std::string service : {"", "breaker.v1.CircuitBreaker"}) {
    grpc::ClientContext context;
    HealthCheckRequest request;
    request.set_service(service);
    HealthCheckResponse response;
    ASSERT_TRUE(health->Check(&context, request, &response).ok());
    EXPECT_EQ(response.status(), HealthCheckResponse::SERVING) << service;
  }
}

TEST(DaemonLifecycleTest, SignalTurnsHealthToNotServingAndDrainsBeforeTheEnd) {
  DaemonProcess daemon({"--drain_timeout=60s"});
  const auto channel = NewChannel(daemon.target());
  grpc::ClientContext context;
  const auto health = Health::NewStub(channel)->Watch(&context, HealthCheckRequest());
  HealthCheckResponse response;
  ASSERT_TRUE(health->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);

  std::future<int> exit_status = std::async(std::launch::async, [&] { return daemon.Terminate(); });
  ASSERT_TRUE(health->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  // The stream is a call under way, which the daemon waits for.
  context.TryCancel();
  EXPECT_EQ(exit_status.get(), 0);
  EXPECT_THAT(daemon.log(), HasSubstr(" stopped "));
}

TEST(DaemonLifecycleTest, DrainEndsCallsThatOutlastIt) {
  DaemonProcess daemon({"--drain_timeout=100ms"});
  const auto channel = NewChannel(daemon.target());
  grpc::ClientContext context;
  const auto health = Health::NewStub(channel)->Watch(&context, HealthCheckRequest());
  HealthCheckResponse response;
  ASSERT_TRUE(health->Read(&response));
  EXPECT_EQ(daemon.Terminate(), 0);
}

TEST(DaemonLifecycleTest, CountersAndWindowsOutliveARestart) {
  const server::SystemClock clock;
  server::DaemonOptions options;
  options.snapshot_interval = absl::Hours(1);  // so that only the shutdown stores them
  TestDaemon daemon(&clock, options);
  const auto acquired = daemon.Acquire(Text<v1::AcquireRequest>(
      "service: 's' operation: 'o' worker_id: 'w' policy { failure_threshold: 9 }"));
  for (const char* outcome : {"SUCCESS", "FAILURE", "IGNORED"}) {
    daemon.Report(Text<v1::ReportRequest>(std::string("service: 's' operation: 'o' outcome: ") +
                                          outcome + " error: 'E' worker_id: 'w'"));
  }
  const v1::CircuitStats before = daemon.GetStats("s", "o");
  EXPECT_EQ(before.in_flight(), 1);
  daemon.Restart();
  v1::CircuitStats after = daemon.GetStats("s", "o");

  // No permit outlives the daemon that granted it.
  EXPECT_EQ(after.in_flight(), 0);
  auto late = Text<v1::ReportRequest>("service: 's' operation: 'o' outcome: FAILURE");
  late.set_permit_id(acquired.permit_id());
  EXPECT_EQ(daemon.Report(late).disposition(), v1::ReportResponse::UNKNOWN_PERMIT);

  after.set_in_flight(1);
  EXPECT_EQ(after.DebugString(), before.DebugString());
}

// What the daemon has written so far.
uintmax_t BytesOnDisk(const DaemonProcess& daemon) {
  uintmax_t bytes = 0;
  for (const auto& file : std::filesystem::directory_iterator(daemon.data_dir() + "/db")) {
    std::error_code gone;
    const uintmax_t size = file.file_size(gone);
    if (!gone && file.path().extension() == ".log") bytes += size;
  }
  return bytes;
}

TEST(DaemonLifecycleTest, CountersAreStoredEverySnapshotInterval) {
  DaemonProcess daemon({"--snapshot_interval=10ms"});
  const auto report = Text<v1::ReportRequest>("service: 's' operation: 'o' outcome: SUCCESS");
  const uintmax_t bytes = BytesOnDisk(daemon);
  {
    grpc::ClientContext context;
    v1::ReportResponse response;
    ASSERT_TRUE(v1::CircuitBreaker::NewStub(NewChannel(daemon.target()))
                    ->Report(&context, report, &response)
                    .ok());
  }
  ASSERT_TRUE(Eventually([&] { return BytesOnDisk(daemon) > bytes; }));
  daemon.Kill();
  daemon.Restart();

  grpc::ClientContext context;
  v1::CircuitStats stats;
  ASSERT_TRUE(
      v1::CircuitBreaker::NewStub(NewChannel(daemon.target()))
          ->GetStats(&context, Text<v1::GetStatsRequest>("service: 's' operation: 'o'"), &stats)
          .ok());
  EXPECT_EQ(stats.success_count(), 1);
}

TEST(DaemonLifecycleTest, PortInUseIsSaidInOneSentence) {
  DaemonProcess first;
  TempDir dir;
  Subprocess second({BREAKERD_PATH, "--listen=" + first.target(), "--data_dir=" + dir.path()});
  EXPECT_EQ(second.Wait(), 1);
  EXPECT_THAT(second.err(), HasSubstr("breakerd: cannot listen on " + first.target()));
}

TEST(DaemonLifecycleTest, DataDirInUseIsSaidInOneSentence) {
  DaemonProcess first;
  Subprocess second({BREAKERD_PATH, "--listen=127.0.0.1:0", "--data_dir=" + first.data_dir()});
  EXPECT_EQ(second.Wait(), 1);
  EXPECT_THAT(second.err(), HasSubstr("breakerd: "));
  EXPECT_THAT(second.err(), HasSubstr(first.data_dir()));
}

}  // namespace
}  // namespace breaker::testing
