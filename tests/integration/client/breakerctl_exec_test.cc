#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/scripted_breaker_service.h"
#include "tests/support/subprocess.h"
#include "tests/support/terminal_process.h"

namespace breaker {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;
using testing::Subprocess;

class BreakerctlExecTest : public ::testing::Test {
 protected:
  // breakerctl exec demo/http ...
  std::unique_ptr<Subprocess> Start(const std::vector<std::string>& args,
                                    const Subprocess::Options& options = {}) {
    std::vector<std::string> argv = {BREAKERCTL_PATH, "--target=" + service_.target(),
                                     "--timeout=20s", "exec", "demo/http"};
    argv.insert(argv.end(), args.begin(), args.end());
    return std::make_unique<Subprocess>(argv, options);
  }

  std::unique_ptr<Subprocess> Run(const std::vector<std::string>& args) {
    auto process = Start(args);
    process->Wait();
    return process;
  }

  void Refuse() {
    v1::AcquireResponse refusal;
    refusal.set_state(v1::OPEN);
    refusal.mutable_retry_after()->set_seconds(26);
    refusal.mutable_retry_after()->set_nanos(12'345);
    service_.AnswerAcquire(refusal);
  }

  v1::ReportRequest OnlyReport() {
    EXPECT_THAT(service_.reports(), SizeIs(1));
    return service_.reports().empty() ? v1::ReportRequest() : service_.reports()[0];
  }

  testing::ScriptedBreakerService service_;
};

TEST_F(BreakerctlExecTest, ExitStatusZeroIsASuccess) {
  const auto process = Run({"--", "echo", "hello", "--flag", "[a,b]", "--", ""});
  EXPECT_EQ(process->Wait(), 0);
  EXPECT_EQ(process->out(), "hello --flag [a,b] -- \n");
  EXPECT_EQ(process->err(), "");
  EXPECT_EQ(OnlyReport().outcome(), v1::SUCCESS);
  EXPECT_EQ(OnlyReport().permit_id(), 7);
}

TEST_F(BreakerctlExecTest, OtherExitStatusIsAFailureAndPassesThrough) {
  EXPECT_EQ(Run({"--", "sh", "-c", "exit 3"})->Wait(), 3);
  EXPECT_EQ(OnlyReport().outcome(), v1::FAILURE);
  EXPECT_EQ(OnlyReport().error(), "exit 3");
}

TEST_F(BreakerctlExecTest, SignalOfTheCommandIsAFailureAndPassesThrough) {
  EXPECT_EQ(Run({"--", "sh", "-c", "kill -SEGV $$"})->Wait(), -SIGSEGV);
  EXPECT_EQ(OnlyReport().outcome(), v1::FAILURE);
  EXPECT_EQ(OnlyReport().error(), "SIGSEGV");
}

TEST_F(BreakerctlExecTest, AsksForTheBreakerWithPolicyAndWorker) {
  Run({"--policy=failure_threshold=3,recovery_timeout=2s", "--policy", "failure_counting=WINDOWED",
       "--worker_id=w1", "--", "true"});
  ASSERT_THAT(service_.acquires(), SizeIs(1));
  const v1::AcquireRequest request = service_.acquires()[0];
  EXPECT_EQ(request.service(), "demo");
  EXPECT_EQ(request.operation(), "http");
  EXPECT_EQ(request.worker_id(), "w1");
  EXPECT_EQ(request.policy().failure_threshold(), 3);
  EXPECT_EQ(request.policy().recovery_timeout().seconds(), 2);
  EXPECT_EQ(request.policy().failure_counting(), v1::Policy::WINDOWED);
}

TEST_F(BreakerctlExecTest, BringsNoPolicyAndTheHostNameByDefault) {
  Run({"--", "true"});
  ASSERT_THAT(service_.acquires(), SizeIs(1));
  EXPECT_FALSE(service_.acquires()[0].has_policy());
  char host[256] = {};
  gethostname(host, sizeof(host) - 1);
  EXPECT_EQ(service_.acquires()[0].worker_id(), host);
}

TEST_F(BreakerctlExecTest, RefusedCommandDoesNotRun) {
  Refuse();
  const auto process = Run({"--", "echo", "ran"});
  EXPECT_EQ(process->Wait(), 75);
  EXPECT_EQ(process->out(), "");
  EXPECT_EQ(process->err(), "breakerctl: demo/http is OPEN, retry in 27s\n");
  EXPECT_THAT(service_.reports(), IsEmpty());
}

TEST_F(BreakerctlExecTest, FallbackRunsInsteadOfARefusedCommand) {
  Refuse();
  const auto process = Run({"--fallback", "echo instead; exit 4", "--", "echo", "ran"});
  EXPECT_EQ(process->Wait(), 4);
  EXPECT_EQ(process->out(), "instead\n");
  EXPECT_THAT(service_.reports(), IsEmpty());
}

TEST_F(BreakerctlExecTest, FallbackDoesNotRunForAFailure) {
  const auto process = Run({"--fallback", "echo instead", "--", "false"});
  EXPECT_EQ(process->Wait(), 1);
  EXPECT_EQ(process->out(), "");
}

TEST_F(BreakerctlExecTest, CommandThatIsNotThereIsIgnored) {
  const auto process = Run({"--", "no-such-command"});
  EXPECT_EQ(process->Wait(), 127);
  EXPECT_EQ(process->err(), "breakerctl: no-such-command: No such file or directory\n");
  EXPECT_EQ(OnlyReport().outcome(), v1::IGNORED);
}

TEST_F(BreakerctlExecTest, CommandThatCannotBeRunIsIgnored) {
  EXPECT_EQ(Run({"--", "/"})->Wait(), 126);
  EXPECT_EQ(OnlyReport().outcome(), v1::IGNORED);
}

TEST_F(BreakerctlExecTest, SignalToStopReachesTheCommandAndIsIgnored) {
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT}) {
    const size_t reports = service_.reports().size();
    const auto process = Start({"--", "sh", "-c", "echo ready; exec sleep 60"});
    ASSERT_TRUE(process->WaitForOut("ready"));
    process->Signal(signal);
    EXPECT_EQ(process->Wait(), -signal);
    ASSERT_THAT(service_.reports(), SizeIs(reports + 1));
    EXPECT_EQ(service_.reports().back().outcome(), v1::IGNORED);
  }
}

