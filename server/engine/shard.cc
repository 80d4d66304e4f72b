#include "server/engine/shard.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace breaker::server {

void Shard::Init(PermitPool* permits, size_t capacity, char* space, absl::Duration idle_ttl,
                 uint64_t seed) {
  MutexLock lock(&mu);
  permits_ = permits;
  entries_.emplace(capacity, space);
  idle_ttl_ = idle_ttl;
  random_.seed(seed);
}

Entry* Shard::Find(const HashedKey& key) { return entries_->Find(key.view, PlaceOf(key)); }

std::vector<Entry*> Shard::Entries() {
  std::vector<Entry*> all;
  entries_->ForEach([&all](Entry& entry) { all.push_back(&entry); });
  return all;
}

std::vector<Entry*> Shard::EntriesFrom(size_t* place) {
  std::vector<Entry*> some;
  *place = entries_->VisitSome(*place, [&some](Entry& entry) { some.push_back(&entry); });
  return some;
}

void Shard::Erase(Entry& entry) {
  permits_->Return(static_cast<int64_t>(entry.breaker.in_flight()));
  Unschedule(entry);
  if (entry.dirty_at != Entry::kClean) dirty_[entry.dirty_at] = nullptr;
  gone_.push_back(entry.breaker.key());
  entries_->Erase(&entry, PlaceOf(HashedKey(entry.breaker.key())));
}

void Shard::NoteTransitions(const Breaker& breaker, uint64_t generation, Instant now,
                            Changes* changes) {
  const BreakerView last = breaker.View(now);
  for (Transition& transition : breaker.LastTransitions(breaker.generation() - generation)) {
    BreakerView view = last;
    view.state = transition.to;
    view.version.generation = transition.generation;
    changes->push_back({breaker.key(), std::move(view), std::move(transition)});
  }
}

void Shard::MarkDirty(Entry& entry) {
  if (entry.dirty_at != Entry::kClean) return;
  entry.dirty_at = dirty_.size();
  dirty_.push_back(&entry);
}

void Shard::TakeDirty(std::vector<Key>* keys) {
  for (Entry* entry : dirty_) {
    if (entry == nullptr) continue;
    entry->dirty_at = Entry::kClean;
    keys->push_back(entry->breaker.key());
  }
  dirty_.clear();
  std::move(gone_.begin(), gone_.end(), std::back_inserter(*keys));
  gone_.clear();
}

Entry* Shard::FirstDue(MonotonicTime now) {
  if (deadlines_.empty() || deadlines_.begin()->first > now) return nullptr;
  return deadlines_.begin()->second;
}

void Shard::Schedule(Entry& entry, bool later_too) {
  MonotonicTime deadline = entry.breaker.NextDeadline();
  if (idle_ttl_ < absl::InfiniteDuration() && entry.breaker.idle()) {
    deadline = std::min(deadline, entry.breaker.last_used() + idle_ttl_);
  }
  if (deadline == entry.scheduled || (deadline > entry.scheduled && !later_too)) return;
  Unschedule(entry);
  entry.scheduled = deadline;
  if (deadline < MonotonicTime::InfiniteFuture()) deadlines_.emplace(deadline, &entry);
  NoteFirstDeadline();
}

void Shard::Unschedule(Entry& entry) {
  if (entry.scheduled == MonotonicTime::InfiniteFuture()) return;
  deadlines_.erase({entry.scheduled, &entry});
  entry.scheduled = MonotonicTime::InfiniteFuture();
  NoteFirstDeadline();
}

void Shard::NoteFirstDeadline() {
  const MonotonicTime first =
      deadlines_.empty() ? MonotonicTime::InfiniteFuture() : deadlines_.begin()->first;
  first_deadline_.store(first.nanos(), std::memory_order_relaxed);
}

}  // namespace breaker::server
