#include "server/store/state_store.h"

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/store/rocksdb_store.h"
#include "tests/support/in_memory_store.h"
#include "tests/support/samples.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace breaker::server {
namespace {

const SystemClock kClock;

// A kind of store, made in a directory of its own.
struct Kind {
  std::string name;
  std::function<std::unique_ptr<StateStore>(const TempDir&)> make;
};

// What every StateStore promises.
class StateStoreTest : public testing::TestWithParam<Kind> {
 protected:
  // Loads everything into `breakers_` and `policies_`.
  absl::Status Load() {
    breakers_.clear();
    policies_.clear();
    sessions_.clear();
    return store_->Load({.breaker =
                             [&](BreakerSnapshot s) {
                               EXPECT_TRUE(breakers_.empty() || breakers_.rbegin()->first < s.key);
                               breakers_.emplace(s.key, s);
                             },
                         .policy =
                             [&](StoredPolicy p) {
                               EXPECT_TRUE(breakers_.empty()) << "policies come first";
                               EXPECT_TRUE(policies_.empty() || policies_.rbegin()->first < p.key);
                               policies_.emplace(p.key, p);
                             },
                         .session = [&](SessionMark m) { sessions_.push_back(m); }});
  }

  TempDir dir_;
  const std::unique_ptr<StateStore> store_ = GetParam().make(dir_);
  std::map<Key, BreakerSnapshot> breakers_;
  std::map<Key, StoredPolicy> policies_;
  std::vector<SessionMark> sessions_;
};

TEST_P(StateStoreTest, IsEmptyAtFirst) {
  ASSERT_THAT(store_->Open(), IsOk());
  ASSERT_THAT(Load(), IsOk());
  EXPECT_TRUE(breakers_.empty());
  EXPECT_TRUE(policies_.empty());
}

TEST_P(StateStoreTest, DoesNothingBeforeItIsOpen) {
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(store_->Write({}), StatusIs(absl::StatusCode::kUnavailable));
}

TEST_P(StateStoreTest, KeepsWhatIsWritten) {
  const Key a("a", "op"), b("b", "op"), pattern("b", "*");
  ASSERT_THAT(store_->Open(), IsOk());
  ASSERT_THAT(store_->Write({{{b, FullSnapshot(b)}, {a, NewSnapshot(a)}},
                             {{pattern, UnusualStoredPolicy(pattern)}}}),
              IsOk());
  for (int opens = 0; opens < 3; ++opens) {
    ASSERT_THAT(Load(), IsOk());
    ASSERT_EQ(breakers_.size(), 2);
    EXPECT_TRUE(breakers_.at(a) == NewSnapshot(a));
    EXPECT_TRUE(breakers_.at(b) == FullSnapshot(b));
    ASSERT_EQ(policies_.size(), 1);
    EXPECT_TRUE(policies_.at(pattern) == UnusualStoredPolicy(pattern));
    ASSERT_THAT(store_->Open(), IsOk());
  }
}

TEST_P(StateStoreTest, LastWriteCounts) {
  const Key key("a", "op");
  ASSERT_THAT(store_->Open(), IsOk());
  ASSERT_THAT(store_->Write({{{key, NewSnapshot(key)}}, {}}), IsOk());
  ASSERT_THAT(store_->Write({{{key, FullSnapshot(key)}}, {}}), IsOk());
  ASSERT_THAT(Load(), IsOk());
  EXPECT_TRUE(breakers_.at(key) == FullSnapshot(key));
}

TEST_P(StateStoreTest, ErasesWhatItIsToldTo) {
  const Key key("a", "op"), kept("a", "op2");
  ASSERT_THAT(store_->Open(), IsOk());
  ASSERT_THAT(store_->Write({{{key, FullSnapshot(key)}, {kept, FullSnapshot(kept)}},
                             {{key, UnusualStoredPolicy(key)}}}),
              IsOk());
  ASSERT_THAT(store_->Write({{{key, std::nullopt}, {Key("no", "such"), std::nullopt}},
                             {{key, std::nullopt}},
                             {},
                             {}}),
              IsOk());
  ASSERT_THAT(store_->Open(), IsOk());
  ASSERT_THAT(Load(), IsOk());
  EXPECT_EQ(breakers_.size(), 1);
  EXPECT_TRUE(breakers_.contains(kept));
  EXPECT_TRUE(policies_.empty());
}

TEST_P(StateStoreTest, KeysThatRunIntoEachOtherStayApart) {
  ASSERT_THAT(store_->Open(), IsOk());
  StoreBatch batch;
  for (const Key& key :
       {Key("a", "bc"), Key("ab", "c"), Key("a", ""), Key("a b", "c"), Key("", "a")}) {
    batch.breakers.push_back({key, NewSnapshot(key)});
  }
  ASSERT_THAT(store_->Write(batch), IsOk());
  ASSERT_THAT(Load(), IsOk());
  EXPECT_EQ(breakers_.size(), 5);
  for (const auto& [key, snapshot] : breakers_) EXPECT_EQ(key, snapshot.key);
}

TEST_P(StateStoreTest, KeepsSessionsUntilTheyAreForgotten) {
  ASSERT_THAT(store_->Open(), IsOk());
  const SessionMark kept{1, 7, WallTime::FromUnixNanos(5)};
  const SessionMark all_ones{UINT64_MAX, UINT64_MAX, WallTime::FromUnixNanos(6)};
  StoreBatch batch;
  batch.sessions = {kept, {2, 8, WallTime::FromUnixNanos(7)}, all_ones};
  ASSERT_THAT(store_->Write(batch), IsOk());
  StoreBatch forgotten;
  forgotten.forgotten_sessions = {2, 3};
  ASSERT_THAT(store_->Write(forgotten), IsOk());

  ASSERT_THAT(store_->Open(), IsOk());
  ASSERT_THAT(Load(), IsOk());
  EXPECT_THAT(sessions_, testing::ElementsAre(kept, all_ones));
}

TEST_P(StateStoreTest, EveryOpenHasTheNextEpochOfOneSecret) {
  const absl::StatusOr<PermitEpoch> first = store_->Open();
  ASSERT_THAT(first, IsOk());
  for (uint32_t opens = 1; opens < 4; ++opens) {
    const absl::StatusOr<PermitEpoch> next = store_->Open();
    ASSERT_THAT(next, IsOk());
    EXPECT_EQ(next->secret, first->secret);
    EXPECT_EQ(next->number, first->number + opens);
  }
}

INSTANTIATE_TEST_SUITE_P(, StateStoreTest,
                         testing::Values(Kind{"InMemory",
                                              [](const TempDir&) {
                                                return std::make_unique<InMemoryStore>();
                                              }},
                                         Kind{"RocksDb",
                                              [](const TempDir& dir) {
                                                return std::make_unique<RocksDbStore>(
                                                    dir.path(), Durability::kProcess, &kClock);
                                              }},
                                         Kind{"RocksDbOnDisk",
                                              [](const TempDir& dir) {
                                                return std::make_unique<RocksDbStore>(
                                                    dir.path(), Durability::kDisk, &kClock);
                                              }}),
                         [](const auto& kind) { return kind.param.name; });

}  // namespace
}  // namespace breaker::server
