#ifndef BREAKER_ENGINE_SHARD_H_
#define BREAKER_ENGINE_SHARD_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_set.h"
#include "absl/time/time.h"
#include "server/engine/breaker.h"
#include "server/engine/change.h"
#include "server/engine/clock.h"
#include "server/engine/entry_table.h"
#include "server/engine/key.h"
#include "server/engine/mutex.h"

namespace breaker::server {

// Some of a registry's breakers under one mutex: which there are, which of them have something due,
// and which have changed since they were last stored. Only Registry uses it; it locks `mu` around
// the calls that ask for it.
class alignas(64) Shard {
 public:
  // Must be called once, before anything else. `space` is for a table of `capacity` entries.
  // Neither that nor `permits` is owned.
  void Init(PermitPool* permits, size_t capacity, char* space, absl::Duration idle_ttl,
            uint64_t seed) ABSL_LOCKS_EXCLUDED(mu);

  // Has memory fetch what Find will read. For before `mu` is locked.
  void Prefetch(const HashedKey& key) const ABSL_NO_THREAD_SAFETY_ANALYSIS {
    entries_->Prefetch(PlaceOf(key));
  }

  // Null if there is none.
  Entry* Find(const HashedKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // The key must not be in use. Null if the shard is full. The entry counts as stored until
  // MarkDirty.
  template <typename... Args>
  Entry* Insert(const HashedKey& key, Args&&... args) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    Entry* const entry = entries_->Insert(PlaceOf(key), std::forward<Args>(args)...);
    if (entry != nullptr) Schedule(*entry, /*later_too=*/false);
    return entry;
  }
  void Erase(Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);

  // Runs act(breaker, context) and returns its result; adds the changes that it caused to
  // `changes`, notes what is to be stored (but for policies), and sees to deadlines.
  template <typename Act>
  auto Run(Entry& entry, Instant now, Changes* changes, Act act) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    Breaker& breaker = entry.breaker;
    const uint64_t generation = breaker.generation();
    const LifetimeCounts lifetime = breaker.lifetime();
    auto result = act(breaker, Context{now, random_, *permits_});
    if (breaker.generation() != generation) NoteTransitions(breaker, generation, now, changes);
    if (breaker.generation() != generation || breaker.lifetime() != lifetime) MarkDirty(entry);
    Schedule(entry, /*later_too=*/false);
    return result;
  }

  std::vector<Entry*> Entries() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);

  // The same of some dozens, from a place among them on: 0, or where the last call has put it. That
  // is 0 again when there are no more.
  std::vector<Entry*> EntriesFrom(size_t* place) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);

  // Notes that the entry is to be stored.
  void MarkDirty(Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Adds the keys of all entries that are, and of those erased, since the last call.
  void TakeDirty(std::vector<Key>* keys) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);

  // Whether something is due; may be read without the lock.
  bool HasDue(MonotonicTime now) const {
    return first_deadline_.load(std::memory_order_relaxed) <= now.nanos();
  }
  // An entry that is due; null if there is none. Follow with Erase or Schedule(later_too).
  Entry* FirstDue(MonotonicTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);

  // Puts the entry at its next deadline if that has come earlier, or, with `later_too`, has moved
  // at all. So a stream of permits costs one move in a permit_timeout, not one a permit.
  void Schedule(Entry& entry, bool later_too) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);

  // Whether the entry has been of no use for idle_ttl.
  bool Expired(const Entry& entry, MonotonicTime now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    return entry.breaker.idle() && now - entry.breaker.last_used() >= idle_ttl_;
  }

  Mutex mu;

 private:
  // What tells keys of one shard apart: Registry has chosen the shard by the top 8 bits.
  static uint64_t PlaceOf(const HashedKey& key) { return key.hash << 8; }

  // Those since `generation`.
  static void NoteTransitions(const Breaker& breaker, uint64_t generation, Instant now,
                              Changes* changes);
  void Unschedule(Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void NoteFirstDeadline() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);

  // Constant after Init.
  PermitPool* permits_ = nullptr;
  absl::Duration idle_ttl_;

  std::optional<EntryTable> entries_ ABSL_GUARDED_BY(mu);  // there from Init on
  // One place at most for an entry, at an instant not after its next deadline.
  absl::btree_set<std::pair<MonotonicTime, Entry*>> deadlines_ ABSL_GUARDED_BY(mu);
  std::vector<Entry*> dirty_ ABSL_GUARDED_BY(mu);  // null where the entry is gone
  std::vector<Key> gone_ ABSL_GUARDED_BY(mu);
  std::mt19937_64 random_ ABSL_GUARDED_BY(mu);
  // Of deadlines_, in nanoseconds, where HasDue can read it.
  std::atomic<int64_t> first_deadline_{MonotonicTime::InfiniteFuture().nanos()};
};

}  // namespace breaker::server

#endif  // BREAKER_ENGINE_SHARD_H_
