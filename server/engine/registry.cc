#include "server/engine/registry.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "server/engine/errors.h"

namespace breaker::server {
namespace {

// Keys fall to shards by chance. Five times the deviation to be expected, and a few places that
// keep searches short in a shard that is full.
size_t ShardCapacity(size_t max_breakers, size_t shards) {
  const double mean = static_cast<double>(max_breakers) / static_cast<double>(shards);
  return static_cast<size_t>(1.08 * mean + 5 * std::sqrt(mean) + 15);
}

}  // namespace

Registry::Registry(const RegistryOptions& options)
    : max_breakers_(options.max_breakers),
      admission_(options.admission),
      permits_(options.permit_epoch, options.max_permits),
      arena_(kShards * EntryTable::Bytes(ShardCapacity(max_breakers_, kShards))),
      shards_(new Shard[kShards]) {
  const size_t capacity = ShardCapacity(max_breakers_, kShards);
  for (size_t i = 0; i < kShards; ++i) {
    char* const space = arena_.start() + i * EntryTable::Bytes(capacity);
    shards_[i].Init(&permits_, capacity, space, options.idle_ttl, options.seed + i);
  }
}

Registry::~Registry() = default;

// ---------------------------------------------------------------------------------------------
// Finding

Shard& Registry::ShardOf(const HashedKey& key) {
  // The top bits; the table within the shard uses the others.
  return shards_[key.hash >> 56];
}

HashedKey Registry::Prefetch(const KeyView& key) {
  const HashedKey hashed(key);
  Prefetch(hashed);
  return hashed;
}

absl::StatusOr<Entry*> Registry::FindOrCreate(Shard& shard, const HashedKey& key,
                                              const Policy* policy, Instant now, Changes* changes,
                                              const Creator* creator) {
  if (Entry* entry = shard.Find(key)) return entry;
  const absl::StatusOr<Account> account = Admit(creator, key.view, now);
  if (!account.ok()) return account.status();
  const ResolvedPolicy resolved =
      Resolve(key.view, policy == nullptr ? nullptr : std::make_shared<const Policy>(*policy));
  absl::StatusOr<Entry*> entry =
      Insert(shard, key, Key(key.view), resolved.policy, resolved.source, now);
  if (!entry.ok()) {
    if (*account != kNobody) admission_->Gone(*account);
    return entry;
  }
  (*entry)->account = *account;
  shard.MarkDirty(**entry);
  changes->push_back({(*entry)->breaker.key(), (*entry)->breaker.View(now)});
  return entry;
}

absl::StatusOr<Account> Registry::Admit(const Creator* creator, const KeyView& key, Instant now) {
  if (admission_ == nullptr || creator == nullptr) return kNobody;
  const size_t size = this->size();
  if (size >= max_breakers_) return errors::TooManyBreakers(key, max_breakers_);
  return admission_->Admit(*creator, key, max_breakers_ - size, now);
}

template <typename... Args>
absl::StatusOr<Entry*> Registry::Insert(Shard& shard, const HashedKey& key, Args&&... args) {
  Entry* inserted = nullptr;
  if (size_.fetch_add(1, std::memory_order_relaxed) < max_breakers_) {
    inserted = shard.Insert(key, std::forward<Args>(args)...);
  }
  if (inserted == nullptr) {
    size_.fetch_sub(1, std::memory_order_relaxed);
    return errors::TooManyBreakers(key.view, max_breakers_);
  }
  MutexLock lock(&index_mu_);
  index_.insert(&inserted->breaker.key());
  return inserted;
}

void Registry::Erase(Shard& shard, Entry& entry, Changes* changes) {
  changes->push_back({.key = entry.breaker.key(), .removed = true});
  if (entry.account != kNobody) admission_->Gone(entry.account);
  {
    MutexLock lock(&index_mu_);
    index_.erase(&entry.breaker.key());
  }
  shard.Erase(entry);
  size_.fetch_sub(1, std::memory_order_relaxed);
}

template <typename Act>
auto Registry::RunIfThere(const KeyView& key, Instant now, Changes* changes, Act act) {
  const HashedKey hashed = Prefetch(key);
  Shard& shard = ShardOf(hashed);
  MutexLock lock(&shard.mu);
  Entry* const entry = shard.Find(hashed);
  using Result = decltype(shard.Run(*entry, now, changes, act));
  if (entry == nullptr) return std::optional<Result>();
  return std::optional<Result>(shard.Run(*entry, now, changes, act));
}

template <typename Act>
absl::StatusOr<BreakerStats> Registry::RunOnExisting(const KeyView& key, Instant now,
                                                     Changes* changes, Act act) {
  auto result =
      RunIfThere(key, now, changes,
                 [&](Breaker& breaker, const Context& context) -> absl::StatusOr<BreakerStats> {
                   breaker.Advance(context);
                   const absl::Status status = act(breaker, context);
                   if (!status.ok()) return status;
                   return breaker.Stats(now);
                 });
  if (!result.has_value()) return errors::NoSuchBreaker(key);
  return *std::move(result);
}

// ---------------------------------------------------------------------------------------------
// Workers' calls

absl::StatusOr<Decision> Registry::Acquire(const HashedKey& key, absl::string_view worker_id,
                                           const Policy* policy, Instant now, Changes* changes,
                                           const Creator* creator) {
  Shard& shard = ShardOf(key);
  MutexLock lock(&shard.mu);
  absl::StatusOr<Entry*> found = FindOrCreate(shard, key, policy, now, changes, creator);
  if (!found.ok()) return found.status();
  if (policy != nullptr) BringPolicy(shard, **found, *policy, now, changes);
  const Decision decision =
      shard.Run(**found, now, changes, [&](Breaker& breaker, const Context& context) {
        return breaker.Acquire(worker_id, context);
      });
  if (decision.probe) probe_holders_.Note(worker_id, key.view);
  return decision;
}

void Registry::BringPolicy(Shard& shard, Entry& entry, const Policy& policy, Instant now,
                           Changes* changes) {
  const PolicyPtr& last = entry.breaker.worker_policy();
  if (last != nullptr && *last == policy) return;
  ApplyPolicy(shard, entry, std::make_shared<const Policy>(policy), now, changes);
}

absl::StatusOr<ReportResult> Registry::Report(const HashedKey& key, const CallReport& report,
                                              Instant now, Changes* changes,
                                              const Creator* creator) {
  Shard& shard = ShardOf(key);
  MutexLock lock(&shard.mu);
  Entry* entry = shard.Find(key);
  if (entry == nullptr) {
    if (report.permit_id != 0) return ReportResult{};
    absl::StatusOr<Entry*> created = FindOrCreate(shard, key, nullptr, now, changes, creator);
    if (!created.ok()) return created.status();
    entry = *created;
  }
  return shard.Run(*entry, now, changes, [&](Breaker& breaker, const Context& context) {
    return breaker.Report(report, context);
  });
}

absl::StatusOr<RunResult> Registry::ReportRun(const HashedKey& key, const OutcomeRun& run,
                                              Instant now, Changes* changes,
                                              const Creator* creator) {
  Shard& shard = ShardOf(key);
  MutexLock lock(&shard.mu);
  absl::StatusOr<Entry*> found = FindOrCreate(shard, key, nullptr, now, changes, creator);
  if (!found.ok()) return found.status();
  return shard.Run(**found, now, changes, [&](Breaker& breaker, const Context& context) {
    return breaker.ReportRun(run, context);
  });
}

absl::StatusOr<BatchResult> Registry::ReportBatch(const BatchId& batch,
                                                  const std::vector<KeyedRun>& runs, Instant now,
                                                  Changes* changes, const Creator* creator) {
  const std::shared_ptr<Sessions::Session> found = sessions_.Use(batch.session, now.mono);
  MutexLock lock(&found->mu);
  const uint64_t applied = found->applied();
  if (batch.previous > applied) return errors::MissingBatches(batch.previous, applied);
  BatchResult result;
  result.stored_sequence = found->stored();
  if (batch.sequence <= applied) {
    result.duplicate = true;
    return result;
  }
  constexpr size_t kAhead = 4;  // memory answers within so many runs
  for (size_t i = 0; i < runs.size(); ++i) {
    if (i + kAhead < runs.size()) Prefetch(runs[i + kAhead].key);
    const absl::StatusOr<RunResult> counted =
        ReportRun(runs[i].key, runs[i].run, now, changes, creator);
    if (!counted.ok()) continue;
    result.counted += counted->counted;
    result.stale += counted->stale;
  }
  found->Applied(batch.sequence);
  return result;
}

void Registry::WorkerLeft(absl::string_view worker_id, Instant now, Changes* changes) {
  for (const Key& key : probe_holders_.Leave(worker_id)) {
    RunIfThere(key, now, changes, [&](Breaker& breaker, const Context& context) {
      breaker.GiveBackProbes(worker_id, context);
      return true;
    });
  }
}

// ---------------------------------------------------------------------------------------------
// Reading

absl::StatusOr<BreakerView> Registry::Subscribe(const KeyView& key, const Policy* policy,
                                                Instant now, Changes* changes,
                                                const Creator* creator) {
  const HashedKey hashed = Prefetch(key);
  Shard& shard = ShardOf(hashed);
  MutexLock lock(&shard.mu);
  absl::StatusOr<Entry*> found = FindOrCreate(shard, hashed, policy, now, changes, creator);
  if (!found.ok()) return found.status();
  if (policy != nullptr) BringPolicy(shard, **found, *policy, now, changes);
  return shard.Run(**found, now, changes, [&](Breaker& breaker, const Context& context) {
    breaker.Advance(context);
    return breaker.View(now);
  });
}

std::optional<BreakerView> Registry::View(const KeyView& key, Instant now, Changes* changes) {
  return RunIfThere(key, now, changes, [&](Breaker& breaker, const Context& context) {
    breaker.Advance(context);
    return breaker.View(now);
  });
}

absl::StatusOr<BreakerStats> Registry::GetStats(const KeyView& key, Instant now, Changes* changes) {
  return RunOnExisting(key, now, changes,
                       [](Breaker&, const Context&) { return absl::OkStatus(); });
}

std::vector<Key> Registry::KeysAfter(absl::string_view service, const std::optional<Key>& after,
                                     size_t count) {
  std::vector<Key> keys;
  MutexLock lock(&index_mu_);
  auto it = after.has_value() ? index_.upper_bound(KeyView(*after))
                              : index_.lower_bound(KeyView{service, ""});
  for (; it != index_.end() && keys.size() < count; ++it) {
    if (!service.empty() && (*it)->service != service) break;
    keys.push_back(**it);
  }
  return keys;
}

Registry::Page Registry::ListStats(absl::string_view service,
                                   absl::FunctionRef<bool(const Key&, State)> wanted, size_t count,
                                   const std::optional<Key>& after, Instant now, Changes* changes) {
  constexpr size_t kKeysAtOnce = 256;
  Page page;
  std::optional<Key> last = after;
  while (true) {
    const std::vector<Key> keys = KeysAfter(service, last, kKeysAtOnce);
    if (keys.empty()) return page;
    for (const Key& key : keys) {
      absl::StatusOr<BreakerStats> stats =
          RunOnExisting(key, now, changes, [&](Breaker& breaker, const Context&) {
            return wanted(key, breaker.state()) ? absl::OkStatus() : errors::NoSuchBreaker(key);
          });
      if (!stats.ok()) continue;
      if (page.stats.size() == count) {
        page.next = page.stats.back().key;
        return page;
      }
      page.stats.push_back(*std::move(stats));
    }
    last = keys.back();
  }
}

void Registry::ForEach(absl::FunctionRef<bool(const Breaker&)> wanted, size_t transitions,
                       Instant now, Changes* changes, absl::FunctionRef<void(BreakerStats)> visit) {
  std::vector<BreakerStats> some;
  for (size_t i = 0; i < kShards; ++i) {
    Shard& shard = shards_[i];
    size_t place = 0;
    do {
      some.clear();
      {
        MutexLock lock(&shard.mu);
        for (Entry* const entry : shard.EntriesFrom(&place)) {
          if (!wanted(entry->breaker)) continue;
          some.push_back(
              shard.Run(*entry, now, changes, [&](Breaker& breaker, const Context& context) {
                breaker.Advance(context);
                return breaker.Stats(now, transitions);
              }));
        }
      }
      for (BreakerStats& stats : some) visit(std::move(stats));
    } while (place != 0);
  }
}

// ---------------------------------------------------------------------------------------------
// Operators' calls

ResolvedPolicy Registry::Resolve(const KeyView& key, const PolicyPtr& worker_policy) {
  MutexLock lock(&policies_mu_);
  return policies_.Resolve(key, worker_policy);
}

void Registry::SetPolicy(const Key& key, const Policy& policy, Instant now, Changes* changes) {
  RestorePolicy(key, policy, now.wall, now, changes);
}

void Registry::RestorePolicy(const Key& key, const Policy& policy, WallTime updated_at, Instant now,
                             Changes* changes) {
  {
    MutexLock lock(&policies_mu_);
    policies_.Set(key, std::make_shared<const Policy>(policy), updated_at);
  }
  ApplyPolicies(key, now, changes);
}

absl::Status Registry::DeletePolicy(const KeyView& key, Instant now, Changes* changes) {
  {
    MutexLock lock(&policies_mu_);
    if (!policies_.Erase(key)) return errors::NoSuchPolicy(key);
  }
  ApplyPolicies(key, now, changes);
  return absl::OkStatus();
}

size_t Registry::SetFilePolicies(const absl::btree_map<Key, Policy>& policies, Instant now,
                                 Changes* changes) {
  std::vector<Key> changed;
  {
    MutexLock lock(&policies_mu_);
    changed = policies_.ReplaceFile(policies, now.wall);
  }
  for (const Key& key : changed) ApplyPolicies(key, now, changes);
  return changed.size();
}

std::vector<OperatorPolicy> Registry::Policies() {
  MutexLock lock(&policies_mu_);
  return policies_.All();
}

void Registry::ApplyPolicies(const KeyView& pattern, Instant now, Changes* changes) {
  // A breaker created meanwhile has read the new table, or is seen here.
  if (pattern.operation != kAny) {
    const HashedKey hashed = Prefetch(pattern);
    Shard& shard = ShardOf(hashed);
    MutexLock lock(&shard.mu);
    Entry* const entry = shard.Find(hashed);
    if (entry != nullptr) {
      ApplyPolicy(shard, *entry, PolicyPtr(entry->breaker.worker_policy()), now, changes);
    }
    return;
  }
  for (size_t i = 0; i < kShards; ++i) {
    Shard& shard = shards_[i];
    MutexLock lock(&shard.mu);
    for (Entry* const entry : shard.Entries()) {
      if (pattern.service != kAny && pattern.service != entry->breaker.key().service) continue;
      ApplyPolicy(shard, *entry, PolicyPtr(entry->breaker.worker_policy()), now, changes);
    }
  }
}

void Registry::ApplyPolicy(Shard& shard, Entry& entry, const PolicyPtr& brought, Instant now,
                           Changes* changes) {
  shard.MarkDirty(entry);
  const bool changed =
      shard.Run(entry, now, changes, [&](Breaker& breaker, const Context& context) {
        const ResolvedPolicy resolved = Resolve(breaker.key(), brought);
        return breaker.SetPolicy(resolved.policy, resolved.source, brought, context);
      });
  if (changed) changes->push_back({entry.breaker.key(), entry.breaker.View(now)});
}

absl::StatusOr<BreakerStats> Registry::SetOverride(const KeyView& key, const Override& override,
                                                   Instant now, Changes* changes) {
  const HashedKey hashed = Prefetch(key);
  Shard& shard = ShardOf(hashed);
  MutexLock lock(&shard.mu);
  absl::StatusOr<Entry*> found =
      FindOrCreate(shard, hashed, nullptr, now, changes, /*creator=*/nullptr);
  if (!found.ok()) return found.status();
  return shard.Run(**found, now, changes, [&](Breaker& breaker, const Context& context) {
    breaker.SetOverride(override, context);
    return breaker.Stats(now);
  });
}

absl::StatusOr<BreakerStats> Registry::ClearOverride(const KeyView& key, Instant now,
                                                     Changes* changes) {
  return RunOnExisting(key, now, changes, [&](Breaker& breaker, const Context& context) {
    if (!breaker.overridden()) return errors::NotOverridden(key);
    breaker.ClearOverride(context);
    return absl::OkStatus();
  });
}

absl::StatusOr<BreakerStats> Registry::Reset(const KeyView& key, Instant now, Changes* changes) {
  return RunOnExisting(key, now, changes, [](Breaker& breaker, const Context& context) {
    breaker.Reset(context);
    return absl::OkStatus();
  });
}

absl::Status Registry::Delete(const KeyView& key, Changes* changes) {
  const HashedKey hashed = Prefetch(key);
  Shard& shard = ShardOf(hashed);
  MutexLock lock(&shard.mu);
  Entry* const entry = shard.Find(hashed);
  if (entry == nullptr) return errors::NoSuchBreaker(key);
  Erase(shard, *entry, changes);
  return absl::OkStatus();
}

// ---------------------------------------------------------------------------------------------
// Time and storage

void Registry::Tick(Instant now, Changes* changes) {
  constexpr int kEntriesAtOnce = 64;  // a lock is not held for longer than they take
  for (size_t i = 0; i < kShards; ++i) {
    Shard& shard = shards_[i];
    while (shard.HasDue(now.mono)) {
      MutexLock lock(&shard.mu);
      for (int n = 0; n < kEntriesAtOnce; ++n) {
        Entry* const entry = shard.FirstDue(now.mono);
        if (entry == nullptr) break;
        shard.Run(*entry, now, changes, [](Breaker& breaker, const Context& context) {
          breaker.Advance(context);
          return true;
        });
        if (shard.Expired(*entry, now.mono)) {
          Erase(shard, *entry, changes);
        } else {
          shard.Schedule(*entry, /*later_too=*/true);
        }
      }
    }
  }
}

std::optional<BreakerSnapshot> Registry::Save(const KeyView& key, Instant now) {
  const HashedKey hashed = Prefetch(key);
  Shard& shard = ShardOf(hashed);
  MutexLock lock(&shard.mu);
  Entry* const entry = shard.Find(hashed);
  if (entry == nullptr) return std::nullopt;
  entry->breaker.ForgetAppliedRuns([this](const AppliedRun& run) {
    return run.position.sequence() <= sessions_.StoredUpTo(run.session);
  });
  return entry->breaker.Save(now);
}

std::vector<Key> Registry::TakeDirty() {
  std::vector<Key> keys;
  for (size_t i = 0; i < kShards; ++i) {
    Shard& shard = shards_[i];
    MutexLock lock(&shard.mu);
    shard.TakeDirty(&keys);
  }
  return keys;
}

absl::Status Registry::Restore(BreakerSnapshot snapshot, Instant now) {
  const HashedKey hashed(snapshot.key);
  Shard& shard = ShardOf(hashed);
  MutexLock lock(&shard.mu);
  if (shard.Find(hashed) != nullptr) return absl::OkStatus();
  const ResolvedPolicy resolved =
      Resolve(snapshot.key, snapshot.worker_policy.has_value()
                                ? std::make_shared<const Policy>(*snapshot.worker_policy)
                                : nullptr);
  return Insert(shard, hashed, std::move(snapshot), resolved.policy, resolved.source, now).status();
}

}  // namespace breaker::server
