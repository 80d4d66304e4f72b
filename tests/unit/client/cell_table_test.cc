#include "client/cpp/src/cell_table.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <thread>
#include <vector>

namespace breaker::internal {
namespace {

Key Numbered(int number) { return {"service", std::to_string(number)}; }

class CellTableTest : public ::testing::Test {
 protected:
  Surroundings around_ = {.worker_id = "w1", .clock = {}, .signal = {}};
};

TEST_F(CellTableTest, FindsWhatWasCreated) {
  CellTable table(10, &around_);
  EXPECT_EQ(table.Find({"a", "b"}), nullptr);
  Cell* const cell = table.FindOrCreate({"a", "b"});
  ASSERT_NE(cell, nullptr);
  EXPECT_EQ(table.Find({"a", "b"}), cell);
  EXPECT_EQ(table.FindOrCreate({"a", "b"}), cell);
  EXPECT_EQ(table.Find({"ab", ""}), nullptr);
  EXPECT_EQ(table.size(), 1);
}

TEST_F(CellTableTest, CellsStayWhereTheyAreWhileItGrows) {
  constexpr int kCells = 1000;
  CellTable table(kCells, &around_);
  std::vector<Cell*> cells;
  for (int i = 0; i < kCells; ++i) cells.push_back(table.FindOrCreate(Numbered(i)));
  for (int i = 0; i < kCells; ++i) EXPECT_EQ(table.Find(Numbered(i)), cells[i]);
  std::set<Cell*> seen;
  table.ForEach([&](Cell& cell) { seen.insert(&cell); });
  EXPECT_EQ(seen.size(), kCells);
}

TEST_F(CellTableTest, IsBounded) {
  CellTable table(2, &around_);
  Cell* const first = table.FindOrCreate(Numbered(1));
  table.FindOrCreate(Numbered(2));
  EXPECT_EQ(table.FindOrCreate(Numbered(3)), nullptr);
  EXPECT_EQ(table.FindOrCreate(Numbered(1)), first);
  EXPECT_EQ(table.size(), 2);
}

TEST_F(CellTableTest, ThreadsFindTheSameCells) {
  constexpr int kCells = 2000;
  CellTable table(kCells, &around_);
  std::vector<std::vector<Cell*>> found(4);
  std::vector<std::thread> threads;
  for (auto& cells : found) {
    threads.emplace_back([&] {
      for (int i = 0; i < kCells; ++i) {
        Cell* cell = table.Find(Numbered(i));
        cells.push_back(cell != nullptr ? cell : table.FindOrCreate(Numbered(i)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& cells : found) EXPECT_EQ(cells, found[0]);
  EXPECT_EQ(table.size(), kCells);
}

}  // namespace
}  // namespace breaker::internal
