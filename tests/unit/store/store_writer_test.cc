#include "server/store/store_writer.h"

#include <pthread.h>

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/store/rocksdb_store.h"
#include "tests/support/eventually.h"
#include "tests/support/faulty_store.h"
#include "tests/support/file_size_limit.h"
#include "tests/support/in_memory_store.h"
#include "tests/support/samples.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tally.h"
#include "tests/support/temp_dir.h"

namespace breaker::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::UnorderedElementsAre;

const SystemClock kClock;
constexpr absl::Duration kNever = absl::Hours(24);
constexpr absl::Duration kSoon = absl::Milliseconds(1);

Key Op(int n) { return Key("db", absl::StrCat("op", n)); }

class StoreWriterTest : public testing::Test {
 protected:
  static constexpr uint64_t kSession = 5;

  // A writer that writes only what it is asked to, but for what a test wants otherwise.
  static StoreWriterOptions Options() {
    StoreWriterOptions options;
    options.snapshot_interval = kNever;
    options.retry_interval = kNever;
    return options;
  }

  void TearDown() override {
    store_.AllowWrites(1'000'000);
    writer_.reset();
  }

  void Start(StoreWriterOptions options = Options()) {
    writer_ = std::make_unique<StoreWriter>(&store_, &registry_, &kClock, std::move(options));
    writer_->Start(store_.Open());
  }

  // Changes a breaker, which comes to be.
  void Call(const Key& key) {
    Changes changes;
    CallReport report;
    report.outcome = Outcome::kSuccess;
    ASSERT_THAT(registry_.Report(key, report, kClock.Now(), &changes), IsOk());
  }
  // A batch of one success.
  void Batch(uint64_t sequence) {
    OutcomeRun run;
    run.run = {kSession, BatchPosition(sequence, 1)};
    ASSERT_THAT(registry_.ReportBatch({kSession, sequence}, {KeyedRun(Op(1), run)}, kClock.Now(),
                                      &changes_),
                IsOk());
  }
  void Open(const Key& key) {
    Changes changes;
    Override forced;
    forced.mode = Override::Mode::kForcedOpen;
    ASSERT_THAT(registry_.SetOverride(key, forced, kClock.Now(), &changes), IsOk());
  }

  // Persists and waits until it is done.
  void Persist(const std::vector<Key>& keys) {
    Tally done;
    writer_->Persist(keys, [&] { done.Add(); });
    ASSERT_TRUE(done.Await(1));
  }

  // Whether the memory store holds of every breaker what the registry does, and no other breaker.
  bool IsStoredAsInMemory() {
    const std::map<Key, BreakerSnapshot> stored = memory_.breakers();
    if (stored.size() != registry_.size()) return false;
    for (const auto& [key, snapshot] : stored) {
      const std::optional<BreakerSnapshot> current = registry_.Save(key, kClock.Now());
      if (!current.has_value() || current->generation != snapshot.generation ||
          current->lifetime != snapshot.lifetime || current->state != snapshot.state) {
        return false;
      }
    }
    return true;
  }

  bool AwaitDegraded(bool degraded) {
    return Eventually([&] { return writer_->stats().degraded == degraded; });
  }

  InMemoryStore memory_;
  FaultyStore store_{&memory_};
  Registry registry_{RegistryOptions()};
  std::unique_ptr<StoreWriter> writer_;
  Changes changes_;  // that no test looks at
};

// ---------------------------------------------------------------------------------------------
// Writing

TEST_F(StoreWriterTest, DoneIsCalledAfterTheWriteAndNotBefore) {
  Start();
  Open(Op(1));
  store_.BlockWrites();
  Tally done;
  writer_->Persist({Op(1)}, [&] {
    EXPECT_TRUE(memory_.Find(Op(1)).has_value());
    done.Add();
  });
  ASSERT_TRUE(store_.AwaitWrites(1));
  EXPECT_EQ(done.count(), 0);
  store_.AllowWrites(1);
  ASSERT_TRUE(done.Await(1));
  EXPECT_EQ(memory_.Find(Op(1))->state, State::kOpen);
}

