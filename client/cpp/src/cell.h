#ifndef BREAKER_CLIENT_CELL_H_
#define BREAKER_CLIENT_CELL_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/random/random.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "breaker/client.h"
#include "breaker/v1/breaker.pb.h"
#include "client/cpp/src/flush_signal.h"
#include "client/cpp/src/local_breaker.h"
#include "client/cpp/src/outcome_stripes.h"
#include "server/engine/clock.h"
#include "server/engine/mutex.h"

namespace breaker::internal {

// `count` equal outcomes in a row, as v1::OutcomeRun.
struct OutcomeRun {
  uint64_t generation = 0;
  Outcome outcome = Outcome::kSuccess;
  uint32_t count = 0;
  uint32_t slow_count = 0;
  std::string label;
};

// What all cells of a client share.
struct Surroundings {
  const std::string worker_id;
  const server::SystemClock clock;
  FlushSignal signal;
  // Until when the daemon's last word is taken for its current one. Read by every call, written
  // when the daemon says something.
  alignas(64) std::atomic<SteadyTime> trusted_until = SteadyTime::min();
};

// What a cell says of a call.
struct CellAnswer {
  enum class Kind {
    kAllowed,
    kRefused,
    kAsk,       // The daemon decides.
    kAskAlone,  // As kAsk, and others are refused until EndAsking.
    kDenied,    // The daemon would decide, but it will not for this worker.
  };
  Kind kind = Kind::kAsk;
  State state = State::kClosed;
  bool shadow = false;  // allowed only because the policy is a shadow
  bool probe = false;
  uint64_t ticket = 0;         // what to report with: generation, or the local breaker's permit
  absl::Duration retry_after;  // when refused
};

// What a worker knows of one breaker, and what it has not told the daemon yet. Thread-safe.
//
// Most calls touch no lock: one that the daemon's last word allows looks at one atomic word, the
// gate, and one that went well is counted on a stripe of its thread. All else takes the cell's
// mutex.
//
// Limits: kMaxRuns runs wait to be sent, and FlushSignal::kMaxWaitingRuns in all cells together.
// Past either, outcomes join runs of their kind out of order, and those that find none are
// dropped and counted.
class Cell {
 public:
  static constexpr size_t kMaxRuns = 256;
  using Answer = CellAnswer;

  // `surroundings` is not owned and must outlive the cell.
  Cell(const Key& key, size_t hash, Surroundings* surroundings);

  const Key& key() const { return key_; }
  size_t hash() const { return hash_; }

  // The generation under which a call is allowed without further ado; 0 = ask Decide. `policy` is
  // what the worker brings, null if nothing; so below.
  uint64_t AllowedAtOnce(SteadyTime now, const Policy* policy) const {
    const uint64_t gate = gate_.load(std::memory_order_acquire);
    if ((gate & kOpenToAll) == 0) return 0;
    if (now >= around_->trusted_until.load(std::memory_order_relaxed)) return 0;
    return Brings(policy) ? gate >> kFlagBits : 0;
  }
  Answer Decide(SteadyTime now, const Policy* policy) ABSL_LOCKS_EXCLUDED(mu_);

  // Takes note of what Acquire answered. `policy` went with the question: it must live as long as
  // the cell.
  void Learn(const v1::AcquireResponse& response, SteadyTime now, const Policy* policy)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Ends what kAskAlone began.
  void EndAsking() ABSL_LOCKS_EXCLUDED(mu_);
  // The answer to a call whose question got none: refused while the daemon is heard from, for then
  // it is slow and not away, and another worker may have the probe. kAsk where others have to
  // decide.
  Answer RefuseUnanswered(SteadyTime now) ABSL_LOCKS_EXCLUDED(mu_);

  // The daemon does not permit the question; for a second it is not asked again.
  void Deny(SteadyTime now) ABSL_LOCKS_EXCLUDED(mu_);

  // Counts a call that was allowed under `generation`.
  void Record(uint64_t generation, Outcome outcome, absl::string_view label,
              std::chrono::nanoseconds took) ABSL_LOCKS_EXCLUDED(mu_);

  // Decides while the daemon is away, and counts a call so decided.
  Answer DecideLocally(SteadyTime now, const Policy* policy) ABSL_LOCKS_EXCLUDED(mu_);
  void RecordLocally(uint64_t permit_id, Outcome outcome, absl::string_view label,
                     std::chrono::nanoseconds took) ABSL_LOCKS_EXCLUDED(mu_);

