// A disk that takes no more while the daemon runs: decisions go on, and nothing is lost once it is
// back. The fault is real: a limit on the size of files makes every write fail.

#include <grpcpp/grpcpp.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>

#include "breaker/v1/breaker.grpc.pb.h"
#include "gtest/gtest.h"
#include "tests/support/channel.h"
#include "tests/support/daemon_process.h"
#include "tests/support/messages.h"
#include "tests/support/temp_dir.h"

namespace breaker::testing {
namespace {

class DiskTest : public ::testing::Test {
 protected:
  static std::unique_ptr<v1::CircuitBreaker::Stub> Connect(const DaemonProcess& daemon) {
    return v1::CircuitBreaker::NewStub(NewChannel(daemon.target()));
  }

  static void LimitFileSize(const DaemonProcess& daemon, rlim_t bytes) {
    const rlimit limit{bytes, RLIM_INFINITY};
    ASSERT_EQ(prlimit(daemon.pid(), RLIMIT_FSIZE, &limit, nullptr), 0);
  }

  // Opens a circuit; the state that the daemon answers with.
  static v1::CircuitState Open(const DaemonProcess& daemon, const std::string& operation) {
    const auto stub = Connect(daemon);
    const std::string key = "service: 's' operation: '" + operation + "' ";
    grpc::ClientContext acquire_context;
    v1::AcquireResponse acquired;
    EXPECT_TRUE(
        stub->Acquire(&acquire_context,
                      Text<v1::AcquireRequest>(key + "policy { failure_threshold: 1 "
                                                     "minimum_request_count: 1 "
                                                     "recovery_timeout { seconds: 3600 } }"),
                      &acquired)
            .ok());
    grpc::ClientContext report_context;
    v1::ReportResponse reported;
    EXPECT_TRUE(
        stub->Report(&report_context, Text<v1::ReportRequest>(key + "outcome: FAILURE"), &reported)
            .ok());
    return reported.state();
  }

  static v1::CircuitState StateOf(const DaemonProcess& daemon, const std::string& operation) {
    grpc::ClientContext context;
    v1::CircuitStats stats;
    EXPECT_TRUE(
        Connect(daemon)
            ->GetStats(&context,
                       Text<v1::GetStatsRequest>("service: 's' operation: '" + operation + "'"),
                       &stats)
            .ok());
    return stats.state();
  }
};

TEST_F(DiskTest, DecisionsGoOnWhileItIsFullAndAreStoredWhenItIsBack) {
  DaemonProcess daemon;
  EXPECT_EQ(Open(daemon, "before"), v1::OPEN);
  LimitFileSize(daemon, 0);
  EXPECT_EQ(Open(daemon, "meanwhile"), v1::OPEN);
  ASSERT_TRUE(daemon.WaitForLog(" error store_failing "));
  EXPECT_EQ(Open(daemon, "and more"), v1::OPEN);

  LimitFileSize(daemon, RLIM_INFINITY);
  ASSERT_TRUE(daemon.WaitForLog(" store_recovered "));
  daemon.Kill();
  daemon.Restart();
  for (const char* operation : {"before", "meanwhile", "and more"}) {
    EXPECT_EQ(StateOf(daemon, operation), v1::OPEN) << operation;
  }
}

TEST_F(DiskTest, DaemonStartsFromMemoryWhereThereIsNoDisk) {
  const TempDir dir;
  std::ofstream(dir / "file") << "no directory";
  DaemonProcess daemon({"--data_dir=" + dir / "file"});
  EXPECT_EQ(Open(daemon, "o"), v1::OPEN);
  EXPECT_EQ(StateOf(daemon, "o"), v1::OPEN);
  ASSERT_TRUE(daemon.WaitForLog(" error store_failing "));
  std::filesystem::remove(dir / "file");
  ASSERT_TRUE(daemon.WaitForLog(" store_recovered "));
  daemon.Kill();
  daemon.Restart();
  EXPECT_EQ(StateOf(daemon, "o"), v1::OPEN);
}

TEST_F(DiskTest, CorruptDatabaseIsMovedAsideAndNeverDeleted) {
  DaemonProcess daemon;
  EXPECT_EQ(Open(daemon, "o"), v1::OPEN);
  daemon.Kill();
  std::ofstream(daemon.data_dir() + "/db/CURRENT", std::ios::trunc) << "MANIFEST-nonsense\n";
  daemon.Restart();
  EXPECT_EQ(Open(daemon, "o"), v1::OPEN);
  EXPECT_TRUE(daemon.WaitForLog(" error "));
  int moved = 0;
  for (const auto& entry : std::filesystem::directory_iterator(daemon.data_dir())) {
    if (entry.path().filename().string().rfind("db.corrupt-", 0) == 0) ++moved;
  }
  EXPECT_EQ(moved, 1);
}

}  // namespace
}  // namespace breaker::testing