TEST_F(StoreWriterTest, PersistOfManyKeysIsOneWrite) {
  Start();
  Open(Op(1));
  Open(Op(2));
  Persist({Op(1), Op(2), Op(1)});
  EXPECT_THAT(store_.batches(), ElementsAre(UnorderedElementsAre(Op(1), Op(2))));
  EXPECT_TRUE(IsStoredAsInMemory());
}

TEST_F(StoreWriterTest, PersistOfNothingIsDoneWithoutAWrite) {
  Start();
  Persist({});
  EXPECT_THAT(store_.batches(), IsEmpty());
}

TEST_F(StoreWriterTest, BreakerThatIsGoneIsErased) {
  Start();
  Open(Op(1));
  Persist({Op(1)});
  ASSERT_THAT(registry_.Delete(Op(1), &changes_), IsOk());
  Persist({Op(1)});
  EXPECT_EQ(memory_.Find(Op(1)), std::nullopt);
}

TEST_F(StoreWriterTest, ThoseThatWaitAreWrittenTogether) {
  Start();
  store_.BlockWrites();
  Tally done;
  Open(Op(0));
  writer_->Persist({Op(0)}, [&] { done.Add(); });
  ASSERT_TRUE(store_.AwaitWrites(1));
  for (int i = 1; i <= 100; ++i) {
    Open(Op(i));
    writer_->Persist({Op(i)}, [&] { done.Add(); });
  }
  store_.AllowWrites(2);
  ASSERT_TRUE(done.Await(101));
  EXPECT_THAT(store_.batches(), ElementsAre(SizeIs(1), SizeIs(100)));
  EXPECT_EQ(writer_->stats().writes, 2);
  EXPECT_EQ(writer_->stats().last_batch, 100);
}

TEST_F(StoreWriterTest, LastWriteOfAKeyIsItsLastState) {
  constexpr int kThreads = 4, kRounds = 200;
  Start();
  Tally done;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kRounds; ++i) {
        Open(Op(i % 3));
        writer_->Persist({Op(i % 3)}, [&] { done.Add(); });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(done.Await(kThreads * kRounds));
  EXPECT_TRUE(IsStoredAsInMemory());
}

TEST_F(StoreWriterTest, PoliciesAreStoredInTheirOrder) {
  Start();
  const Key pattern("db", "*");
  StoredPolicy second = UnusualStoredPolicy(pattern);
  second.policy.failure_threshold = 99;
  Tally done;
  writer_->PersistPolicy(pattern, UnusualStoredPolicy(pattern), [&] { done.Add(); });
  writer_->PersistPolicy(pattern, second, [&] { done.Add(); });
  ASSERT_TRUE(done.Await(2));
  EXPECT_THAT(memory_.policies(), ElementsAre(std::pair(pattern, second)));
  writer_->PersistPolicy(pattern, std::nullopt, [&] { done.Add(); });
  ASSERT_TRUE(done.Await(3));
  EXPECT_THAT(memory_.policies(), IsEmpty());
}

// ---------------------------------------------------------------------------------------------
// Snapshots

TEST_F(StoreWriterTest, ChangesAreWrittenWithoutBeingAskedFor) {
  StoreWriterOptions options = Options();
  options.snapshot_interval = kSoon;
  Start(options);
  Call(Op(1));
  EXPECT_TRUE(Eventually([&] { return IsStoredAsInMemory(); }));
  Call(Op(1));
  EXPECT_TRUE(Eventually([&] { return IsStoredAsInMemory(); }));
  ASSERT_THAT(registry_.Delete(Op(1), &changes_), IsOk());
  EXPECT_TRUE(Eventually([&] { return memory_.breakers().empty(); }));
}

