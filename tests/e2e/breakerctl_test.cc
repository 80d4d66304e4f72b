// breakerctl with a real daemon, and a real dependency that goes down and comes back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "breaker/client.h"
#include "tests/support/daemon_process.h"
#include "tests/support/eventually.h"
#include "tests/support/subprocess.h"
#include "tests/support/temp_dir.h"

namespace breaker {
namespace {

using ::testing::AllOf;
using testing::DaemonProcess;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;
using testing::Subprocess;

using Args = std::vector<std::string>;

class BreakerctlTest : public ::testing::Test {
 protected:
  std::unique_ptr<Subprocess> Start(const Args& args) {
    Args argv = {BREAKERCTL_PATH, "--timeout=20s"};
    argv.insert(argv.end(), args.begin(), args.end());
    return std::make_unique<Subprocess>(
        argv, Subprocess::Options{.env = {{"BREAKERD_TARGET", daemon_.target()}}});
  }

  std::unique_ptr<Subprocess> Run(const Args& args) {
    auto process = Start(args);
    process->Wait();
    return process;
  }

  // breakerctl exec KEY, once.
  int Exec(const std::string& key, const Args& command) {
    Args args = {"exec", key, "--policy=failure_threshold=1,minimum_request_count=1", "--"};
    args.insert(args.end(), command.begin(), command.end());
    return Run(args)->Wait();
  }

  DaemonProcess daemon_{{"--max_new_breakers_per_minute=0"}};
};

TEST_F(BreakerctlTest, StatsShowStatePolicyAndHistoryInWords) {
  ASSERT_EQ(Exec("demo/a/b", {"sh", "-c", "exit 9"}), 9);
  const auto stats = Run({"stats", "demo/a/b"});
  EXPECT_EQ(stats->Wait(), 0) << stats->err();
  EXPECT_THAT(stats->out(),
              AllOf(HasSubstr("demo/a/b is OPEN (generation 2)\n"),
                    HasSubstr("  next attempt  in "), HasSubstr(": exit 9\n"),
                    HasSubstr("0 succeeded, 1 failed"), HasSubstr("policy, brought by a worker\n"),
                    HasSubstr("  failure_threshold            1\n"),
                    HasSubstr("  recovery_timeout             30s\n"),
                    HasSubstr("CLOSED -> OPEN  CONSECUTIVE_FAILURES: 1 consecutive failure")));
}

TEST_F(BreakerctlTest, StatsAsJsonHaveTheContractsNames) {
  ASSERT_EQ(Exec("demo/a", {"true"}), 0);
  const auto stats = Run({"stats", "demo/a", "--json"});
  EXPECT_EQ(stats->Wait(), 0) << stats->err();
  EXPECT_THAT(stats->out(),
              AllOf(HasSubstr("\"state\": \"CLOSED\""), HasSubstr("\"failure_count\": \"0\""),
                    HasSubstr("\"failure_threshold\": 1")));
}

TEST_F(BreakerctlTest, HealthSaysWhetherTheDaemonOrOneOfItsServicesServes) {
  const auto all = Run({"health"});
  EXPECT_EQ(all->Wait(), 0) << all->err();
  EXPECT_EQ(all->out(), "SERVING\n");
  const auto one = Run({"health", "--service", "breaker.v1.CircuitBreaker"});
  EXPECT_EQ(one->Wait(), 0) << one->err();
  EXPECT_EQ(one->out(), "SERVING\n");
  const auto none = Run({"health", "--service", "breaker.v1.Toaster"});
  EXPECT_EQ(none->Wait(), 1);
  EXPECT_EQ(none->err(), "breakerctl: breakerd has no service breaker.v1.Toaster\n");
  daemon_.Kill();
  EXPECT_EQ(Run({"health"})->Wait(), 69);
}

TEST_F(BreakerctlTest, ListIsAnAlignedTable) {
  ASSERT_EQ(Exec("demo/long-operation", {"true"}), 0);
  ASSERT_EQ(Exec("b/c", {"true"}), 0);
  const auto list = Run({"list"});
  EXPECT_EQ(list->Wait(), 0) << list->err();
  EXPECT_EQ(list->out(),
            "BREAKER              STATE   CALLS  FAILED  SLOW  IN FLIGHT  NEXT ATTEMPT\n"
            "b/c                  CLOSED  1      0       0     0          -\n"
            "demo/long-operation  CLOSED  1      0       0     0          -\n");
}

TEST_F(BreakerctlTest, ListIsFilteredByStateAndService) {
  ASSERT_EQ(Exec("demo/good", {"true"}), 0);
  ASSERT_EQ(Exec("demo/bad", {"false"}), 1);
  ASSERT_EQ(Exec("other/bad", {"false"}), 1);
  EXPECT_THAT(Run({"list", "--state", "OPEN"})->out(),
              AllOf(HasSubstr("demo/bad"), HasSubstr("other/bad"), Not(HasSubstr("demo/good"))));
  EXPECT_THAT(Run({"list", "--state=closed", "--state=half_open"})->out(),
              AllOf(HasSubstr("demo/good"), Not(HasSubstr("bad"))));
  EXPECT_THAT(Run({"list", "--state=OPEN", "--service=demo", "--json"})->out(),
              AllOf(HasSubstr("\"operation\": \"bad\""), Not(HasSubstr("\"other\""))));
}

TEST_F(BreakerctlTest, ListGoesOnToTheLastPage) {
  Client client(
      {.target = daemon_.target(), .rpc_timeout = absl::Seconds(20), .mode = Mode::kRemote});
  constexpr int kMoreThanAPage = 1001;
  for (int i = 0; i < kMoreThanAPage; ++i) {
    ASSERT_TRUE(client.Acquire({"many", std::to_string(i)}).ok());
  }
  const std::string table = Run({"list"})->out();
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 1 + kMoreThanAPage);
}

TEST_F(BreakerctlTest, ExitStatusSaysWhatIsWrong) {
  EXPECT_EQ(Run({"stats", "no/such"})->Wait(), 1);
  EXPECT_EQ(Run({"stats", "no-slash"})->Wait(), 2);
  EXPECT_EQ(Run({"list", "--state=BROKEN"})->Wait(), 2);
  EXPECT_EQ(Run({})->Wait(), 2);
  const auto version = Run({"--version"});
  EXPECT_EQ(version->Wait(), 0);
  EXPECT_THAT(version->out(), MatchesRegex("breakerctl [0-9]+\\.[0-9]+\\.[0-9]+\n"));
  const auto help = Run({"--help"});
  EXPECT_EQ(help->Wait(), 0);
  EXPECT_THAT(help->out(), HasSubstr("75"));
  daemon_.Kill();
  EXPECT_EQ(Run({"stats", "demo/a"})->Wait(), 69);
  EXPECT_EQ(Run({"list"})->Wait(), 69);
}

// A local HTTP server that can go down and come back on its port.
class HttpServer {
 public:
  HttpServer() { Start(); }

