#ifndef BREAKER_STORE_STORE_WRITER_H_
#define BREAKER_STORE_STORE_WRITER_H_

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/engine/clock.h"
#include "server/engine/key.h"
#include "server/engine/mutex.h"
#include "server/engine/permit_ids.h"
#include "server/engine/registry.h"
#include "server/store/checkpoint.h"
#include "server/store/state_store.h"

namespace breaker::server {

struct StoreWriterOptions {
  // How often what has changed without being persisted at once is written. Finite.
  absl::Duration snapshot_interval = absl::Seconds(1);
  // How often a store that fails is tried again.
  absl::Duration retry_interval = absl::Seconds(1);
  // Called with every operator's policy that is loaded, before the breakers are; on the thread that
  // loads, with no lock held, and again when a store is loaded a second time.
  std::function<void(const StoredPolicy&)> restore_policy = [](const StoredPolicy&) {};
  // Called after every batch stored, by the writer's thread, with what it took and how many records
  // it had.
  std::function<void(absl::Duration, size_t)> on_write = [](absl::Duration, size_t) {};
};

// What the writer has done since it was made.
struct StoreWriterStats {
  uint64_t writes = 0;    // batches stored
  uint64_t failures = 0;  // calls of the store that failed
  size_t last_batch = 0;  // records in the last batch stored
  size_t unsaved = 0;     // breakers and policies waiting to be written
  bool degraded = false;  // whether the daemon goes on from memory alone
  // What the last load took; nullopt before there was one.
  std::optional<absl::Duration> load_time = {};
};

// Writes the registry's changes to a store, from one thread of its own: so nobody else waits for
// the disk, and the writes of a key come in the order of its changes. What is written of a breaker
// is its state at that time, not at the time of asking; so asking often costs no more than asking
// once, and a write that failed is made up for by a later one.
//
// While the store fails (degraded), nobody waits for it: what has changed is remembered by its key
// and written when the store works again.
//
// Thread-safe, but for Start and Stop.
class StoreWriter {
 public:
  using Done = absl::AnyInvocable<void() &&>;
  using CheckpointDone = absl::AnyInvocable<void(absl::StatusOr<std::unique_ptr<Checkpoint>>) &&>;

  // `store`, `registry` and `clock` are not owned and must outlive the writer. From Start to the
  // end of Stop the store is the writer's alone.
  StoreWriter(StateStore* store, Registry* registry, const Clock* clock,
              StoreWriterOptions options);
  // Stops.
  ~StoreWriter();

  StoreWriter(const StoreWriter&) = delete;
  StoreWriter& operator=(const StoreWriter&) = delete;

  // Takes the result of store->Open(). If the store is open, loads all of it into the registry
  // before returning. If it is not, or loading fails, begins degraded: the writer opens and loads
  // the store when it can; where both know a breaker, memory wins. To be called once, before anyone
  // else changes the registry or calls another method.
  void Start(const absl::StatusOr<PermitEpoch>& opened);

  // Calls `done` once everything that has happened to these breakers before this call is stored as
  // StateStore::Write promises; a breaker that is gone is erased. `done` is called exactly once,
  // without a lock: by the writer's thread, or, while the store fails and after Stop, by this call,
  // without anything being stored.
  void Persist(const std::vector<Key>& keys, Done done);

  // The same for an operator's policy; nullopt erases it.
  void PersistPolicy(const Key& key, std::optional<StoredPolicy> policy, Done done);

  // Calls `done` once, without a lock, with a copy of the store that has everything that happened
  // before this call, the breakers' counters too: from the writer's thread, or, while the store
  // fails and after Stop, by this call with UNAVAILABLE.
  void MakeCheckpoint(CheckpointDone done);

  // Writes all that has changed, if the store works (one that does not is given one more try),
  // calls every `done` and ends the thread. Further calls do nothing.
  void Stop();

  StoreWriterStats stats() const;

 private:
  // What is to be written, and who waits for it.
  struct Pending {
    absl::flat_hash_set<Key> breakers;
    absl::flat_hash_map<Key, std::optional<StoredPolicy>> policies;
    std::vector<Done> waiting;
  };

  static void Call(std::vector<Done> waiting);

  // Lets `done` wait; false if nobody is to wait, and then `done` is to be called at once.
  bool Queue(Done& done) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Why nobody is to wait.
  absl::Status Closed() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Takes what is pending, but no more breakers than `max_breakers`.
  Pending Take(size_t max_breakers) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool IsPending(const Key& breaker) ABSL_LOCKS_EXCLUDED(mu_);
  bool degraded() const ABSL_LOCKS_EXCLUDED(mu_);

  // The thread, and what it is made of.
  void Run();
  // Until someone waits, Stop is called or `due` has come. Returns whether to stop.
  bool Wait(MonotonicTime due) ABSL_LOCKS_EXCLUDED(mu_);
  void WritePending() ABSL_LOCKS_EXCLUDED(mu_);
  void WriteSnapshots() ABSL_LOCKS_EXCLUDED(mu_);
  std::vector<CheckpointDone> TakeCheckpoints() ABSL_LOCKS_EXCLUDED(mu_);
  void Answer(std::vector<CheckpointDone> checkpoints) ABSL_LOCKS_EXCLUDED(mu_);
  // Once everything that they have touched is stored.
  void WriteSessions(std::vector<SessionMark> marks) ABSL_LOCKS_EXCLUDED(mu_);
  // Writes what was taken; after an error it is pending again.
  absl::Status Write(const Pending& changes) ABSL_LOCKS_EXCLUDED(mu_);
  // Has breakers written later, by whoever writes next.
  void Remember(const std::vector<Key>& breakers) ABSL_LOCKS_EXCLUDED(mu_);
  void RememberAll() ABSL_LOCKS_EXCLUDED(mu_);
  // From now on nobody waits.
  void Degrade(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mu_);
  // Tries to get back to normal.
  void Recover() ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status Reopen() ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status Load() ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status CatchUp() ABSL_LOCKS_EXCLUDED(mu_);

  // Constant after construction.
  const StoreWriterOptions options_;

  // Not owned.
  StateStore* const store_;
  Registry* const registry_;
  const Clock* const clock_;

  // Used by the thread alone, once it runs.
  std::optional<uint64_t> secret_;  // of the store that was opened last
  bool loaded_ = false;             // whether the registry has had all that the store held
  MonotonicTime degraded_since_;
  MonotonicTime next_forget_;  // when to look for idle sessions

  mutable Mutex mu_;
  std::condition_variable_any changed_;
  Pending pending_ ABSL_GUARDED_BY(mu_);
  std::vector<CheckpointDone> checkpoints_ ABSL_GUARDED_BY(mu_);  // that are waited for
  // All that there are: the registry does not give them out, and another store would need them.
  absl::flat_hash_map<Key, StoredPolicy> policies_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;     // the thread has ended
  StoreWriterStats stats_ ABSL_GUARDED_BY(mu_);  // but for `unsaved`

  std::thread thread_;
};

}  // namespace breaker::server

#endif  // BREAKER_STORE_STORE_WRITER_H_