TEST_F(StoreWriterTest, ASessionIsMarkedWhenAllThatItTouchedIsStored) {
  StoreWriterOptions options = Options();
  options.snapshot_interval = kSoon;
  Start(options);
  store_.BlockWrites();
  Batch(1);
  ASSERT_TRUE(store_.AwaitWrites(1));  // of the breaker
  EXPECT_THAT(store_.batches(), ElementsAre(ElementsAre(Op(1))));
  EXPECT_TRUE(memory_.sessions().empty());
  Batch(2);  // too late for this mark
  store_.AllowWrites(2);
  ASSERT_TRUE(Eventually([&] { return registry_.sessions().StoredUpTo(kSession) == 1; }));
  EXPECT_EQ(memory_.sessions().at(kSession).sequence, 1u);

  store_.AllowWrites(1'000'000);
  EXPECT_TRUE(Eventually([&] { return registry_.sessions().StoredUpTo(kSession) == 2; }));
}

TEST_F(StoreWriterTest, NoSessionIsMarkedWhileTheStoreFails) {
  StoreWriterOptions options = Options();
  options.snapshot_interval = kSoon;
  options.retry_interval = kSoon;
  Start(options);
  store_.FailWrites(true);
  Batch(1);
  ASSERT_TRUE(AwaitDegraded(true));
  EXPECT_EQ(registry_.sessions().StoredUpTo(kSession), 0u);

  store_.FailWrites(false);
  EXPECT_TRUE(Eventually([&] { return registry_.sessions().StoredUpTo(kSession) == 1; }));
  EXPECT_TRUE(IsStoredAsInMemory());
}

TEST_F(StoreWriterTest, SessionsAreKnownAfterARestart) {
  Start();
  Batch(7);
  writer_->Stop();

  Registry after{RegistryOptions()};
  StoreWriter writer(&store_, &after, &kClock, Options());
  writer.Start(store_.Open());

  EXPECT_EQ(after.sessions().StoredUpTo(kSession), 7u);
  EXPECT_TRUE(after.ReportBatch({kSession, 7}, {}, kClock.Now(), &changes_)->duplicate);
}

TEST_F(StoreWriterTest, PersistWaitsForOneChunkOfASnapshotAtMost) {
  constexpr int kBreakers = 10'000;
  StoreWriterOptions options = Options();
  options.snapshot_interval = absl::Milliseconds(200);
  Start(options);
  store_.BlockWrites();
  for (int i = 0; i < kBreakers; ++i) Call(Op(i));
  ASSERT_TRUE(store_.AwaitWrites(1));

  const Key urgent("urgent", "op");
  Open(urgent);
  Tally done;
  writer_->Persist({urgent}, [&] { done.Add(); });
  store_.AllowWrites(2);
  ASSERT_TRUE(done.Await(1));
  EXPECT_EQ(store_.batches()[1], std::vector<Key>{urgent});
  EXPECT_LT(memory_.breakers().size(), kBreakers / 2);
}

TEST_F(StoreWriterTest, StopWritesEverythingAndAnswersEveryone) {
  Start();
  for (int i = 0; i < 2500; ++i) Call(Op(i));
  store_.BlockWrites();
  Tally done;
  for (int i = 0; i < 10; ++i) writer_->Persist({Op(i)}, [&] { done.Add(); });
  ASSERT_TRUE(store_.AwaitWrites(1));
  std::thread stop([&] { writer_->Stop(); });
  store_.AllowWrites(1'000'000);
  stop.join();
  EXPECT_EQ(done.count(), 10);
  EXPECT_TRUE(IsStoredAsInMemory());
  EXPECT_EQ(writer_->stats().unsaved, 0);

  writer_->Stop();
  writer_->Persist({Op(1)}, [&] { done.Add(); });
  EXPECT_EQ(done.count(), 11) << "after Stop nobody waits";
}

