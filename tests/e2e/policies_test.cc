// breakerd's policy file as an operator handles it: checked, reloaded by a signal, and never taken
// with an error in it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/daemon_process.h"
#include "tests/support/subprocess.h"
#include "tests/support/temp_dir.h"

namespace breaker {
namespace {

using testing::DaemonProcess;
using ::testing::HasSubstr;
using testing::Subprocess;

class PoliciesTest : public ::testing::Test {
 protected:
  void Write(const std::string& text) const {
    std::ofstream(dir_.path() + "/next") << text;
    std::filesystem::rename(dir_.path() + "/next", file_);
  }
  std::unique_ptr<Subprocess> Run(const std::vector<std::string>& argv) const {
    auto process = std::make_unique<Subprocess>(argv, Subprocess::Options{});
    process->Wait();
    return process;
  }
  std::string PoliciesOf(const DaemonProcess& daemon) const {
    return Run({BREAKERCTL_PATH, "--timeout=20s", "--target", daemon.target(), "policy", "list"})
        ->out();
  }

  const TempDir dir_;
  const std::string file_ = dir_.path() + "/policies.yaml";
};

constexpr char kRight[] =
    "policies: [{service: s, operation: o, policy: {failure_threshold: 2}}]\n";
constexpr char kWrong[] =
    "policies:\n- {service: s, operation: p}\n- {service: s, operation: o, policy: {shadow: 7}}\n";

TEST_F(PoliciesTest, AWrongFileIsNotTakenAndSaysWhereItIsWrong) {
  Write(kRight);
  DaemonProcess daemon({"--policies=" + file_});
  const std::string before = PoliciesOf(daemon);
  EXPECT_THAT(before, HasSubstr("failure_threshold=2"));

  Write(kWrong);
  ASSERT_TRUE(daemon.WaitForLog("policies_not_loaded"));
  EXPECT_THAT(daemon.log(), HasSubstr("policies.yaml:3: policy.shadow: '7' is not true or false"));
  EXPECT_THAT(PoliciesOf(daemon), HasSubstr("failure_threshold=2"));
  EXPECT_THAT(PoliciesOf(daemon), ::testing::Not(HasSubstr("s/p")));
}

TEST_F(PoliciesTest, HangupReadsItAgainAndDoesNotStop) {
  Write(kRight);
  DaemonProcess daemon({"--policies=" + file_});
  kill(daemon.pid(), SIGHUP);
  EXPECT_TRUE(daemon.WaitForLog("changed=0"));
  EXPECT_EQ(daemon.Terminate(), 0);
}

TEST_F(PoliciesTest, HangupWithoutAFileIsNoReasonToStop) {
  DaemonProcess daemon;
  kill(daemon.pid(), SIGHUP);
  EXPECT_EQ(daemon.Terminate(), 0);
}

TEST_F(PoliciesTest, ADaemonDoesNotStartWithAWrongFile) {
  Write(kWrong);
  const auto daemon = Run({BREAKERD_PATH, "--listen=127.0.0.1:0",
                           "--data_dir=" + dir_.path() + "/data", "--policies=" + file_});
  EXPECT_EQ(daemon->Wait(), 1);
  EXPECT_THAT(daemon->err(), HasSubstr("policies.yaml:3: policy.shadow"));
}

TEST_F(PoliciesTest, CheckSaysWhetherAFileIsRight) {
  Write(kRight);
  const auto right = Run({BREAKERD_PATH, "--check_policies=" + file_});
  EXPECT_EQ(right->Wait(), 0);
  EXPECT_EQ(right->out(), file_ + ": 1 policies, all right\n");
  Write(kWrong);
  const auto wrong = Run({BREAKERD_PATH, "--check_policies", file_});
  EXPECT_EQ(wrong->Wait(), 1);
  EXPECT_EQ(wrong->err(), file_ + ":3: policy.shadow: '7' is not true or false\n");
}

}  // namespace
}  // namespace breaker
