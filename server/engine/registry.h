#ifndef BREAKER_ENGINE_REGISTRY_H_
#define BREAKER_ENGINE_REGISTRY_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/engine/admission.h"
#include "server/engine/arena.h"
#include "server/engine/breaker.h"
#include "server/engine/change.h"
#include "server/engine/clock.h"
#include "server/engine/key.h"
#include "server/engine/mutex.h"
#include "server/engine/outcome_run.h"
#include "server/engine/policy.h"
#include "server/engine/policy_table.h"
#include "server/engine/probe_holders.h"
#include "server/engine/sessions.h"
#include "server/engine/shard.h"
#include "server/engine/snapshot.h"
#include "server/engine/transition.h"

namespace breaker::server {

struct RegistryOptions {
  size_t max_breakers = 100'000;
  // Permits out at once, over all breakers; past it a CLOSED breaker gives permit id 0.
  int64_t max_permits = 1'000'000;
  // A breaker that is CLOSED, not overridden and unused for so long is evicted. Infinite = never.
  absl::Duration idle_ttl = absl::InfiniteDuration();
  PermitEpoch permit_epoch;
  uint64_t seed = 0;  // of jitter and ramp
  // Asked where a creator is about to create a breaker; null = each may. Not owned; must outlive
  // the registry.
  Admission* admission = nullptr;
};

// Every breaker of this process, by key. Thread-safe; each breaker's operations are linearizable.
//
// Breakers are spread over shards by the hash of their key. A shard's mutex guards its breakers:
// one lookup and one short critical section a call, and no lifetime to keep by reference counts. No
// call blocks on anything else.
//
// Lock order: a session's mutex, then a shard's, then policies_mu_ or index_mu_, or those inside
// probe_holders_, sessions_ and the admission; never two shards'.
//
// A `creator` is who is asked about where the call creates a breaker; null = it may.
class Registry {
 public:
  explicit Registry(const RegistryOptions& options);
  ~Registry();

  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // Has memory fetch the breaker and hashes its key, for the calls below that take that: what a
  // creator does in between overlaps with the wait.
  HashedKey Prefetch(const KeyView& key);

  // Whether a call by this worker may be made; creates the breaker. `policy` is the worker's own,
  // null if it brings none; it is valid. RESOURCE_EXHAUSTED past max_breakers, or where the
  // admission says so.
  absl::StatusOr<Decision> Acquire(const HashedKey& key, absl::string_view worker_id,
                                   const Policy* policy, Instant now, Changes* changes,
                                   const Creator* creator = nullptr);
  absl::StatusOr<Decision> Acquire(const KeyView& key, absl::string_view worker_id,
                                   const Policy* policy, Instant now, Changes* changes,
                                   const Creator* creator = nullptr) {
    return Acquire(Prefetch(key), worker_id, policy, now, changes, creator);
  }

  // Counts a call. Without a permit it creates the breaker, and may then fail as Acquire does.
  absl::StatusOr<ReportResult> Report(const HashedKey& key, const CallReport& report, Instant now,
                                      Changes* changes, const Creator* creator = nullptr);
  absl::StatusOr<ReportResult> Report(const KeyView& key, const CallReport& report, Instant now,
                                      Changes* changes, const Creator* creator = nullptr) {
    return Report(Prefetch(key), report, now, changes, creator);
  }

  // Counts calls that were made without permits, in their order, unless this batch of the session,
  // or a later one, was counted before. Creates breakers as Acquire does; outcomes of one that
  // cannot be created are left out. All runs name this session and sequence. ABORTED if the one
  // that must come before it has not.
  absl::StatusOr<BatchResult> ReportBatch(const BatchId& batch, const std::vector<KeyedRun>& runs,
                                          Instant now, Changes* changes,
                                          const Creator* creator = nullptr);

  // What to know of a breaker so as to decide on its behalf; creates it as Acquire does, and puts
  // the worker's policy in effect.
  absl::StatusOr<BreakerView> Subscribe(const KeyView& key, const Policy* policy, Instant now,
                                        Changes* changes, const Creator* creator = nullptr);
  // The same of one that is there; nullopt if it is not.
  std::optional<BreakerView> View(const KeyView& key, Instant now, Changes* changes);

  // A connection of the worker has begun, or ended. When its last one ends, the probes that it was
  // granted meanwhile are given back.
  void WorkerJoined(absl::string_view worker_id) { probe_holders_.Join(worker_id); }
  void WorkerLeft(absl::string_view worker_id, Instant now, Changes* changes);

  // NOT_FOUND if there is no such breaker.
  absl::StatusOr<BreakerStats> GetStats(const KeyView& key, Instant now, Changes* changes);

  // Up to `count` breakers in the order of their keys, starting after `after` (nullopt = from the
  // first), for which `wanted` holds. `service` empty = of all services.
  struct Page {
    std::vector<BreakerStats> stats;
    std::optional<Key> next;  // the key to go on after; nullopt = there are no more
  };
  Page ListStats(absl::string_view service, absl::FunctionRef<bool(const Key&, State)> wanted,
                 size_t count, const std::optional<Key>& after, Instant now, Changes* changes);

  // Visits every breaker for which `wanted` holds, in no order, with its last `transitions`
  // transitions; one that comes or goes meanwhile may be left out. `wanted` is called with a lock
  // held, for at most some dozens of breakers at a time; `visit` with none.
  void ForEach(absl::FunctionRef<bool(const Breaker&)> wanted, size_t transitions, Instant now,
               Changes* changes, absl::FunctionRef<void(BreakerStats)> visit);

