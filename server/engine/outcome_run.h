#ifndef BREAKER_ENGINE_OUTCOME_RUN_H_
#define BREAKER_ENGINE_OUTCOME_RUN_H_

#include <cstdint>
#include <limits>

#include "absl/strings/string_view.h"
#include "server/engine/key.h"
#include "server/engine/quorum_share.h"
#include "server/engine/transition.h"

namespace breaker::server {

// One run's place in the order of all that a session has sent: the number of its batch, and its
// place in that.
class BatchPosition {
 public:
  static constexpr uint64_t kMaxRuns = 1 << 14;  // of one batch
  static constexpr uint64_t kMaxSequence = std::numeric_limits<uint64_t>::max() >> 14;

  constexpr BatchPosition() = default;
  constexpr BatchPosition(uint64_t sequence, uint64_t run) : value_(sequence * kMaxRuns + run) {}
  static constexpr BatchPosition FromValue(uint64_t value) {
    BatchPosition position;
    position.value_ = value;
    return position;
  }

  constexpr uint64_t value() const { return value_; }
  constexpr uint64_t sequence() const { return value_ / kMaxRuns; }

  friend constexpr auto operator<=>(BatchPosition, BatchPosition) = default;

 private:
  uint64_t value_ = 0;
};

// Which run a session has last had counted by a breaker.
struct AppliedRun {
  uint64_t session = 0;
  BatchPosition position;

  friend bool operator==(const AppliedRun&, const AppliedRun&) = default;
};

// Which batch of which session.
struct BatchId {
  uint64_t session = 0;
  uint64_t sequence = 0;
  // The one that must have been applied before it; 0 = none.
  uint64_t previous = 0;
};

// `count` equal outcomes of calls without permits, in a row. The slow ones come last.
struct OutcomeRun {
  absl::string_view worker_id;
  uint64_t generation = 0;  // in which they were admitted; 0 = whatever it was
  Outcome outcome = Outcome::kSuccess;
  uint32_t count = 1;
  uint32_t slow_count = 0;
  absl::string_view error = "";               // a short label
  AppliedRun run;                             // whose it is
  const QuorumShare* quorum_share = nullptr;  // see DistinctWorkers::Record
};

// What became of them. Neither, where the run was counted before.
struct RunResult {
  uint32_t counted = 0;
  uint32_t stale = 0;
};

// A run and which breaker it is of.
struct KeyedRun {
  KeyedRun(const KeyView& of, const OutcomeRun& outcomes) : key(of), run(outcomes) {}

  HashedKey key;
  OutcomeRun run;
};

// What became of a whole batch.
struct BatchResult {
  uint64_t counted = 0;
  uint64_t stale = 0;
  bool duplicate = false;
  uint64_t stored_sequence = 0;  // all of the session up to here outlive this process
};

}  // namespace breaker::server

#endif  // BREAKER_ENGINE_OUTCOME_RUN_H_