  // What the daemon's stream says, and which stream it was.
  void Update(const v1::CircuitUpdate& update, uint64_t stream, SteadyTime now)
      ABSL_LOCKS_EXCLUDED(mu_);
  // What another stream has said is not taken for current any more.
  void DistrustUnlessFrom(uint64_t stream) ABSL_LOCKS_EXCLUDED(mu_);

  // Whether this is the one call to subscribe; later ones get false until the subscription is over.
  bool BeginSubscription() ABSL_LOCKS_EXCLUDED(mu_);
  void EndSubscription() ABSL_LOCKS_EXCLUDED(mu_);
  bool subscribed() const ABSL_LOCKS_EXCLUDED(mu_);
  // What the worker brought last, null if nothing.
  const Policy* brought() const { return brought_.load(std::memory_order_acquire); }

  // Moves up to `most` runs, oldest first, to the end of `runs`; says whether any are left. For the
  // thread that has taken the cell from the signal.
  bool TakeRuns(size_t most, std::vector<OutcomeRun>* runs) ABSL_LOCKS_EXCLUDED(mu_);
  // Notes the cell with the signal, unless it is.
  void NoteUnsent() {
    if (!noted_.load() && !noted_.exchange(true)) around_->signal.Note(this);
  }

  Cell* next_noted = nullptr;  // The signal's.

 private:
  // The gate: flags, and above them the generation.
  static constexpr uint64_t kOpenToAll = 1;      // Calls are allowed while the cell is trusted.
  static constexpr uint64_t kSlowIsFailure = 2;  // By the policy.
  static constexpr uint64_t kSetBit = 4;         // Which of the stripes' sets counts.
  static constexpr int kFlagBits = 8;

  bool Brings(const Policy* policy) const {
    if (policy == nullptr) return true;
    const Policy* const brought = this->brought();
    return policy == brought || (brought != nullptr && *policy == *brought);
  }
  bool Trusted(SteadyTime now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return confirmed_ && now < around_->trusted_until.load(std::memory_order_relaxed);
  }
  Answer Refused(absl::Duration retry_after) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SwitchTo(State state, uint64_t generation) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SetGate() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void DrainStripes() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AppendCalls(uint64_t generation, Outcome outcome, uint64_t count, uint64_t slow_count)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AppendRun(OutcomeRun run) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool Full() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return runs_.size() >= kMaxRuns || !around_->signal.HasRoom();
  }

  // Constant after construction.
  const Key key_;
  const size_t hash_;

  // Not owned.
  Surroundings* const around_;

  // What calls read.
  std::atomic<uint64_t> gate_ = 0;
  std::atomic<const Policy*> brought_ = nullptr;
  std::atomic<std::chrono::nanoseconds> slow_after_ = std::chrono::nanoseconds::max();
  std::atomic<bool> noted_ = false;  // It is with the signal.

  OutcomeStripes stripes_;

  // Guarded by mu_, which is taken before the signal's.
  mutable server::Mutex mu_;
  // What the daemon said last.
  State state_ ABSL_GUARDED_BY(mu_) = State::kClosed;
  uint64_t generation_ ABSL_GUARDED_BY(mu_) = 0;   // 0 = unknown
  SteadyTime retry_at_ ABSL_GUARDED_BY(mu_);       // unless CLOSED
  server::PolicyPtr policy_ ABSL_GUARDED_BY(mu_);  // null = unknown
  std::optional<server::Override> override_ ABSL_GUARDED_BY(mu_);
  std::optional<SteadyTime> ramp_started_at_ ABSL_GUARDED_BY(mu_);
  // Whether it was the stream that said so, and has not been doubted since.
  bool confirmed_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t stream_ ABSL_GUARDED_BY(mu_) = 0;
  bool subscribed_ ABSL_GUARDED_BY(mu_) = false;
  bool asking_ ABSL_GUARDED_BY(mu_) = false;
  SteadyTime denied_until_ ABSL_GUARDED_BY(mu_);
  absl::InsecureBitGen random_ ABSL_GUARDED_BY(mu_);

  std::unique_ptr<LocalBreaker> local_ ABSL_GUARDED_BY(mu_);  // null = the daemon decides

  // What there is to send. The set that does not count now may still get outcomes of calls that
  // looked at the gate before it changed; they belong to the generation before.
  std::vector<OutcomeRun> runs_ ABSL_GUARDED_BY(mu_);  // oldest first
  bool set_ ABSL_GUARDED_BY(mu_) = false;              // of the stripes, the one that counts
  uint64_t previous_generation_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace breaker::internal

#endif  // BREAKER_CLIENT_CELL_H_
