#ifndef BREAKER_CLIENT_CELL_TABLE_H_
#define BREAKER_CLIENT_CELL_TABLE_H_

#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/hash/hash.h"
#include "client/cpp/src/cell.h"
#include "server/engine/mutex.h"

namespace breaker::internal {

// The cells of a client by key. Finding one takes no lock and allocates nothing; cells stay until
// the end, and so do the smaller tables that lookups may still be in. Thread-safe.
class CellTable {
 public:
  // `surroundings` is not owned and must outlive the table.
  CellTable(size_t max_cells, Surroundings* surroundings);
  ~CellTable();
  CellTable(const CellTable&) = delete;
  CellTable& operator=(const CellTable&) = delete;

  // Null if there is none.
  Cell* Find(const Key& key) const { return Find(key, HashOf(key)); }

  // Null if there is none and as many as there may be.
  Cell* FindOrCreate(const Key& key) ABSL_LOCKS_EXCLUDED(mu_);

  // Calls visit(Cell&) for each cell.
  template <typename Visit>
  void ForEach(Visit visit) const {
    const Table& table = *table_.load(std::memory_order_acquire);
    for (size_t i = 0; i <= table.mask; ++i) {
      Cell* const cell = table.slots[i].load(std::memory_order_acquire);
      if (cell != nullptr) visit(*cell);
    }
  }

  size_t size() const { return size_.load(std::memory_order_relaxed); }

 private:
  // Open addressing with linear probing, at most half full. A slot is written once.
  struct Table {
    explicit Table(size_t slot_count)
        : mask(slot_count - 1), slots(std::make_unique<std::atomic<Cell*>[]>(slot_count)) {}
    const size_t mask;
    const std::unique_ptr<std::atomic<Cell*>[]> slots;
  };

  static size_t HashOf(const Key& key) {
    return absl::HashOf(absl::string_view(key.service), absl::string_view(key.operation));
  }
  Cell* Find(const Key& key, size_t hash) const {
    const Table& table = *table_.load(std::memory_order_acquire);
    for (size_t i = hash;; ++i) {
      Cell* const cell = table.slots[i & table.mask].load(std::memory_order_acquire);
      if (cell == nullptr) return nullptr;
      if (cell->hash() == hash && cell->key() == key) return cell;
    }
  }
  static void Insert(Cell* cell, Table& table);

  // Constant after construction.
  const size_t max_cells_;

  // Not owned.
  Surroundings* const surroundings_;

  std::atomic<Table*> table_;  // the last of tables_
  std::atomic<size_t> size_ = 0;

  // Guarded by mu_.
  server::Mutex mu_;
  std::vector<std::unique_ptr<Table>> tables_ ABSL_GUARDED_BY(mu_);
};

}  // namespace breaker::internal

#endif  // BREAKER_CLIENT_CELL_TABLE_H_