TEST_F(StoreWriterTest, StopWithoutStartAnswersEveryone) {
  StoreWriter writer(&store_, &registry_, &kClock, Options());
  Tally done;
  writer.Persist({Op(1)}, [&] { done.Add(); });
  writer.Stop();
  EXPECT_EQ(done.count(), 1);
}

// ---------------------------------------------------------------------------------------------
// Loading

TEST_F(StoreWriterTest, StartLoadsWhatIsStoredAndWritesNoneOfItBack) {
  ASSERT_THAT(memory_.Open(), IsOk());
  const Key pattern("db", "*");
  ASSERT_THAT(memory_.Write({{{Op(1), NewSnapshot(Op(1))}, {Op(2), FullSnapshot(Op(2))}},
                             {{pattern, UnusualStoredPolicy(pattern)}}}),
              IsOk());
  StoreWriterOptions options = Options();
  std::vector<StoredPolicy> policies;
  options.restore_policy = [&](const StoredPolicy& policy) {
    EXPECT_EQ(registry_.size(), 0) << "policies come first";
    policies.push_back(policy);
  };
  Start(options);
  EXPECT_EQ(registry_.size(), 2);
  EXPECT_EQ(registry_.Save(Op(2), kClock.Now())->lifetime, FullSnapshot(Op(2)).lifetime);
  EXPECT_THAT(policies, ElementsAre(UnusualStoredPolicy(pattern)));
  writer_->Stop();
  EXPECT_THAT(store_.batches(), IsEmpty());
}

// ---------------------------------------------------------------------------------------------
// A store that fails

TEST_F(StoreWriterTest, NobodyWaitsForADiskThatFails) {
  Start();
  store_.FailWrites(true);
  Open(Op(1));
  testing::internal::CaptureStderr();
  Persist({Op(1)});
  ASSERT_TRUE(AwaitDegraded(true));

  bool done = false;
  writer_->Persist({Op(2)}, [&] { done = true; });
  EXPECT_TRUE(done) << "answered by the call itself";
  EXPECT_EQ(writer_->stats().failures, 1);
  EXPECT_EQ(writer_->stats().unsaved, 2);
  EXPECT_THAT(store_.batches(), SizeIs(1));
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              HasSubstr("error store_failing reason=\"UNAVAILABLE: disk full\""));
}

TEST_F(StoreWriterTest, ThoseThatWaitBehindAFailingWriteAreAnsweredToo) {
  Start();
  store_.FailWrites(true);
  store_.BlockWrites();
  Tally done;
  for (int i = 0; i < 10; ++i) {
    Open(Op(i));
    writer_->Persist({Op(i)}, [&] { done.Add(); });
    ASSERT_TRUE(store_.AwaitWrites(1));
  }
  store_.AllowWrites(1);
  EXPECT_TRUE(done.Await(10));
  EXPECT_THAT(store_.batches(), SizeIs(1));
}

TEST_F(StoreWriterTest, StoreThatWorksAgainGetsAllThatChangedMeanwhile) {
  const Key pattern("db", "*"), dropped("shop", "*");
  StoreWriterOptions options = Options();
  options.retry_interval = kSoon;
  Start(options);
  Tally done;
  for (int i = 0; i < 4; ++i) Open(Op(i));
  writer_->PersistPolicy(dropped, UnusualStoredPolicy(dropped), [&] { done.Add(); });
  Persist({Op(0), Op(1), Op(2), Op(3)});

  store_.FailWrites(true);
  store_.FailOpens(true);
  testing::internal::CaptureStderr();
  Open(Op(0));
  Persist({Op(0)});
  ASSERT_TRUE(AwaitDegraded(true));
  Call(Op(1));
  Open(Op(4));
  Persist({Op(4)});
  ASSERT_THAT(registry_.Delete(Op(2), &changes_), IsOk());
  Persist({Op(2)});
  ASSERT_THAT(registry_.Delete(Op(3), &changes_), IsOk());
  writer_->PersistPolicy(pattern, UnusualStoredPolicy(pattern), [&] { done.Add(); });
  writer_->PersistPolicy(dropped, std::nullopt, [&] { done.Add(); });
  const int opens = store_.opens();
  ASSERT_TRUE(Eventually([&] { return store_.opens() > opens + 2; }));
  store_.FailOpens(false);  // and writes fail still
  ASSERT_TRUE(Eventually([&] { return store_.batches().size() > 4; }));
  EXPECT_TRUE(writer_->stats().degraded);

  store_.FailWrites(false);
  ASSERT_TRUE(AwaitDegraded(false));
  EXPECT_TRUE(IsStoredAsInMemory());
  EXPECT_THAT(memory_.policies(), ElementsAre(std::pair(pattern, UnusualStoredPolicy(pattern))));
  EXPECT_EQ(writer_->stats().unsaved, 0);

  Open(Op(5));
  Persist({Op(5)});
  EXPECT_TRUE(memory_.Find(Op(5)).has_value()) << "as if nothing had happened";
  writer_->Stop();
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, HasSubstr("info store_recovered after="));
  EXPECT_EQ(log.find("store_failing"), log.rfind("store_failing")) << log;
}

