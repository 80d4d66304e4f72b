#include "server/engine/entry_table.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/engine/arena.h"

namespace breaker::server {
namespace {

// A table of keys "s/NUMBER", whose hashes the test chooses.
class EntryTableTest : public testing::Test {
 protected:
  static constexpr size_t kCapacity = 40;  // three groups of 15

  Entry* Insert(int number, uint64_t hash) {
    return table_.Insert(hash, KeyOf(number), BuiltInPolicy(), PolicySource::kBuiltIn, Instant{});
  }
  Entry* Find(int number, uint64_t hash) { return table_.Find(KeyOf(number), hash); }
  static Key KeyOf(int number) { return Key("s", absl::StrCat(number)); }

  Arena arena_{EntryTable::Bytes(kCapacity)};
  EntryTable table_{kCapacity, arena_.start()};
};

TEST_F(EntryTableTest, FindsWhatWasInsertedUntilItIsErased) {
  Entry* const entry = Insert(1, 77);

  EXPECT_EQ(entry->breaker.key(), KeyOf(1));
  EXPECT_EQ(Find(1, 77), entry);
  EXPECT_EQ(Find(2, 77), nullptr);

  table_.Erase(entry, 77);
  EXPECT_EQ(Find(1, 77), nullptr);
}

TEST_F(EntryTableTest, EntriesWithOneHashFillTheTableToTheLastPlace) {
  const uint64_t last_group = UINT64_MAX;  // from which a search goes round to the first
  std::vector<Entry*> entries;
  while (Entry* entry = Insert(static_cast<int>(entries.size()), last_group)) {
    entries.push_back(entry);
  }

  EXPECT_EQ(entries.size(), 45u);
  for (size_t i = 0; i < entries.size(); ++i) {
    EXPECT_EQ(Find(static_cast<int>(i), last_group), entries[i]);
  }
  EXPECT_EQ(Find(1000, last_group), nullptr);
  EXPECT_EQ(Find(1000, 0), nullptr);
}

TEST_F(EntryTableTest, AnErasedEntryHidesNoneThatWentPastIt) {
  std::vector<Entry*> entries;
  for (int i = 0; i < 20; ++i) entries.push_back(Insert(i, 0));  // five of them in the next group

  for (int i = 0; i < 15; ++i) table_.Erase(entries[i], 0);

  for (int i = 15; i < 20; ++i) EXPECT_EQ(Find(i, 0), entries[i]);
}

TEST_F(EntryTableTest, PlacesAreUsedAgain) {
  for (int round = 0; round < 1000; ++round) {
    const uint64_t hash = static_cast<uint64_t>(round) << 54;
    for (int i = 0; i < 45; ++i) ASSERT_NE(Insert(i, hash), nullptr) << round;
    for (int i = 0; i < 45; ++i) table_.Erase(Find(i, hash), hash);
  }
}

TEST_F(EntryTableTest, VisitsEveryEntryOnce) {
  for (int i = 0; i < 10; ++i) Insert(i, static_cast<uint64_t>(i) << 60);
  table_.Erase(Find(3, uint64_t{3} << 60), uint64_t{3} << 60);

  std::vector<std::string> seen;
  table_.ForEach([&](Entry& entry) { seen.push_back(entry.breaker.key().operation); });

  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(seen, (std::vector<std::string>{"0", "1", "2", "4", "5", "6", "7", "8", "9"}));
}

TEST_F(EntryTableTest, AgreesWithAMapOverRandomChanges) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937_64 random(seed);
  std::map<int, uint64_t> known;  // number to hash
  for (int step = 0; step < 20'000; ++step) {
    const int number = static_cast<int>(random() % 60);
    const auto it = known.find(number);
    if (it != known.end()) {
      Entry* const entry = Find(number, it->second);
      ASSERT_NE(entry, nullptr);
      ASSERT_EQ(entry->breaker.key(), KeyOf(number));
      if (random() % 2 == 0) {
        table_.Erase(entry, it->second);
        known.erase(it);
      }
    } else {
      const uint64_t hash = random() % 8 << 61;  // few different ones
      ASSERT_EQ(Find(number, hash), nullptr);
      if (Insert(number, hash) != nullptr) {
        known[number] = hash;
      } else {
        ASSERT_EQ(known.size(), 45u);
      }
    }
  }
}

// 4,000 entries are more than 2 MiB: filling the table moves it to huge pages on the way.
TEST(EntryTableHugePagesTest, ATableThatMovesToHugePagesKeepsItsEntries) {
  constexpr size_t kCapacity = 4000;
  const Arena arena(EntryTable::Bytes(kCapacity));
  EntryTable table(kCapacity, arena.start());
  for (size_t i = 0; i < kCapacity; ++i) {
    const Key key("s", absl::StrCat(i));
    ASSERT_NE(
        table.Insert(HashedKey(key).hash, key, BuiltInPolicy(), PolicySource::kBuiltIn, Instant{}),
        nullptr);
  }

  for (size_t i = 0; i < kCapacity; ++i) {
    const Key key("s", absl::StrCat(i));
    const Entry* const entry = table.Find(key, HashedKey(key).hash);
    ASSERT_NE(entry, nullptr);
    EXPECT_EQ(entry->breaker.key(), key);
  }
}

}  // namespace
}  // namespace breaker::server