  // Up to `count` keys of breakers in order, starting after `after`. `service` empty = of all.
  std::vector<Key> KeysAfter(absl::string_view service, const std::optional<Key>& after,
                             size_t count);

  // Operators' calls. SetOverride creates the breaker (RESOURCE_EXHAUSTED); the others answer
  // NOT_FOUND where there is nothing to act on. A policy takes effect at once on every breaker that
  // it matches; its key may be (service, "*") or ("*", "*").
  void SetPolicy(const Key& key, const Policy& policy, Instant now, Changes* changes);
  absl::Status DeletePolicy(const KeyView& key, Instant now, Changes* changes);
  // Replaces all policies of the policy file. Gives how many are not what they were.
  size_t SetFilePolicies(const absl::btree_map<Key, Policy>& policies, Instant now,
                         Changes* changes);
  std::vector<OperatorPolicy> Policies();
  absl::StatusOr<BreakerStats> SetOverride(const KeyView& key, const Override& override,
                                           Instant now, Changes* changes);
  absl::StatusOr<BreakerStats> ClearOverride(const KeyView& key, Instant now, Changes* changes);
  absl::StatusOr<BreakerStats> Reset(const KeyView& key, Instant now, Changes* changes);
  absl::Status Delete(const KeyView& key, Changes* changes);

  // Lets time take its course on every breaker that has something due, and evicts idle ones. To be
  // called every few milliseconds; costs next to nothing when nothing is due.
  void Tick(Instant now, Changes* changes);

  // What a store keeps of a breaker: nullopt when there is none (any more).
  std::optional<BreakerSnapshot> Save(const KeyView& key, Instant now);

  // The keys of all breakers that have changed, come or gone since they were last taken.
  std::vector<Key> TakeDirty();

  // Which batches have been applied. What of them is stored is for the store's writer to say.
  Sessions& sessions() { return sessions_; }

  // Puts in a policy that was saved when it was set, at `updated_at`.
  void RestorePolicy(const Key& key, const Policy& policy, WallTime updated_at, Instant now,
                     Changes* changes);

  // Puts a saved breaker in, unless there is one by that key. RESOURCE_EXHAUSTED past max_breakers.
  absl::Status Restore(BreakerSnapshot snapshot, Instant now);

  size_t size() const { return size_.load(std::memory_order_relaxed); }
  int64_t permits_out() const { return permits_.out(); }

 private:
  static constexpr size_t kShards = 256;

  // Called with the shard's mutex held.
  absl::StatusOr<Entry*> FindOrCreate(Shard& shard, const HashedKey& key, const Policy* policy,
                                      Instant now, Changes* changes, const Creator* creator)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mu);
  // On whose account the breaker is to be that the creator is about to create; why it is not to be.
  absl::StatusOr<Account> Admit(const Creator* creator, const KeyView& key, Instant now);
  absl::StatusOr<RunResult> ReportRun(const HashedKey& key, const OutcomeRun& run, Instant now,
                                      Changes* changes, const Creator* creator);
  // Puts in effect what a worker has brought, if it is not what it was.
  void BringPolicy(Shard& shard, Entry& entry, const Policy& policy, Instant now, Changes* changes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mu);
  template <typename... Args>
  absl::StatusOr<Entry*> Insert(Shard& shard, const HashedKey& key, Args&&... args)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mu);
  void Erase(Shard& shard, Entry& entry, Changes* changes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mu);
  ResolvedPolicy Resolve(const KeyView& key, const PolicyPtr& worker_policy)
      ABSL_LOCKS_EXCLUDED(policies_mu_);

  Shard& ShardOf(const HashedKey& key);
  void Prefetch(const HashedKey& key) { ShardOf(key).Prefetch(key); }
  // Runs act(breaker, context) and returns its result; nullopt if there is no such breaker.
  template <typename Act>
  auto RunIfThere(const KeyView& key, Instant now, Changes* changes, Act act);
  template <typename Act>
  absl::StatusOr<BreakerStats> RunOnExisting(const KeyView& key, Instant now, Changes* changes,
                                             Act act);
  // Has breakers that the key of a policy stands for follow what the policies now say.
  void ApplyPolicies(const KeyView& pattern, Instant now, Changes* changes);
  // The same of one breaker, for which a worker has brought that policy, or null.
  void ApplyPolicy(Shard& shard, Entry& entry, const PolicyPtr& brought, Instant now,
                   Changes* changes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mu);

  const size_t max_breakers_;
  Admission* const admission_;
  PermitPool permits_;
  ProbeHolders probe_holders_;
  Sessions sessions_;
  std::atomic<size_t> size_{0};
  Arena arena_;  // of the entries
  std::unique_ptr<Shard[]> shards_;

  Mutex policies_mu_;
  PolicyTable policies_ ABSL_GUARDED_BY(policies_mu_);

  Mutex index_mu_;
  struct ByKey {
    using is_transparent = void;
    static KeyView View(const Key* key) { return *key; }
    static KeyView View(const KeyView& key) { return key; }
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return View(a) < View(b);
    }
  };
  // The keys of all breakers in order; they live in the breakers.
  absl::btree_set<const Key*, ByKey> index_ ABSL_GUARDED_BY(index_mu_);
};

}  // namespace breaker::server

#endif  // BREAKER_ENGINE_REGISTRY_H_