TEST_F(StoreWriterTest, FailingSnapshotLosesNothing) {
  StoreWriterOptions options = Options();
  options.snapshot_interval = kSoon;
  options.retry_interval = kSoon;
  Start(options);
  store_.FailWrites(true);
  for (int i = 0; i < 3000; ++i) Call(Op(i));
  ASSERT_TRUE(AwaitDegraded(true));
  store_.FailWrites(false);
  ASSERT_TRUE(AwaitDegraded(false));
  EXPECT_TRUE(Eventually([&] { return IsStoredAsInMemory(); }));
}

TEST_F(StoreWriterTest, StopGivesAFailedStoreOneMoreTry) {
  Start();
  store_.FailWrites(true);
  Open(Op(1));
  Persist({Op(1)});
  ASSERT_TRUE(AwaitDegraded(true));
  Call(Op(2));
  store_.FailWrites(false);
  writer_->Stop();
  EXPECT_TRUE(IsStoredAsInMemory());
}

TEST_F(StoreWriterTest, StopEndsThoughTheStoreFails) {
  Start();
  store_.FailWrites(true);
  store_.FailOpens(true);
  Call(Op(1));
  writer_->Stop();
  EXPECT_TRUE(writer_->stats().degraded);
  EXPECT_EQ(writer_->stats().unsaved, 1);
}

TEST_F(StoreWriterTest, StoreThatOpensLateIsLoadedAndMemoryWins) {
  const Key stored("db", "stored"), both("db", "both"), deleted("db", "deleted");
  const Key pattern("db", "*"), changed("shop", "*");
  ASSERT_THAT(memory_.Open(), IsOk());
  ASSERT_THAT(memory_.Write({{{stored, FullSnapshot(stored)},
                              {both, FullSnapshot(both)},
                              {deleted, FullSnapshot(deleted)}},
                             {{pattern, UnusualStoredPolicy(pattern)},
                              {changed, UnusualStoredPolicy(changed)}}}),
              IsOk());
  StoreWriterOptions options = Options();
  options.retry_interval = kSoon;
  std::vector<Key> policies;
  options.restore_policy = [&](const StoredPolicy& policy) { policies.push_back(policy.key); };
  store_.FailOpens(true);
  Start(options);
  ASSERT_TRUE(writer_->stats().degraded);
  Call(both);
  Call(deleted);
  ASSERT_THAT(registry_.Delete(deleted, &changes_), IsOk());
  Tally done;
  const StoredPolicy newer{changed, Policy(), At(99)};
  writer_->PersistPolicy(changed, newer, [&] { done.Add(); });

  store_.FailOpens(false);
  ASSERT_TRUE(AwaitDegraded(false));
  writer_->Stop();
  EXPECT_EQ(registry_.size(), 2);
  EXPECT_EQ(registry_.Save(stored, kClock.Now())->lifetime, FullSnapshot(stored).lifetime);
  EXPECT_EQ(registry_.Save(both, kClock.Now())->lifetime.successes, 1);
  EXPECT_TRUE(IsStoredAsInMemory());
  EXPECT_THAT(policies, ElementsAre(pattern));
  EXPECT_THAT(memory_.policies(), ElementsAre(std::pair(pattern, UnusualStoredPolicy(pattern)),
                                              std::pair(changed, newer)));
}

