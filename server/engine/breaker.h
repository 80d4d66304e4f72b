#ifndef BREAKER_ENGINE_BREAKER_H_
#define BREAKER_ENGINE_BREAKER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/engine/change.h"
#include "server/engine/clock.h"
#include "server/engine/distinct_workers.h"
#include "server/engine/key.h"
#include "server/engine/limits.h"
#include "server/engine/outcome_run.h"
#include "server/engine/permit_ids.h"
#include "server/engine/permit_table.h"
#include "server/engine/policy.h"
#include "server/engine/quorum_share.h"
#include "server/engine/sliding_window.h"
#include "server/engine/snapshot.h"
#include "server/engine/transition.h"
#include "server/engine/trip_rule.h"

namespace breaker::server {

// The answer to Acquire.
struct Decision {
  bool allowed = false;
  uint64_t permit_id = 0;  // 0 = nothing to give back
  State state = State::kClosed;
  bool probe = false;
  absl::Duration retry_after;  // when not allowed
  uint64_t generation = 0;
  bool shadow = false;  // allowed only because the policy is a shadow
};

// How a call went.
struct CallReport {
  absl::string_view worker_id;
  uint64_t permit_id = 0;  // 0 = a call made without asking
  Outcome outcome = Outcome::kSuccess;
  absl::Duration duration = absl::ZeroDuration();
  absl::string_view error = "";               // a short label
  const QuorumShare* quorum_share = nullptr;  // see DistinctWorkers::Record
};

// The numbers are those of the contract.
enum class Disposition : uint8_t { kCounted = 1, kStale = 2, kUnknownPermit = 3 };

// The answer to Report.
struct ReportResult {
  State state = State::kClosed;
  Disposition disposition = Disposition::kUnknownPermit;
  uint64_t generation = 0;  // 0 for a breaker that does not exist
};

// All there is to know about a breaker at one instant; see CircuitStats in breaker.proto.
struct BreakerStats {
  Key key;
  State state = State::kClosed;
  CallCounts window;
  std::optional<WallTime> last_failure_time;
  std::optional<WallTime> last_success_time;
  std::optional<WallTime> next_attempt_time;
  // While not CLOSED: how long until it is worth asking Acquire.
  absl::Duration retry_after;
  uint32_t consecutive_failures = 0;
  uint32_t in_flight = 0;
  uint32_t failing_workers = 0;
  uint64_t generation = 0;
  LifetimeCounts lifetime;
  PolicyPtr policy;
  PolicySource policy_source = PolicySource::kBuiltIn;
  std::optional<Override> override;
  std::vector<Transition> recent_transitions;  // newest first
  std::optional<Transition> opening;           // what opened the circuit; while it is not CLOSED
  std::string last_failure_error;
  double ramp_fraction = 1;
};

// The permits of all breakers together: their ids and how many may be out. Thread-safe.
class PermitPool {
 public:
  PermitPool(PermitEpoch epoch, int64_t max_permits) : ids_(epoch), max_(max_permits) {}

  // The id of a permit, for one more that is out; 0 past the bound, where only a probe gets one:
  // probes are few, and bounded by their policy.
  uint64_t Grant(bool probe) {
    if (out_.fetch_add(1, std::memory_order_relaxed) >= max_ && !probe) {
      Return(1);
      return 0;
    }
    return ids_.Next();
  }
  void Return(int64_t count) { out_.fetch_sub(count, std::memory_order_relaxed); }
  int64_t out() const { return out_.load(std::memory_order_relaxed); }

 private:
  PermitIds ids_;
  const int64_t max_;
  std::atomic<int64_t> out_{0};
};

// What a breaker needs from outside to decide.
struct Context {
  Instant now;
  std::mt19937_64& random;  // jitter and ramp
  PermitPool& permits;
};

// One circuit breaker: CLOSED, OPEN or HALF_OPEN, with its policy, window, permits and history. The
// whole of what it decides is in breaker.cc; what others see and keep of it in breaker_state.cc.
//
// Not thread-safe: its owner guards it. Calls that take a Context first let time take its course
// (abandoned permits, an override that expires, an OPEN time that is over), so that every answer is
// that of this instant. A change of state shows in generation() and recent transitions.
class Breaker {
 public:
  Breaker(Key key, PolicyPtr policy, PolicySource source, Instant now);

  // As it was saved, with the time since then passed. Deadlines that a changed wall clock has put
  // out of reach are cut to the longest that the policy allows. `policy` is the one in effect.
  Breaker(BreakerSnapshot snapshot, PolicyPtr policy, PolicySource source, Instant now);

  Breaker(const Breaker&) = delete;
  Breaker& operator=(const Breaker&) = delete;

  // Whether a call by this worker may be made.
  Decision Acquire(absl::string_view worker_id, const Context& context);

  // Counts a call and looks at the rules.
  ReportResult Report(const CallReport& report, const Context& context);

  // Counts calls made without permits, as if they were reported one after the other, unless the run
  // is not newer than the last one of its session. O(log count).
  RunResult ReportRun(const OutcomeRun& run, const Context& context);

  // Takes the probes that the worker holds as reported to be ignored.
  void GiveBackProbes(absl::string_view worker_id, const Context& context);

  // Lets time take its course.
  void Advance(const Context& context);

  // The earliest instant at which Advance has something to do.
  MonotonicTime NextDeadline() const;

  // Puts another policy in effect, without losing counts; another monitoring_window starts an empty
  // window, and the end of an OPEN time moves with the policy. `worker_policy` is what a worker has
  // brought last, null if none did. False if the policy in effect is what it was.
  bool SetPolicy(PolicyPtr policy, PolicySource source, PolicyPtr worker_policy,
                 const Context& context);

