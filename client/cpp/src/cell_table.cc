#include "client/cpp/src/cell_table.h"

#include <utility>

namespace breaker::internal {
namespace {

constexpr size_t kFirstSlots = 64;

}  // namespace

CellTable::CellTable(size_t max_cells, Surroundings* surroundings)
    : max_cells_(max_cells), surroundings_(surroundings) {
  tables_.push_back(std::make_unique<Table>(kFirstSlots));
  table_ = tables_.back().get();
}

CellTable::~CellTable() {
  ForEach([](Cell& cell) { delete &cell; });
}

Cell* CellTable::FindOrCreate(const Key& key) {
  const size_t hash = HashOf(key);
  server::MutexLock lock(&mu_);
  if (Cell* const cell = Find(key, hash)) return cell;
  if (size_ >= max_cells_) return nullptr;
  Table* table = tables_.back().get();
  if (2 * (size_ + 1) > table->mask + 1) {
    auto larger = std::make_unique<Table>(2 * (table->mask + 1));
    ForEach([&](Cell& cell) { Insert(&cell, *larger); });
    table = larger.get();
    tables_.push_back(std::move(larger));
    table_.store(table, std::memory_order_release);
  }
  Cell* const cell = new Cell(key, hash, surroundings_);
  Insert(cell, *table);
  ++size_;
  return cell;
}

void CellTable::Insert(Cell* cell, Table& table) {
  size_t i = cell->hash();
  while (table.slots[i & table.mask].load(std::memory_order_relaxed) != nullptr) ++i;
  table.slots[i & table.mask].store(cell, std::memory_order_release);
}

}  // namespace breaker::internal
