// A daemon with --policies: whichever way the file changes, its policies take effect at once on
// breakers and are told to those who watch; a file that is wrong changes nothing.

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/messages.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_daemon.h"
#include "tests/support/watcher.h"

namespace breaker::testing {
namespace {

namespace fs = std::filesystem;

void Write(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }

// A file in which s/o opens after so many failures.
std::string Threshold(int failures) {
  return absl::StrCat(
      "policies: [{service: s, operation: o, policy: {failure_threshold: ", failures, "}}]\n");
}

class PolicyWatcherTest : public ::testing::Test {
 protected:
  void Start(const fs::path& path) {
    server::DaemonOptions options;
    options.policies = path;
    daemon_ = std::make_unique<TestDaemon>(&clock_, options);
    watcher_ = std::make_unique<Watcher>(
        daemon_->NewChannel(), Text<v1::WatchRequest>("subscribe { service: 's' operation: 'o' }"));
  }
  // Waits until who watches s/o has heard of this.
  bool HearsOf(uint32_t failures) {
    return watcher_->Await([&](const auto& updates) {
      return !updates.empty() && updates.back().policy().failure_threshold() == failures;
    });
  }
  v1::CircuitStats Stats() { return daemon_->GetStats("s", "o"); }

  const TempDir dir_;
  const fs::path file_ = fs::path(dir_.path()) / "policies.yaml";
  const server::SystemClock clock_;
  std::unique_ptr<TestDaemon> daemon_;
  std::unique_ptr<Watcher> watcher_;
};

TEST_F(PolicyWatcherTest, TheFileHoldsFromTheStart) {
  Write(file_, Threshold(2));
  Start(file_);
  ASSERT_TRUE(HearsOf(2));
  EXPECT_EQ(Stats().policy_source(), v1::CircuitStats::OPERATOR);

  grpc::ClientContext context;
  v1::ListPoliciesResponse policies;
  ASSERT_TRUE(daemon_->admin().ListPolicies(&context, {}, &policies).ok());
  ASSERT_EQ(policies.policies_size(), 1);
  EXPECT_EQ(policies.policies(0).origin(), v1::PolicyEntry::FILE);
}

TEST_F(PolicyWatcherTest, FileWrittenInPlace) {
  Write(file_, Threshold(2));
  Start(file_);
  Write(file_, Threshold(3));
  EXPECT_TRUE(HearsOf(3));
}

TEST_F(PolicyWatcherTest, FileReplaced) {
  Write(file_, Threshold(2));
  Start(file_);
  Write(dir_.path() + "/next", Threshold(3));
  fs::rename(dir_.path() + "/next", file_);
  EXPECT_TRUE(HearsOf(3));
}

// Kubernetes: policies.yaml -> ..data/policies.yaml, ..data -> ..2026_1, and the latter is swapped.
TEST_F(PolicyWatcherTest, ConfigMapSwapped) {
  const fs::path dir = dir_.path();
  for (const int version : {2, 3}) {
    const fs::path content = dir / absl::StrCat("..", version);
    fs::create_directory(content);
    Write(content / "policies.yaml", Threshold(version));
  }
  fs::create_symlink("..2", dir / "..data");
  fs::create_symlink("..data/policies.yaml", file_);
  Start(file_);
  ASSERT_TRUE(HearsOf(2));

  fs::create_symlink("..3", dir / "..data_tmp");
  fs::rename(dir / "..data_tmp", dir / "..data");
  fs::remove_all(dir / "..2");

  EXPECT_TRUE(HearsOf(3));
}

TEST_F(PolicyWatcherTest, TargetOfASymlinkInAnotherDirectory) {
  const TempDir elsewhere;
  const fs::path target = fs::path(elsewhere.path()) / "p";
  Write(target, Threshold(2));
  fs::create_symlink(target, file_);
  Start(file_);
  Write(target, Threshold(3));
  EXPECT_TRUE(HearsOf(3)) << "the kernel does not tell of it: found by looking";
}

TEST_F(PolicyWatcherTest, WhatIsTakenOutOfTheFileFallsBack) {
  Write(file_, Threshold(2));
  Start(file_);
  ASSERT_TRUE(HearsOf(2));
  Write(file_, "policies: []\n");
  EXPECT_TRUE(HearsOf(5));
  EXPECT_EQ(Stats().policy_source(), v1::CircuitStats::BUILT_IN);
}

TEST_F(PolicyWatcherTest, WhatTheApiSetsHoldsBeforeTheFile) {
  Write(file_, Threshold(2));
  Start(file_);
  grpc::ClientContext set;
  v1::PolicyEntry entry;
  ASSERT_TRUE(daemon_->admin()
                  .SetPolicy(&set,
                             Text<v1::SetPolicyRequest>(
                                 "service: 's' operation: 'o' policy { failure_threshold: 7 }"),
                             &entry)
                  .ok());
  Write(file_, Threshold(3));
  ASSERT_TRUE(HearsOf(7));

  grpc::ClientContext remove;
  google::protobuf::Empty empty;
  ASSERT_TRUE(daemon_->admin()
                  .DeletePolicy(
                      &remove, Text<v1::DeletePolicyRequest>("service: 's' operation: 'o'"), &empty)
                  .ok());
  EXPECT_TRUE(HearsOf(3));
}

}  // namespace
}  // namespace breaker::testing
