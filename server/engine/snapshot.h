#ifndef BREAKER_ENGINE_SNAPSHOT_H_
#define BREAKER_ENGINE_SNAPSHOT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "server/engine/clock.h"
#include "server/engine/key.h"
#include "server/engine/outcome_run.h"
#include "server/engine/policy.h"
#include "server/engine/sliding_window.h"
#include "server/engine/transition.h"

namespace breaker::server {

// Counts since a breaker was created, across restarts. See breaker.proto.
struct LifetimeCounts {
  uint64_t successes = 0;
  uint64_t failures = 0;
  uint64_t rejected = 0;
  uint64_t ignored = 0;
  uint64_t abandoned = 0;
  uint64_t stale = 0;
  uint64_t times_opened = 0;

  friend bool operator==(const LifetimeCounts&, const LifetimeCounts&) = default;
};

// What was counted between two looks. A breaker that was deleted and made again in between may have
// counted less in all; then all of that.
inline LifetimeCounts Since(const LifetimeCounts& before, const LifetimeCounts& now) {
  LifetimeCounts since;
  for (const auto count :
       {&LifetimeCounts::successes, &LifetimeCounts::failures, &LifetimeCounts::rejected,
        &LifetimeCounts::ignored, &LifetimeCounts::abandoned, &LifetimeCounts::stale,
        &LifetimeCounts::times_opened}) {
    if (now.*count < before.*count) return now;
    since.*count = now.*count - before.*count;
  }
  return since;
}

// An operator's hand on a breaker. The numbers are those of the contract and of stored records.
struct Override {
  enum class Mode : uint8_t { kForcedOpen = 1, kForcedClosed = 2 };

  Mode mode = Mode::kForcedOpen;
  std::string reason;
  std::string actor;
  std::optional<WallTime> expires_at;  // nullopt = never

  friend bool operator==(const Override&, const Override&) = default;
};

// As in the wire contract: "FORCED_OPEN".
inline const char* Name(Override::Mode mode) {
  return mode == Override::Mode::kForcedOpen ? "FORCED_OPEN" : "FORCED_CLOSED";
}

// All of a breaker that outlives a restart. Instants are wall-clock time; permits are not part of
// it, for none outlives the daemon that granted it.
struct BreakerSnapshot {
  // Calls of one bucket of the window, and when that began.
  struct WindowBucket {
    WallTime start;
    CallCounts counts;
    friend bool operator==(const WindowBucket&, const WindowBucket&) = default;
  };
  // A worker that failed or was slow within the window, and about when it last did.
  struct SeenWorker {
    std::string worker_id;
    WallTime time;
    friend bool operator==(const SeenWorker&, const SeenWorker&) = default;
  };

  Key key;
  State state = State::kClosed;
  uint64_t generation = 1;
  LifetimeCounts lifetime;
  std::optional<WallTime> last_failure_time;
  std::optional<WallTime> last_success_time;
  std::string last_failure_error;
  std::vector<Transition> transitions;  // oldest first

  std::optional<Policy> worker_policy;  // nullopt = no worker brought one
  std::optional<Override> override;

  // The window, meaningful under the monitoring_window that it was counted with.
  absl::Duration monitoring_window;
  std::vector<WindowBucket> window;  // oldest first
  uint32_t consecutive_failures = 0;
  std::optional<WallTime> last_call_time;   // while there is such a run
  std::vector<SeenWorker> failing_workers;  // oldest first, as slow_workers
  std::vector<SeenWorker> slow_workers;

  // While OPEN by a rule; with the policy they give next_attempt_time.
  std::optional<WallTime> opened_at;
  double jitter_draw = 0;
  // Since the circuit was last CLOSED and out of its ramp.
  uint32_t failed_recoveries = 0;
  // While HALF_OPEN.
  uint32_t probe_successes = 0;
  // While a recovery ramps up.
  std::optional<WallTime> ramp_started_at;

  // The last run of each session that it has counted, as far as they are still of use; by session.
  std::vector<AppliedRun> applied_runs;

  friend bool operator==(const BreakerSnapshot&, const BreakerSnapshot&) = default;
};

}  // namespace breaker::server

#endif  // BREAKER_ENGINE_SNAPSHOT_H_
