#include "server/engine/entry_table.h"

#include <algorithm>

#include "server/engine/arena.h"

namespace breaker::server {
namespace {

// Fetches at once what a call on a closed circuit will touch. Among a million breakers nothing of
// it is in a cache, and one miss after the other would cost more than all that is decided.
void PrefetchEntry(const Entry* entry) {
  constexpr size_t kTouched = 448;
  const char* const start = reinterpret_cast<const char*>(entry);
  for (size_t line = 0; line < kTouched; line += 64) __builtin_prefetch(start + line, 1);
}

}  // namespace

EntryTable::EntryTable(size_t capacity, char* space)
    : groups_(Groups(capacity)), entries_(reinterpret_cast<Entry*>(space)) {}

EntryTable::~EntryTable() {
  ForEach([](Entry& entry) { entry.~Entry(); });
}

size_t EntryTable::FirstGroup(uint64_t hash) const {
  // Scales the top bits to the number of groups. (D. Lemire, "Fast random integer generation in an
  // interval", 2019.)
  return static_cast<size_t>((static_cast<unsigned __int128>(hash) * groups_.size()) >> 64);
}

void EntryTable::Prefetch(uint64_t hash) const {
  const size_t group = FirstGroup(hash);
  __builtin_prefetch(&groups_[group]);
  PrefetchEntry(At(group, FirstPlace(hash)));  // more often than not it is there
}

Entry* EntryTable::Find(const KeyView& key, uint64_t hash) {
  const uint8_t tag = Tag(hash);
  const size_t first = FirstPlace(hash);
  size_t at = FirstGroup(hash);
  for (size_t searched = 0; searched < groups_.size(); ++searched, at = NextGroup(at)) {
    const Group& group = groups_[at];
    if (group.tags[first] == tag && At(at, first)->breaker.key() == key) return At(at, first);
    for (size_t i = 0; i < kGroup; ++i) {
      if (group.tags[i] != tag || i == first) continue;
      Entry* const entry = At(at, i);
      PrefetchEntry(entry);
      if (entry->breaker.key() == key) return entry;
    }
    if (group.passed == 0) return nullptr;
  }
  return nullptr;
}

void* EntryTable::Take(uint64_t hash) {
  size_t at = FirstGroup(hash);
  for (size_t searched = 0; searched < groups_.size(); ++searched, at = NextGroup(at)) {
    std::array<uint8_t, kGroup>& tags = groups_[at].tags;
    auto free = tags.begin() + FirstPlace(hash);
    if (*free != kFree) free = std::find(tags.begin(), tags.end(), kFree);
    if (free == tags.end()) continue;
    *free = Tag(hash);
    for (size_t full = FirstGroup(hash); full != at; full = NextGroup(full)) {
      if (groups_[full].passed < kManyPassed) ++groups_[full].passed;
    }
    if (++size_ > groups_.size() * kGroup / 2 && !huge_) {
      huge_ = true;
      const size_t bytes = groups_.size() * kGroup * sizeof(Entry);
      if (bytes >= Arena::kHugePage) {
        Arena::UseHugePages(reinterpret_cast<char*>(entries_), bytes);
      }
    }
    return At(at, static_cast<size_t>(free - tags.begin()));
  }
  return nullptr;
}

void EntryTable::Erase(Entry* entry, uint64_t hash) {
  const size_t place = static_cast<size_t>(entry - entries_);
  for (size_t full = FirstGroup(hash); full != place / kGroup; full = NextGroup(full)) {
    if (groups_[full].passed < kManyPassed) --groups_[full].passed;
  }
  groups_[place / kGroup].tags[place % kGroup] = kFree;
  entry->~Entry();
  --size_;
}

}  // namespace breaker::server
