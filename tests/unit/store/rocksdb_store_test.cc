#include "server/store/rocksdb_store.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rocksdb/db.h"
#include "server/store/record_codec.h"
#include "tests/support/file_size_limit.h"
#include "tests/support/samples.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace breaker::server {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

const SystemClock kClock;

std::string KeyBytes(char kind, const Key& key) {
  return absl::StrCat(std::string(1, kind), key.service, std::string(1, '\0'), key.operation);
}

std::string ReadFile(const fs::path& path) {
  std::stringstream bytes;
  bytes << std::ifstream(path, std::ios::binary).rdbuf();
  return bytes.str();
}

void WriteFile(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

class RocksDbStoreTest : public testing::Test {
 protected:
  std::unique_ptr<RocksDbStore> NewStore() {
    return std::make_unique<RocksDbStore>(dir_.path(), Durability::kProcess, &kClock);
  }

  // The keys that a store loads.
  static std::vector<std::string> Load(StateStore& store, absl::Status* status) {
    std::vector<std::string> keys;
    *status = store.Load(
        {.breaker =
             [&](BreakerSnapshot s) {
               keys.push_back(absl::StrCat(s.key.service, "/", s.key.operation));
             },
         .policy = [&](StoredPolicy p) { keys.push_back(absl::StrCat("policy ", p.key.service)); },
         .session = [&](SessionMark m) { keys.push_back(absl::StrCat("session ", m.session)); }});
    return keys;
  }
  static std::vector<std::string> Load(StateStore& store) {
    absl::Status status;
    std::vector<std::string> keys = Load(store, &status);
    EXPECT_THAT(status, IsOk());
    return keys;
  }

  // A database with that many breakers, in tables on the disk, closed.
  void Fill(int breakers) {
    const std::unique_ptr<RocksDbStore> store = NewStore();
    ASSERT_THAT(store->Open(), IsOk());
    StoreBatch batch;
    for (int i = 0; i < breakers; ++i) {
      const Key key("db", absl::StrCat("op", i));
      batch.breakers.push_back({key, FullSnapshot(key)});
    }
    ASSERT_THAT(store->Write(batch), IsOk());
    ASSERT_THAT(store->Open(), IsOk());  // makes a table of the log
  }

  // Acts on the raw database, which no store has open.
  template <typename Act>
  void WithDatabase(Act act) {
    rocksdb::DB* raw = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open(rocksdb::Options(), dir_ / "db", &raw).ok());
    const std::unique_ptr<rocksdb::DB> db(raw);
    act(*db);
  }

  // The only file of the database whose name begins or ends so.
  fs::path FileLike(const std::string& name) {
    std::vector<fs::path> found;
    for (const auto& file : fs::directory_iterator(dir_ / "db")) {
      const std::string is = file.path().filename();
      if (absl::StartsWith(is, name) || absl::EndsWith(is, name)) found.push_back(file.path());
    }
    std::sort(found.begin(), found.end(),
              [](auto& a, auto& b) { return fs::file_size(a) > fs::file_size(b); });
    EXPECT_FALSE(found.empty()) << name;
    return found.front();
  }

  std::vector<fs::path> MovedAside() {
    std::vector<fs::path> found;
    for (const auto& file : fs::directory_iterator(dir_.path())) {
      if (absl::StartsWith(file.path().filename().string(), "db.corrupt-")) {
        found.push_back(file.path());
      }
    }
    return found;
  }

  // Expects that a database one of whose files was overwritten with `bytes` is found corrupt by
  // Open or Load, that it is kept aside as it is, and that the store goes on with an empty one.
  void ExpectMovedAside(const fs::path& damaged, const std::string& bytes) {
    WriteFile(damaged, bytes);
    const std::unique_ptr<RocksDbStore> store = NewStore();
    testing::internal::CaptureStderr();
    absl::StatusOr<PermitEpoch> opened = store->Open();
    if (opened.ok()) {
      absl::Status status;
      Load(*store, &status);
      if (!status.ok()) {
        EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss));
        opened = store->Open();
      }
    }
    const std::string log = testing::internal::GetCapturedStderr();
    ASSERT_THAT(opened, IsOk());
    EXPECT_THAT(Load(*store), IsEmpty());

    ASSERT_EQ(MovedAside().size(), 1) << log;
    const fs::path aside = MovedAside().front();
    EXPECT_EQ(ReadFile(aside / damaged.filename()), bytes);
    EXPECT_THAT(log, AllOf(HasSubstr("error store_corrupt"), HasSubstr(aside.string())));

    const Key key("new", "life");
    EXPECT_THAT(store->Write({{{key, NewSnapshot(key)}}, {}}), IsOk());
    ASSERT_THAT(store->Open(), IsOk());
    EXPECT_EQ(Load(*store).size(), 1);
    EXPECT_EQ(MovedAside().size(), 1);
  }

  TempDir dir_;
};

