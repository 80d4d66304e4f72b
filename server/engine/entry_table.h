#ifndef BREAKER_ENGINE_ENTRY_TABLE_H_
#define BREAKER_ENGINE_ENTRY_TABLE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "server/engine/admission.h"
#include "server/engine/breaker.h"
#include "server/engine/clock.h"
#include "server/engine/key.h"

namespace breaker::server {

// A breaker and what the registry notes about it. Guarded by its shard's mutex.
struct alignas(64) Entry {
  template <typename... Args>
  explicit Entry(Args&&... args) : breaker(std::forward<Args>(args)...) {}

  static constexpr size_t kClean = SIZE_MAX;

  MonotonicTime scheduled = MonotonicTime::InfiniteFuture();  // its place among the deadlines
  size_t dirty_at = kClean;                                   // its place among the dirty ones
  Account account = kNobody;
  Breaker breaker;
};
static_assert(sizeof(Entry) <= 768, "a million breakers are to take a KiB each");

// Entries by key, each in a place that its hash tells. A table of pointers would cost a call among
// a million breakers two waits for memory, one after the other: for the pointer, then for what it
// points to. Here a byte an entry is all that is looked at on the way, few enough to stay in a
// cache. Entries never move.
//
// Places are in groups of 15. An entry lies in the group that its hash names, in the very place
// that it names if that is free, or, where the group is full, in the first one after it with room.
// Each group counts the entries that went past it, so that a search knows where to end and an
// erased entry leaves nothing behind (as in F14, Facebook's hash table). Space is reserved for all
// entries that there may be; memory is taken as they come, and once half of them are there, in huge
// pages where the system has them to give: that halves what finding a page costs among a million
// breakers. Not thread-safe.
class EntryTable {
 public:
  // Lays the entries out from `space` on, which holds Bytes(capacity) zeroed bytes of an Arena that
  // outlives the table. Hashes are told apart by their upper 48 bits.
  EntryTable(size_t capacity, char* space);
  ~EntryTable();

  EntryTable(const EntryTable&) = delete;
  EntryTable& operator=(const EntryTable&) = delete;

  // How much space a table for so many entries takes.
  static size_t Bytes(size_t capacity) { return Groups(capacity) * kGroup * sizeof(Entry); }

  // Has memory fetch what Find will read, where a caller has something else to do first. May be
  // called while others use the table.
  void Prefetch(uint64_t hash) const;

  // Null if there is none.
  Entry* Find(const KeyView& key, uint64_t hash);

  // The key must not be in use. Null if the table is full; else an entry made of `args`.
  template <typename... Args>
  Entry* Insert(uint64_t hash, Args&&... args) {
    void* const place = Take(hash);
    return place == nullptr ? nullptr : new (place) Entry(std::forward<Args>(args)...);
  }

  // `hash` is the one with which the entry was inserted.
  void Erase(Entry* entry, uint64_t hash);

  // Calls visit(Entry&) for each entry.
  template <typename Visit>
  void ForEach(Visit visit) {
    for (size_t g = 0; g < groups_.size(); ++g) VisitGroup(g, visit);
  }

  // The same for some dozens of them, from a place in the table on: 0, or what the last call has
  // returned. Returns where to go on; 0 = there are no more.
  template <typename Visit>
  size_t VisitSome(size_t place, Visit visit) {
    constexpr size_t kEnough = 64;
    size_t visited = 0;
    while (place < groups_.size() && visited < kEnough) visited += VisitGroup(place++, visit);
    return place < groups_.size() ? place : 0;
  }

 private:
  static constexpr size_t kGroup = 15;
  static constexpr uint8_t kFree = 0;
  static constexpr uint8_t kManyPassed = 255;  // from here on the count is not exact and stays

  struct Group {
    std::array<uint8_t, kGroup> tags = {};  // 7 bits of an entry's hash with the top bit, or kFree
    uint8_t passed = 0;                     // entries that found no room here and lie further on
  };

  static size_t Groups(size_t capacity) { return capacity / kGroup + 1; }
  static uint8_t Tag(uint64_t hash) { return static_cast<uint8_t>(hash >> 16) | 0x80; }
  size_t FirstGroup(uint64_t hash) const;
  static size_t FirstPlace(uint64_t hash) { return (hash >> 24 & 0xffff) * kGroup >> 16; }
  size_t NextGroup(size_t group) const { return group + 1 < groups_.size() ? group + 1 : 0; }
  Entry* At(size_t group, size_t place) const { return entries_ + group * kGroup + place; }
  // How many there were.
  template <typename Visit>
  size_t VisitGroup(size_t group, Visit& visit) {
    size_t visited = 0;
    for (size_t i = 0; i < kGroup; ++i) {
      if (groups_[group].tags[i] == kFree) continue;
      visit(*At(group, i));
      ++visited;
    }
    return visited;
  }
  // A free place, from now on taken.
  void* Take(uint64_t hash);

  std::vector<Group> groups_;
  size_t size_ = 0;
  bool huge_ = false;  // whether the entries are in huge pages, as far as can be
  Entry* entries_;     // kGroup for each group; only those with a tag exist
};

}  // namespace breaker::server

#endif  // BREAKER_ENGINE_ENTRY_TABLE_H_