  // Forces the circuit until ClearOverride or the override's expiry.
  void SetOverride(Override override, const Context& context);
  void ClearOverride(const Context& context);

  // Starts anew: CLOSED, or as the override says.
  void Reset(const Context& context);

  // As of `now`, with the last `transitions` transitions; Advance first. Nothing changes but the
  // window's place in time.
  BreakerStats Stats(Instant now, size_t transitions = kMaxRecentTransitions);
  BreakerView View(Instant now) const;
  // What the constructor above takes. What time has not taken its course on yet, it does there.
  BreakerSnapshot Save(Instant now);

  const Key& key() const { return key_; }
  State state() const { return state_; }
  uint64_t generation() const { return generation_; }
  const LifetimeCounts& lifetime() const { return lifetime_; }
  // The last run of each session that was counted since that session's batches were last stored.
  // Forget those that no one will send again.
  void ForgetAppliedRuns(absl::FunctionRef<bool(const AppliedRun&)> stored);
  const PolicyPtr& worker_policy() const { return worker_policy_; }
  bool overridden() const { return override_ != nullptr; }
  size_t in_flight() const { return permits_.size(); }
  // When it was last asked or told anything, or changed its state.
  MonotonicTime last_used() const { return last_used_; }
  // Whether it can be forgotten without anyone noticing but for its counters.
  bool idle() const;

  // The last `count` transitions, oldest first; at most kMaxRecentTransitions. The first of them is
  // what opened the circuit, where there were as many since and it has not closed.
  std::vector<Transition> LastTransitions(uint64_t count) const;

 private:
  // An override in force and its end on the clock that decides.
  struct ActiveOverride {
    Override what;
    MonotonicTime deadline;
  };
  // Who failed and who was slow within the window.
  struct SeenWorkers {
    DistinctWorkers failing;
    DistinctWorkers slow;
  };

  // Every change of state goes through here.
  void TransitionTo(State to, Cause cause, std::string reason, const Context& context);
  void Open(Cause cause, std::string reason, uint32_t failed_recoveries, const Context& context);
  void Close(Cause cause, std::string reason, const Context& context);
  // To the state that the override asks for.
  void Force(Cause cause, std::string reason, const Context& context);

  // Equal outcomes in a row.
  struct Calls {
    absl::string_view worker_id;
    const QuorumShare* quorum_share;
    Outcome outcome;
    bool slow;
    bool failed;
    absl::string_view error;
  };
  // A probe that is out, and who has it.
  struct Probe {
    uint64_t permit_id;
    std::string worker_id;
  };

  Decision Grant(absl::string_view worker_id, bool probe, const Context& context);
  Decision Refuse(absl::Duration retry_after);
  // Of a CallReport or an OutcomeRun.
  template <typename Reported>
  Calls CallsOf(const Reported& reported, bool slow) const;
  // Counts `count` of them, or as many as it takes to open the circuit; returns how many.
  uint32_t CountClosed(const Calls& calls, uint32_t count, const Context& context);
  void NoteWorker(const Calls& calls);
  void Count(const Calls& calls, uint32_t count, const Context& context);
  void CountProbe(const CallReport& report, const Context& context);
  // False if the run, or a later one of its session, was counted before.
  bool IsNew(const AppliedRun& run);
  void ProbeEnded(uint64_t permit_id);
  void AbandonPermits(const Context& context);

  // What opened the circuit, while it is not CLOSED; else null.
  const Transition* Opening() const;
  absl::Duration RetryAfter(MonotonicTime now) const;
  WallTime OpenedAt(Instant now) const;
  double Ramp(MonotonicTime now) const;
  void EndRampIfOver(MonotonicTime now);
  void SetNextAttempt();
  void ForgetRunIfOld(MonotonicTime now);
  void ClearWindow();

  // What a call on a closed circuit touches stands first, together: among a million breakers each
  // cache line of it is a wait for memory.
  Key key_;
  PolicyPtr policy_;
  uint64_t generation_ = 1;
  MonotonicTime last_used_;
  MonotonicTime last_call_;
  MonotonicTime next_attempt_;  // infinitely far unless OPEN by a rule
  std::unique_ptr<ActiveOverride> override_;
  std::unique_ptr<SeenWorkers> seen_workers_;  // null until a call fails or is slow
  State state_ = State::kClosed;
  PolicySource policy_source_;
  bool ramping_ = false;  // while a recovery ramps up
  uint32_t consecutive_failures_ = 0;
  LifetimeCounts lifetime_;
  std::optional<WallTime> last_success_time_;
  PermitTable permits_;
  SlidingWindow window_;  // its ring, which most calls leave alone, is the last of it

  PolicyPtr worker_policy_;  // null = none was brought
  std::optional<WallTime> last_failure_time_;
  std::string last_failure_error_;
  std::unique_ptr<std::vector<Transition>> transitions_;  // oldest first; null until there is one
  uint32_t policy_version_ = 0;                           // grows with every change of policy
  // By session; null until there is one.
  std::unique_ptr<absl::flat_hash_map<uint64_t, BatchPosition>> applied_;

  // While OPEN.
  MonotonicTime opened_at_;
  WallTime opened_at_wall_;
  double jitter_draw_ = 0;
  // While HALF_OPEN.
  std::vector<Probe> probes_;  // in flight
  uint32_t probe_successes_ = 0;
  // While a recovery ramps up.
  MonotonicTime ramp_started_at_;

  uint32_t failed_recoveries_ = 0;
};

}  // namespace breaker::server

#endif  // BREAKER_ENGINE_BREAKER_H_
