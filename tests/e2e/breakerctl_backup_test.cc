// breakerctl backup and breakerd --restore, as an operator types them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/channel.h"
#include "tests/support/daemon_process.h"
#include "tests/support/eventually.h"
#include "tests/support/file_size_limit.h"
#include "tests/support/many_breakers.h"
#include "tests/support/subprocess.h"
#include "tests/support/temp_dir.h"

namespace breaker::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;

using Args = std::vector<std::string>;

class BackupCommandTest : public ::testing::Test {
 protected:
  static std::unique_ptr<Subprocess> Start(const DaemonProcess& daemon, const Args& args) {
    Args argv = {BREAKERCTL_PATH, "--timeout=20s", "--target=" + daemon.target()};
    argv.insert(argv.end(), args.begin(), args.end());
    return std::make_unique<Subprocess>(argv);
  }
  static std::unique_ptr<Subprocess> Run(const DaemonProcess& daemon, const Args& args) {
    auto process = Start(daemon, args);
    process->Wait();
    return process;
  }
  static std::string Out(const DaemonProcess& daemon, const Args& args) {
    const auto process = Run(daemon, args);
    EXPECT_EQ(process->Wait(), 0) << process->err();
    return process->out();
  }

  // Backups that are half there.
  int Partial() {
    int count = 0;
    for (const auto& entry : fs::directory_iterator(dir_.path())) {
      count += entry.path().filename().string().find(".part-") != std::string::npos;
    }
    return count;
  }
  bool CheckpointIsThere() { return fs::exists(daemon_.data_dir() + "/checkpoint"); }

  TempDir dir_;
  DaemonProcess daemon_;
};

TEST_F(BackupCommandTest, WhatIsRestoredIsWhatWasBackedUp) {
  Out(daemon_, {"open", "s/a", "--reason=migration", "--actor=ana"});
  Out(daemon_, {"exec", "s/b", "--", "true"});
  Out(daemon_, {"policy", "set", "s/b", "failure_threshold=3"});
  const std::string folder = dir_ / "backup";
  EXPECT_THAT(Out(daemon_, {"backup", folder}),
              ContainsRegex("^" + folder +
                            ": [0-9]+ files, [0-9]+ bytes, 2 breakers, made 2[^ ]*Z by breakerd "
                            "[0-9.]+\n$"));
  EXPECT_EQ(
      Subprocess({"sh", "-c", "cd " + folder + " && sha256sum --strict -c SHA256SUMS"}).Wait(), 0);
  const auto again = Run(daemon_, {"backup", folder});
  EXPECT_EQ(again->Wait(), 1);
  EXPECT_THAT(again->err(), HasSubstr(folder + " is there already"));
  EXPECT_THAT(Out(daemon_, {"backup", dir_ / "json/", "--json"}), HasSubstr("\"breakers\": \"2\""));

  Subprocess restore({BREAKERD_PATH, "--restore", folder, "--data_dir", dir_ / "data"});
  EXPECT_EQ(restore.Wait(), 0) << restore.err();
  EXPECT_THAT(restore.out(), ContainsRegex("^restored .*, 2 breakers, made 2.*Z by breakerd "));
  const DaemonProcess restored({"--data_dir=" + dir_ / "data"});
  EXPECT_EQ(Out(restored, {"list"}), Out(daemon_, {"list"}));
  EXPECT_EQ(Out(restored, {"policy", "export"}), Out(daemon_, {"policy", "export"}));
  EXPECT_EQ(Partial(), 0);
}

