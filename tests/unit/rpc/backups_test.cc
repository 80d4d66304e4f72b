#include "server/rpc/backups.h"

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/store/rocksdb_store.h"
#include "tests/support/faulty_store.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tally.h"
#include "tests/support/temp_dir.h"

namespace breaker::server {
namespace {

using ::testing::HasSubstr;

const SystemClock kClock;

class BackupsTest : public ::testing::Test {
 protected:
  BackupsTest() {
    StoreWriterOptions options;
    options.snapshot_interval = absl::Hours(24);
    options.retry_interval = absl::Hours(24);
    writer_ = std::make_unique<StoreWriter>(&store_, &registry_, &kClock, options);
    writer_->Start(store_.Open());
    backups_ = std::make_unique<Backups>(writer_.get(), &kClock);
  }

  void Call(const std::string& operation) {
    Changes changes;
    CallReport report;
    report.outcome = Outcome::kSuccess;
    ASSERT_THAT(registry_.Report(Key("db", operation), report, kClock.Now(), &changes), IsOk());
  }

  // Makes a backup and waits for its end. `send` is asked with each chunk.
  absl::Status Backup(std::function<bool(const v1::BackupChunk&)> send) {
    absl::Status result;
    Tally done;
    const absl::Status begun = backups_->Begin(send, [&](absl::Status status) {
      result = std::move(status);
      done.Add();
    });
    if (!begun.ok()) return begun;
    EXPECT_TRUE(done.Await(1));
    return result;
  }

  bool CheckpointIsThere() { return std::filesystem::exists(dir_ / "checkpoint"); }

  TempDir dir_;
  RocksDbStore disk_{dir_.path(), Durability::kProcess, &kClock};
  FaultyStore store_{&disk_};
  Registry registry_{RegistryOptions()};
  std::unique_ptr<StoreWriter> writer_;
  std::unique_ptr<Backups> backups_;
};

TEST_F(BackupsTest, HasWhatIsNotYetDueToBeStored) {
  Call("a");
  Call("b");
  v1::BackupChunk last;
  bool checkpoint_was_there = false;
  ASSERT_THAT(Backup([&](const v1::BackupChunk& chunk) {
                checkpoint_was_there = CheckpointIsThere();
                last = chunk;
                return true;
              }),
              IsOk());
  EXPECT_EQ(last.summary().breakers(), 2);
  EXPECT_GT(last.summary().files(), 2);
  EXPECT_TRUE(checkpoint_was_there);
  EXPECT_FALSE(CheckpointIsThere());
}

TEST_F(BackupsTest, OneAtATime) {
  Tally first_sends, may_go_on, first_done;
  absl::Status first;
  ASSERT_THAT(backups_->Begin(
                  [&](const v1::BackupChunk&) {
                    first_sends.Add();
                    return may_go_on.Await(1);
                  },
                  [&](absl::Status status) {
                    first = std::move(status);
                    first_done.Add();
                  }),
              IsOk());
  ASSERT_TRUE(first_sends.Await(1));
  const auto take = [](const v1::BackupChunk&) { return true; };
  EXPECT_THAT(Backup(take), StatusIs(absl::StatusCode::kFailedPrecondition,
                                     HasSubstr("another backup is under way")));
  may_go_on.Add();
  ASSERT_TRUE(first_done.Await(1));
  EXPECT_THAT(first, IsOk());
  EXPECT_THAT(Backup(take), IsOk());
}

TEST_F(BackupsTest, EndsWhenNobodyTakesItAndLeavesNothing) {
  Call("a");
  int sent = 0;
  EXPECT_THAT(Backup([&](const v1::BackupChunk&) { return ++sent < 2; }),
              StatusIs(absl::StatusCode::kCancelled));
  EXPECT_EQ(sent, 2);
  EXPECT_FALSE(CheckpointIsThere());
}

TEST_F(BackupsTest, StoreThatFailsIsUnavailable) {
  Call("a");
  store_.FailWrites(true);
  const auto take = [](const v1::BackupChunk&) { return true; };
  const auto unavailable = StatusIs(absl::StatusCode::kUnavailable, HasSubstr("the store fails"));
  EXPECT_THAT(Backup(take), unavailable) << "found out by the backup itself";
  EXPECT_THAT(Backup(take), unavailable) << "known before";
  EXPECT_FALSE(CheckpointIsThere());
}

TEST_F(BackupsTest, DaemonThatHasStoppedIsUnavailable) {
  writer_->Stop();
  EXPECT_THAT(Backup([](const v1::BackupChunk&) { return true; }),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("shutting down")));
}

}  // namespace
}  // namespace breaker::server