TEST_F(RocksDbStoreTest, RecordThatDoesNotDecodeIsSkippedAndNamedInTheLog) {
  Fill(2);
  const std::string bad = KeyBytes('b', Key("db", "broken op"));
  WithDatabase([&](rocksdb::DB& db) {
    ASSERT_TRUE(db.Put({}, bad, "garbage").ok());
    ASSERT_TRUE(db.Put({}, KeyBytes('p', Key("shop", "*")), "garbage").ok());
  });
  {
    const std::unique_ptr<RocksDbStore> store = NewStore();
    ASSERT_THAT(store->Open(), IsOk());
    testing::internal::CaptureStderr();
    EXPECT_THAT(Load(*store), testing::ElementsAre("db/op0", "db/op1"));
    EXPECT_THAT(testing::internal::GetCapturedStderr(),
                AllOf(HasSubstr("record_skipped kind=breaker service=db operation=\"broken op\""),
                      HasSubstr("record_skipped kind=policy service=shop operation=*")));
  }
  WithDatabase([&](rocksdb::DB& db) {
    std::string bytes;
    ASSERT_TRUE(db.Get({}, bad, &bytes).ok());
    EXPECT_EQ(bytes, "garbage");
  });
}

TEST_F(RocksDbStoreTest, SkippedRecordIsReplacedByTheNextWrite) {
  Fill(1);
  const Key key("db", "op0");
  WithDatabase([&](rocksdb::DB& db) { ASSERT_TRUE(db.Put({}, KeyBytes('b', key), "?").ok()); });
  const std::unique_ptr<RocksDbStore> store = NewStore();
  ASSERT_THAT(store->Open(), IsOk());
  EXPECT_THAT(Load(*store), IsEmpty());
  ASSERT_THAT(store->Write({{{key, NewSnapshot(key)}}, {}}), IsOk());
  EXPECT_THAT(Load(*store), testing::ElementsAre("db/op0"));
}

TEST_F(RocksDbStoreTest, CorruptManifestIsMovedAside) {
  Fill(10);
  const fs::path manifest = FileLike("MANIFEST-");
  ExpectMovedAside(manifest, std::string(ReadFile(manifest).size(), 'x'));
}

TEST_F(RocksDbStoreTest, TruncatedManifestIsMovedAside) {
  Fill(10);
  ExpectMovedAside(FileLike("MANIFEST-"), "");
}

TEST_F(RocksDbStoreTest, CorruptCurrentIsMovedAside) {
  Fill(10);
  ExpectMovedAside(dir_ / "db/CURRENT", "nonsense");
}

TEST_F(RocksDbStoreTest, CurrentThatNamesNoFileIsMovedAside) {
  Fill(10);
  ExpectMovedAside(dir_ / "db/CURRENT", "MANIFEST-999999\n");
}

TEST_F(RocksDbStoreTest, DatabaseWithoutCurrentIsMovedAside) {
  Fill(10);
  const fs::path table = FileLike(".sst");
  fs::remove(dir_ / "db/CURRENT");
  fs::remove(FileLike(".log"));
  ExpectMovedAside(table, ReadFile(table));
}