TEST_F(BackupCommandTest, ClientThatIsKilledLeavesNothingThatLooksWhole) {
  AddManyBreakers(*v1::CircuitBreaker::NewStub(NewChannel(daemon_.target())), 10'000);
  const std::string folder = dir_ / "backup";
  bool caught = false;
  for (int i = 0; i < 20 && !caught; ++i) {
    fs::remove_all(folder);
    const auto backup = Start(daemon_, {"backup", folder});
    ASSERT_TRUE(Eventually([&] { return CheckpointIsThere() || fs::exists(folder); }));
    backup->Signal(SIGSTOP);
    caught = CheckpointIsThere() && !fs::exists(folder);
    backup->Signal(SIGKILL);
    backup->Wait();
  }
  ASSERT_TRUE(caught);
  EXPECT_TRUE(Eventually([&] { return !CheckpointIsThere(); }));
  EXPECT_FALSE(fs::exists(folder));
  EXPECT_GE(Partial(), 1);
  EXPECT_TRUE(Eventually([&] { return Run(daemon_, {"backup", folder})->Wait() == 0; }));
}

TEST_F(BackupCommandTest, ClientThatIsToldToStopLeavesNothing) {
  AddManyBreakers(*v1::CircuitBreaker::NewStub(NewChannel(daemon_.target())), 10'000);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const std::string folder = dir_ / absl::StrCat("backup", signal);
    bool caught = false;
    for (int i = 0; i < 20 && !caught; ++i) {
      fs::remove_all(folder);
      const auto backup = Start(daemon_, {"backup", folder});
      ASSERT_TRUE(Eventually([&] { return Partial() > 0 || fs::exists(folder); }));
      backup->Signal(signal);
      caught = backup->Wait() == -signal;
      if (!caught) continue;
      EXPECT_EQ(backup->err(), "breakerctl: told to stop; there is no " + folder + "\n");
      EXPECT_FALSE(fs::exists(folder));
    }
    EXPECT_TRUE(caught) << signal;
    EXPECT_EQ(Partial(), 0);
    EXPECT_TRUE(Eventually([&] { return !CheckpointIsThere(); }));
  }
}

TEST_F(BackupCommandTest, FullDiskOfTheClientLeavesNothing) {
  AddManyBreakers(*v1::CircuitBreaker::NewStub(NewChannel(daemon_.target())), 10'000);
  {
    const FileSizeLimit limit(10'000);
    const auto backup = Run(daemon_, {"backup", dir_ / "backup"});
    EXPECT_EQ(backup->Wait(), 1);
    EXPECT_THAT(backup->err(), AllOf(HasSubstr("breakerctl: cannot write "), HasSubstr(".sst: ")));
  }
  EXPECT_FALSE(fs::exists(dir_ / "backup"));
  EXPECT_EQ(Partial(), 0);
  EXPECT_TRUE(Eventually([&] { return !CheckpointIsThere(); }));
}

TEST_F(BackupCommandTest, FullDiskAtRestoreLeavesNothing) {
  AddManyBreakers(*v1::CircuitBreaker::NewStub(NewChannel(daemon_.target())), 10'000);
  Out(daemon_, {"backup", dir_ / "backup"});
  const Args restore = {BREAKERD_PATH, "--restore", dir_ / "backup", "--data_dir", dir_ / "data"};
  {
    const FileSizeLimit limit(10'000);
    Subprocess process(restore);
    EXPECT_EQ(process.Wait(), 1);
    EXPECT_THAT(process.err(), HasSubstr("breakerd: cannot write "));
  }
  EXPECT_FALSE(fs::exists(dir_ / "data/db"));
  EXPECT_FALSE(fs::exists(dir_ / "data/restoring"));
  EXPECT_EQ(Subprocess(restore).Wait(), 0);
}

TEST_F(BackupCommandTest, WithoutADaemonThereIsNoBackup) {
  daemon_.Terminate();
  const auto backup = Run(daemon_, {"backup", dir_ / "backup"});
  EXPECT_EQ(backup->Wait(), 69);
  EXPECT_FALSE(fs::exists(dir_ / "backup"));
  EXPECT_EQ(Partial(), 0);
}

TEST_F(BackupCommandTest, DaemonThatHangsIsGivenUp) {
  daemon_.Stop();
  Subprocess backup({BREAKERCTL_PATH, "--timeout=100ms", "--target=" + daemon_.target(), "backup",
                     dir_ / "backup"});
  EXPECT_EQ(backup.Wait(), 69);
  EXPECT_THAT(backup.err(), HasSubstr("does not answer in time"));
  daemon_.Continue();
  EXPECT_FALSE(fs::exists(dir_ / "backup"));
}

}  // namespace
}  // namespace breaker::testing