TEST_F(StoreWriterTest, AnotherStoreInItsPlaceGetsAllThatMemoryHas) {
  StoreWriterOptions options = Options();
  options.retry_interval = kSoon;
  Start(options);
  const Key pattern("db", "*");
  Tally done;
  for (int i = 0; i < 2500; ++i) Open(Op(i));
  writer_->PersistPolicy(pattern, UnusualStoredPolicy(pattern), [&] { done.Add(); });
  Persist({Op(0)});
  writer_->Stop();
  ASSERT_TRUE(IsStoredAsInMemory());

  Registry loaded{RegistryOptions()};
  StoreWriter writer(&store_, &loaded, &kClock, options);
  writer.Start(store_.Open());
  memory_.Replace();
  writer.Persist({Op(0)}, [&] { done.Add(); });
  ASSERT_TRUE(Eventually([&] { return memory_.breakers().size() == 2500; }));
  writer.Stop();
  EXPECT_TRUE(IsStoredAsInMemory());
  EXPECT_THAT(memory_.policies(), ElementsAre(std::pair(pattern, UnusualStoredPolicy(pattern))));
}

// With the database, on a disk that fills up for a while.
TEST_F(StoreWriterTest, DatabaseCatchesUpWhenTheDiskHasSpaceAgain) {
  const TempDir dir;
  RocksDbStore database(dir.path(), Durability::kProcess, &kClock);
  StoreWriterOptions options = Options();
  options.snapshot_interval = kSoon;
  options.retry_interval = absl::Milliseconds(10);
  writer_ = std::make_unique<StoreWriter>(&database, &registry_, &kClock, options);
  writer_->Start(database.Open());
  for (int i = 0; i < 50; ++i) {
    Open(Op(i));
    Persist({Op(i)});
  }
  ASSERT_FALSE(writer_->stats().degraded);
  {
    const FileSizeLimit full(0);
    for (int i = 0; i < 50; i += 2) {
      Open(Op(i));
      Persist({Op(i)});
    }
    ASSERT_THAT(registry_.Delete(Op(1), &changes_), IsOk());
    ASSERT_TRUE(AwaitDegraded(true));
    const uint64_t failures = writer_->stats().failures;
    ASSERT_TRUE(Eventually([&] { return writer_->stats().failures > failures + 2; }));
  }
  ASSERT_TRUE(AwaitDegraded(false));
  writer_->Stop();

  ASSERT_THAT(database.Open(), IsOk());
  ASSERT_THAT(memory_.Open(), IsOk());
  const auto copy = [&](BreakerSnapshot s) {
    StoreBatch batch;
    batch.breakers = {{s.key, s}};
    ASSERT_THAT(memory_.Write(batch), IsOk());
  };
  ASSERT_THAT(database.Load(
                  {.breaker = copy, .policy = [](StoredPolicy) {}, .session = [](SessionMark) {}}),
              IsOk());
  EXPECT_TRUE(IsStoredAsInMemory());
}

TEST_F(StoreWriterTest, ThreadHasAName) {
  Start();
  char name[16] = "";
  Tally done;
  Open(Op(1));
  writer_->Persist({Op(1)}, [&] {
    pthread_getname_np(pthread_self(), name, sizeof(name));
    done.Add();
  });
  ASSERT_TRUE(done.Await(1));
  EXPECT_STREQ(name, "store_writer");
}

}  // namespace
}  // namespace breaker::server