TEST_F(RocksDbStoreTest, CorruptTableIsMovedAside) {
  Fill(10'000);
  const fs::path table = FileLike(".sst");
  std::string bytes = ReadFile(table);
  for (size_t i = bytes.size() / 2; i < bytes.size() / 2 + 100; ++i) bytes[i] ^= 0x55;
  ExpectMovedAside(table, bytes);
}

TEST_F(RocksDbStoreTest, TruncatedTableIsMovedAside) {
  Fill(10'000);
  const fs::path table = FileLike(".sst");
  ExpectMovedAside(table, ReadFile(table).substr(0, 1000));
}

TEST_F(RocksDbStoreTest, LoadHandsOverWhatIsLegibleOfACorruptDatabase) {
  Fill(10'000);
  const fs::path table = FileLike(".sst");
  std::string bytes = ReadFile(table);
  bytes[bytes.size() / 2] ^= 0x55;
  WriteFile(table, bytes);
  const std::unique_ptr<RocksDbStore> store = NewStore();
  ASSERT_THAT(store->Open(), IsOk());
  absl::Status status;
  EXPECT_GT(Load(*store, &status).size(), 1000);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(RocksDbStoreTest, ADatabaseInItsPlaceHasAnotherSecret) {
  const absl::StatusOr<PermitEpoch> first = NewStore()->Open();
  ASSERT_THAT(first, IsOk());
  WriteFile(dir_ / "db/CURRENT", "nonsense");
  const absl::StatusOr<PermitEpoch> second = NewStore()->Open();
  ASSERT_THAT(second, IsOk());
  EXPECT_NE(first->secret, second->secret);
}

TEST_F(RocksDbStoreTest, EpochGoesRoundAtItsBound) {
  ASSERT_THAT(NewStore()->Open(), IsOk());
  WithDatabase([&](rocksdb::DB& db) {
    ASSERT_TRUE(db.Put({}, "mepoch", EncodeEpoch({7, (1 << 20) - 1})).ok());
  });
  const absl::StatusOr<PermitEpoch> next = NewStore()->Open();
  ASSERT_THAT(next, IsOk());
  EXPECT_EQ(next->secret, 7);
  EXPECT_EQ(next->number, 0);
}

TEST_F(RocksDbStoreTest, NewerSchemaIsRefusedUntouched) {
  Fill(1);
  std::map<std::string, std::string> before;
  const auto read_all = [](rocksdb::DB& db) {
    std::map<std::string, std::string> all;
    const std::unique_ptr<rocksdb::Iterator> it(db.NewIterator({}));
    for (it->SeekToFirst(); it->Valid(); it->Next()) {
      all.emplace(it->key().ToString(), it->value().ToString());
    }
    return all;
  };
  WithDatabase([&](rocksdb::DB& db) {
    ASSERT_TRUE(db.Put({}, "mschema", EncodeSchema(2)).ok());
    before = read_all(db);
  });
  EXPECT_THAT(NewStore()->Open(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                           HasSubstr("version 2; this build reads version 1")));
  WithDatabase([&](rocksdb::DB& db) { EXPECT_EQ(read_all(db), before); });
  EXPECT_THAT(MovedAside(), IsEmpty());
}

TEST_F(RocksDbStoreTest, SecondOpenerIsRefused) {
  const std::unique_ptr<RocksDbStore> store = NewStore();
  ASSERT_THAT(store->Open(), IsOk());
  EXPECT_THAT(NewStore()->Open(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("in use")));
  EXPECT_THAT(store->Open(), IsOk()) << "the first one may open it anew";
}

TEST_F(RocksDbStoreTest, PlaceThatIsNoDirectoryIsUnavailable) {
  WriteFile(dir_ / "file", "");
  RocksDbStore store(dir_ / "file/data", Durability::kProcess, &kClock);
  EXPECT_THAT(store.Open(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("file/data")));
  fs::remove(dir_ / "file");
  EXPECT_THAT(store.Open(), IsOk());
}

TEST_F(RocksDbStoreTest, FullDiskFailsUntilThereIsSpaceAgain) {
  const Key before("db", "before"), during("db", "during"), after("db", "after");
  const std::unique_ptr<RocksDbStore> store = NewStore();
  const absl::StatusOr<PermitEpoch> first = store->Open();
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(store->Write({{{before, FullSnapshot(before)}}, {}}), IsOk());
  {
    const FileSizeLimit full(0);
    EXPECT_THAT(store->Write({{{during, FullSnapshot(during)}}, {}}),
                StatusIs(absl::StatusCode::kUnavailable));
    EXPECT_THAT(store->Open(), StatusIs(absl::StatusCode::kUnavailable));
    EXPECT_THAT(store->Write({}), StatusIs(absl::StatusCode::kUnavailable));
  }
  const absl::StatusOr<PermitEpoch> second = store->Open();
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(second->secret, first->secret);
  EXPECT_GT(second->number, first->number);
  ASSERT_THAT(store->Write({{{after, FullSnapshot(after)}}, {}}), IsOk());
  EXPECT_THAT(Load(*store), testing::ElementsAre("db/after", "db/before"));
  EXPECT_THAT(MovedAside(), IsEmpty());
}

TEST_F(RocksDbStoreTest, DiskThatIsFullFromTheStartIsNoCorruption) {
  const std::unique_ptr<RocksDbStore> store = NewStore();
  {
    const FileSizeLimit full(0);
    EXPECT_THAT(store->Open(), StatusIs(absl::StatusCode::kUnavailable));
    EXPECT_THAT(store->Open(), StatusIs(absl::StatusCode::kUnavailable));
  }
  EXPECT_THAT(store->Open(), IsOk());
  EXPECT_THAT(MovedAside(), IsEmpty());
}

TEST_F(RocksDbStoreTest, CheckpointHasAllThatWasWrittenBeforeItAndNothingAfter) {
  const std::unique_ptr<RocksDbStore> store = NewStore();
  EXPECT_THAT(store->MakeCheckpoint(), StatusIs(absl::StatusCode::kUnavailable));
  ASSERT_THAT(store->Open(), IsOk());
  const Key before("db", "before");
  ASSERT_THAT(store->Write({{{before, FullSnapshot(before)}}, {}}), IsOk());
  absl::StatusOr<std::unique_ptr<Checkpoint>> checkpoint = store->MakeCheckpoint();
  ASSERT_THAT(checkpoint, IsOk());
  EXPECT_THAT(store->MakeCheckpoint(), Not(IsOk())) << "there is one already";
  const Key after("db", "after");
  ASSERT_THAT(store->Write({{{after, FullSnapshot(after)}}, {}}), IsOk());

  const std::string path = (*checkpoint)->path();
  EXPECT_EQ(*CountBreakers(path), 1);
  TempDir restored;
  fs::copy(path, restored / "db");
  RocksDbStore copy(restored.path(), Durability::kProcess, &kClock);
  ASSERT_THAT(copy.Open(), IsOk());
  EXPECT_THAT(Load(copy), testing::ElementsAre("db/before"));

  checkpoint->reset();
  EXPECT_FALSE(fs::exists(path));
  EXPECT_EQ(Load(*store).size(), 2);
}

TEST_F(RocksDbStoreTest, FullDiskMakesNoCheckpointAndLosesNothing) {
  const std::unique_ptr<RocksDbStore> store = NewStore();
  ASSERT_THAT(store->Open(), IsOk());
  StoreBatch batch;
  for (int i = 0; i < 10'000; ++i) {
    const Key key("db", absl::StrCat("op", i));
    batch.breakers.push_back({key, FullSnapshot(key)});
  }
  ASSERT_THAT(store->Write(batch), IsOk());
  {
    const FileSizeLimit limit(10'000);
    EXPECT_THAT(store->MakeCheckpoint(), StatusIs(absl::StatusCode::kUnavailable));
  }
  EXPECT_FALSE(fs::exists(dir_ / "checkpoint"));
  EXPECT_FALSE(fs::exists(dir_ / "checkpoint.tmp"));
  ASSERT_THAT(store->Open(), IsOk());
  EXPECT_EQ(Load(*store).size(), 10'000);
  EXPECT_THAT(store->MakeCheckpoint(), IsOk());
}

TEST_F(RocksDbStoreTest, LeftoversOfAKilledProcessAreRemovedByTheFirstOpenOnly) {
  for (const char* name : {"checkpoint", "checkpoint.tmp", "restoring", "other"}) {
    fs::create_directory(dir_ / name);
    WriteFile(dir_ / name + "/file", "bytes");
  }
  const std::unique_ptr<RocksDbStore> store = NewStore();
  ASSERT_THAT(store->Open(), IsOk());
  for (const char* name : {"checkpoint", "checkpoint.tmp", "restoring"}) {
    EXPECT_FALSE(fs::exists(dir_ / name)) << name;
  }
  EXPECT_TRUE(fs::exists(dir_ / "other/file"));

  const auto checkpoint = store->MakeCheckpoint();
  ASSERT_THAT(checkpoint, IsOk());
  ASSERT_THAT(store->Open(), IsOk());
  EXPECT_TRUE(fs::exists((*checkpoint)->path() + "/CURRENT"));
}

TEST_F(RocksDbStoreTest, ForgottenEpochIsNeverUsedAgain) {
  Fill(1);
  std::vector<uint64_t> secrets;
  for (int i = 0; i < 3; ++i) {
    const absl::StatusOr<PermitEpoch> epoch = NewStore()->Open();
    ASSERT_THAT(epoch, IsOk());
    secrets.push_back(epoch->secret);
    if (i == 0) {
      EXPECT_EQ(NewStore()->Open()->secret, secrets[0]) << "what is not forgotten goes on";
    }
    ASSERT_THAT(ForgetEpoch(dir_ / "db"), IsOk());
  }
  EXPECT_NE(secrets[0], secrets[1]);
  EXPECT_NE(secrets[0], secrets[2]);
  EXPECT_NE(secrets[1], secrets[2]);
  EXPECT_EQ(*CountBreakers(dir_ / "db"), 1);
}

TEST_F(RocksDbStoreTest, OnlyADatabaseOfOursIsCounted) {
  fs::create_directory(dir_ / "db");
  EXPECT_THAT(CountBreakers(dir_ / "db"), StatusIs(absl::StatusCode::kDataLoss));
  {
    rocksdb::Options options;
    options.create_if_missing = true;
    rocksdb::DB* raw = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open(options, dir_ / "db", &raw).ok());
    delete raw;
  }
  EXPECT_THAT(CountBreakers(dir_ / "db"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("is no database of breakerd")));
  WithDatabase(
      [](rocksdb::DB& db) { ASSERT_TRUE(db.Put({}, "mschema", EncodeSchema(1000)).ok()); });
  EXPECT_THAT(CountBreakers(dir_ / "db"), StatusIs(absl::StatusCode::kFailedPrecondition));
}

}  // namespace
}  // namespace breaker::server