  void Start() {
    process_ = std::make_unique<Subprocess>(
        Args{"python3", "-uc",
             "import http.server as h, sys\n"
             "s = h.HTTPServer(('127.0.0.1', int(sys.argv[1])), h.SimpleHTTPRequestHandler)\n"
             "print('port', s.server_port)\n"
             "s.serve_forever()\n",
             port_});
    if (!process_->WaitForOut("port ")) abort();
    port_ = process_->out().substr(5);
    port_.pop_back();
  }
  void Stop() { process_.reset(); }
  std::string url() const { return "http://127.0.0.1:" + port_ + "/"; }

 private:
  std::string port_ = "0";
  std::unique_ptr<Subprocess> process_;
};

// The users of the demo: each guards curl, and every run of curl leaves a line in a file.
class DemoTest : public BreakerctlTest {
 protected:
  std::unique_ptr<Subprocess> StartUser(int user, const std::string& command) {
    return Start({"exec", "demo/http", "--worker_id=user" + std::to_string(user),
                  "--policy=failure_threshold=5,minimum_request_count=5,permit_timeout=5m",
                  "--policy=recovery_timeout=" + recovery_timeout_, "--", "sh", "-c", command});
  }

  std::string Curl() {
    return "echo run >> " + (work_ / "runs").string() + "; exec curl -sf -o /dev/null " +
           server_.url();
  }
  int RunUser(int user) { return StartUser(user, Curl())->Wait(); }

  int Runs() {
    std::ifstream runs(work_ / "runs");
    return static_cast<int>(std::count(std::istreambuf_iterator<char>(runs), {}, '\n'));
  }

  const TempDir dir_;
  const std::filesystem::path work_{dir_.path()};
  HttpServer server_;
  std::string recovery_timeout_ = "10m";  // longer than any machine needs for the refusals
};

TEST_F(DemoTest, FiveFailuresRefuseAllUsersAndOneProbeLetsThemPass) {
  for (int user = 1; user <= 3; ++user) EXPECT_EQ(RunUser(user), 0);
  EXPECT_EQ(Runs(), 3);

  server_.Stop();
  constexpr int kConnectionRefused = 7;  // what curl exits with
  for (int call = 0; call < 5; ++call) EXPECT_EQ(RunUser(1 + call % 3), kConnectionRefused);
  EXPECT_EQ(Runs(), 8);

  for (int user = 1; user <= 3; ++user) EXPECT_EQ(RunUser(user), 75);
  EXPECT_EQ(Runs(), 8);  // Nobody ran curl.

  server_.Start();
  recovery_timeout_ = "1s";  // A changed one moves the end of the OPEN time.
  const std::filesystem::path gate = work_ / "gate";
  ASSERT_EQ(mkfifo(gate.c_str(), 0600), 0);
  std::unique_ptr<Subprocess> probe;
  ASSERT_TRUE(Eventually([&] {
    probe = StartUser(1, "echo probing; read line < " + gate.string() + "; " + Curl());
    return probe->WaitForOut("probing");  // Else it ended, refused.
  }));
  EXPECT_EQ(RunUser(2), 75);
  EXPECT_EQ(RunUser(3), 75);
  std::ofstream(gate) << "go\n";
  EXPECT_EQ(probe->Wait(), 0);
  EXPECT_EQ(Runs(), 9);

  for (int user = 1; user <= 3; ++user) EXPECT_EQ(RunUser(user), 0);
  EXPECT_EQ(Runs(), 12);
}

}  // namespace
}  // namespace breaker
