#ifndef BREAKER_ENGINE_SESSIONS_H_
#define BREAKER_ENGINE_SESSIONS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/engine/clock.h"
#include "server/engine/mutex.h"

namespace breaker::server {

// How far the batches of one session have been applied. What of a session is stored.
struct SessionMark {
  uint64_t session = 0;
  uint64_t sequence = 0;  // all up to here
  WallTime last_used;

  friend bool operator==(const SessionMark&, const SessionMark&) = default;
};

// Names a session: that of a worker's process, told apart from another worker's by the same id.
// The same in every run and build. (FNV-1a: Fowler, Noll, Vo; draft-eastlake-fnv.)
uint64_t SessionName(absl::string_view worker_id, uint64_t session_id);

// The sessions of ReportBatch, so that each of their batches counts once. Knows at most
// kMaxSessions; beyond that, and after kSessionTtl without a batch, the longest unused are
// forgotten. Thread-safe.
//
// A session's mark may be stored once all breakers that its batches have touched are: Unstored,
// then storing every breaker that has changed, then Stored. What came after the mark is told apart
// by what each breaker knows of its own (AppliedRun).
class Sessions {
 public:
  static constexpr size_t kMaxSessions = 100'000;
  static constexpr absl::Duration kSessionTtl = absl::Minutes(10);

  class Session {
   public:
    Mutex mu;  // held while one of its batches is applied
    uint64_t applied() const { return applied_.load(std::memory_order_acquire); }
    // All up to here survive whatever happens to this process.
    uint64_t stored() const { return stored_.load(std::memory_order_relaxed); }
    // Every run of the batch has been counted.
    void Applied(uint64_t sequence) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
      applied_.store(sequence, std::memory_order_release);
    }

   private:
    friend class Sessions;
    std::atomic<uint64_t> applied_{0};
    std::atomic<uint64_t> stored_{0};
    std::atomic<int64_t> last_used_{0};  // MonotonicTime
  };

  // Finds the session, or begins it.
  std::shared_ptr<Session> Use(uint64_t session, MonotonicTime now) ABSL_LOCKS_EXCLUDED(mu_);

  // How far the session's batches are stored; 0 if it is not known.
  uint64_t StoredUpTo(uint64_t session) ABSL_LOCKS_EXCLUDED(mu_);

  // Of every session that has gone on since its mark was last stored.
  std::vector<SessionMark> Unstored(Instant now) ABSL_LOCKS_EXCLUDED(mu_);
  void Stored(const std::vector<SessionMark>& marks) ABSL_LOCKS_EXCLUDED(mu_);

  // Whatever was stored is lost.
  void NoneStored() ABSL_LOCKS_EXCLUDED(mu_);

  // Forgets the sessions that are idle, and says which.
  std::vector<uint64_t> Forget(MonotonicTime now) ABSL_LOCKS_EXCLUDED(mu_);

  // Puts back what was stored.
  void Restore(const SessionMark& mark, Instant now) ABSL_LOCKS_EXCLUDED(mu_);

  size_t size() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  Mutex mu_;
  absl::flat_hash_map<uint64_t, std::shared_ptr<Session>> sessions_ ABSL_GUARDED_BY(mu_);
};

}  // namespace breaker::server

#endif  // BREAKER_ENGINE_SESSIONS_H_