TEST_F(BreakerctlExecTest, CommandMayEndWellAfterASignalToStop) {
  const auto process =
      Start({"--", "bash", "-c",
             "tail -f /dev/null & trap 'kill $!; echo cleanup; exit 0' TERM; echo ready; wait"});
  ASSERT_TRUE(process->WaitForOut("ready"));
  process->Signal(SIGTERM);
  EXPECT_EQ(process->Wait(), 0);
  EXPECT_THAT(process->out(), HasSubstr("cleanup"));
  EXPECT_EQ(OnlyReport().outcome(), v1::IGNORED);
}

TEST_F(BreakerctlExecTest, OtherSignalsReachTheCommandAndItsEndCounts) {
  for (const auto& [signal, name] :
       std::map<int, std::string>{{SIGUSR1, "USR1"}, {SIGUSR2, "USR2"}}) {
    const size_t reports = service_.reports().size();
    const auto process =
        Start({"--", "bash", "-c",
               "tail -f /dev/null & trap 'kill $!; exit 5' " + name + "; echo ready; wait"});
    ASSERT_TRUE(process->WaitForOut("ready"));
    process->Signal(signal);
    EXPECT_EQ(process->Wait(), 5);
    ASSERT_THAT(service_.reports(), SizeIs(reports + 1));
    EXPECT_EQ(service_.reports().back().outcome(), v1::FAILURE);
  }
}

