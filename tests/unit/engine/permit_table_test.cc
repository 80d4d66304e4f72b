#include "server/engine/permit_table.h"

#include <cstdint>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace breaker::server {
namespace {

Permit GrantedAt(int64_t nanos) { return Permit{MonotonicTime::FromNanos(nanos), 1, false}; }

TEST(PermitTableTest, TakesOutWhatWasAddedOnce) {
  PermitTable table;
  table.Add(7, Permit{MonotonicTime::FromNanos(5), 3, true});

  const auto permit = table.Take(7);

  ASSERT_TRUE(permit.has_value());
  EXPECT_EQ(permit->granted_at, MonotonicTime::FromNanos(5));
  EXPECT_EQ(permit->generation, 3u);
  EXPECT_TRUE(permit->probe);
  EXPECT_FALSE(table.Take(7).has_value());
  EXPECT_TRUE(table.empty());
}

TEST(PermitTableTest, AnUnknownIdIsNotThere) {
  PermitTable table;
  EXPECT_FALSE(table.Take(1).has_value());
  table.Add(1, GrantedAt(1));

  EXPECT_FALSE(table.Take(2).has_value());
  EXPECT_FALSE(table.Take(0).has_value());
  EXPECT_EQ(table.size(), 1u);
}

TEST(PermitTableTest, KnowsTheOldestByItsOrder) {
  PermitTable table;
  table.Add(30, GrantedAt(10));
  table.Add(10, GrantedAt(20));
  table.Add(20, GrantedAt(30));

  EXPECT_EQ(table.oldest(), 30u);
  EXPECT_EQ(table.Take(30)->granted_at.nanos(), 10);
  EXPECT_EQ(table.oldest(), 10u);
  EXPECT_EQ(table.Take(10)->granted_at.nanos(), 20);
  EXPECT_EQ(table.oldest(), 20u);
  EXPECT_EQ(table.oldest_granted_at().nanos(), 30);
  EXPECT_EQ(table.size(), 1u);
}

TEST(PermitTableTest, KnowsItsOldestWhicheverIsTaken) {
  PermitTable table;
  for (int64_t i = 1; i <= 4; ++i) table.Add(static_cast<uint64_t>(i), GrantedAt(i));

  table.Take(2);
  EXPECT_EQ(table.oldest_granted_at().nanos(), 1);
  table.Take(1);
  EXPECT_EQ(table.oldest_granted_at().nanos(), 3);
  table.Take(4);
  EXPECT_EQ(table.oldest_granted_at().nanos(), 3);
  table.Take(3);
  table.Add(9, GrantedAt(9));

  EXPECT_EQ(table.oldest_granted_at().nanos(), 9);
}

TEST(PermitTableTest, KeepsTheOrderOfGrantThroughRandomUse) {
  PermitTable table;
  std::mt19937_64 random(3);
  std::vector<uint64_t> out;  // in order of grant; an id is its time
  for (uint64_t id = 1; id < 20'000; ++id) {
    table.Add(id, GrantedAt(static_cast<int64_t>(id)));
    out.push_back(id);
    while (out.size() > random() % 40) {
      const size_t i = random() % out.size();
      ASSERT_EQ(table.Take(out[i])->granted_at.nanos(), static_cast<int64_t>(out[i]));
      out.erase(out.begin() + static_cast<ptrdiff_t>(i));
    }
    ASSERT_EQ(table.size(), out.size());
    if (!out.empty()) {
      ASSERT_EQ(table.oldest_granted_at().nanos(), static_cast<int64_t>(out[0]));
    }
  }
}

}  // namespace
}  // namespace breaker::server