// Ctrl-C goes to the command and to breakerctl at once; it must not be forwarded on top.
TEST_F(BreakerctlExecTest, SignalOfTheTerminalReachesTheCommandOnce) {
  const std::string command =
      "n=0; tail -f /dev/null & trap 'n=$((n + 1)); echo got $n' INT; "
      "trap 'kill $!; echo count $n; exit 0' USR1; echo ready; while :; do wait; done";
  testing::TerminalProcess process({BREAKERCTL_PATH, "--target=" + service_.target(),
                                    "--timeout=20s", "exec", "demo/http", "--", "bash", "-c",
                                    command});
  process.WaitFor("ready");
  // Stopped meanwhile, so that a second SIGINT could not merge with the first.
  process.Signal(SIGSTOP);
  process.Type("\x03");
  process.WaitFor("got 1");
  process.Signal(SIGCONT);
  process.Signal(SIGUSR1);  // Comes after SIGINT, whose number is lower.
  EXPECT_THAT(process.WaitFor("count "), HasSubstr("count 1\r\n"));
  EXPECT_EQ(process.Wait(), 0);
  EXPECT_EQ(OnlyReport().outcome(), v1::IGNORED);
}

TEST_F(BreakerctlExecTest, CommandInheritsNoSignalSettingsOfOurs) {
  const std::vector<std::string> show = {"grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"};
  Subprocess direct(show);
  direct.Wait();
  std::vector<std::string> args = {"--"};
  args.insert(args.end(), show.begin(), show.end());
  EXPECT_EQ(Run(args)->out(), direct.out());
}

TEST_F(BreakerctlExecTest, CommandInheritsNoDescriptorsOfOurs) {
  const std::vector<std::string> count = {"sh", "-c", "ls /proc/self/fd | wc -l"};
  Subprocess direct(count);
  direct.Wait();
  std::vector<std::string> args = {"--"};
  args.insert(args.end(), count.begin(), count.end());
  EXPECT_EQ(Run(args)->out(), direct.out());
}

TEST_F(BreakerctlExecTest, CommandRunsUnguardedWhenTheDaemonIsAway) {
  service_.Stop();
  const auto process = Run({"--", "sh", "-c", "echo ran; exit 3"});
  EXPECT_EQ(process->Wait(), 3);
  EXPECT_EQ(process->out(), "ran\n");
  EXPECT_THAT(process->err(), StartsWith("breakerctl: warning: breakerd at " + service_.target() +
                                         " is unavailable"));
}

TEST_F(BreakerctlExecTest, CommandIsRefusedWhenTheDaemonIsAwayIfSoAsked) {
  service_.Stop();
  const auto process = Run({"--on_daemon_unavailable=deny", "--", "echo", "ran"});
  EXPECT_EQ(process->Wait(), 75);
  EXPECT_EQ(process->out(), "");
  EXPECT_THAT(process->err(), StartsWith("breakerctl: warning: breakerd at "));
  EXPECT_EQ(Run({"--on_daemon_unavailable=deny", "--fallback=echo instead", "--", "true"})->out(),
            "instead\n");
}

TEST_F(BreakerctlExecTest, DaemonThatCannotHelpIsAsGoodAsAway) {
  service_.Fail({grpc::StatusCode::RESOURCE_EXHAUSTED, "too many breakers"});
  const auto process = Run({"--", "echo", "ran"});
  EXPECT_EQ(process->Wait(), 0);
  EXPECT_EQ(process->out(), "ran\n");
  EXPECT_THAT(process->err(), HasSubstr("too many breakers"));
}

TEST_F(BreakerctlExecTest, WrongUsageRunsNothing) {
  EXPECT_EQ(Run({})->Wait(), 2);
  EXPECT_EQ(Run({"--policy=failure_treshold=3", "--", "true"})->Wait(), 2);
  EXPECT_EQ(Run({"--on_daemon_unavailable=maybe", "--", "true"})->Wait(), 2);
  EXPECT_THAT(service_.acquires(), IsEmpty());
  service_.Fail({grpc::StatusCode::INVALID_ARGUMENT, "policy.recovery_jitter: 2 is not in [0, 1)"});
  const auto process = Run({"--policy=recovery_jitter=2", "--", "echo", "ran"});
  EXPECT_EQ(process->Wait(), 2);
  EXPECT_EQ(process->out(), "");
  EXPECT_EQ(process->err(), "breakerctl: policy.recovery_jitter: 2 is not in [0, 1)\n");
}

}  // namespace
}  // namespace breaker
