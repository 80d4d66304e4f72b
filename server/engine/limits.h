#ifndef BREAKER_ENGINE_LIMITS_H_
#define BREAKER_ENGINE_LIMITS_H_

#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"

namespace breaker::server {

// Bounds on everything that a client can make grow. Those that an operator may want to move are
// flags; these are part of the contract.

inline constexpr size_t kMaxNameBytes = 128;  // service, operation
inline constexpr size_t kMaxWorkerIdBytes = 128;
inline constexpr size_t kMaxNoteBytes = 256;       // reason and actor of an override
inline constexpr size_t kMaxErrorLabelBytes = 64;  // longer ones are cut

inline constexpr uint32_t kMaxProbes = 1000;          // half_open_max_probes
inline constexpr uint32_t kMaxTrackedWorkers = 1000;  // distinct workers of one window
inline constexpr double kMaxBackoffMultiplier = 1000;
inline constexpr size_t kMaxRecentTransitions = 16;
inline constexpr size_t kMaxRunsPerBatch = 10'000;
// Sessions of which a breaker knows what it has counted, between two snapshots. Past that a batch
// that is sent again after a crash may count twice.
inline constexpr size_t kMaxAppliedRuns = 10'000;

inline constexpr absl::Duration kMaxOverrideTtl = absl::Hours(24 * 365);

// Of every duration in a policy.
inline constexpr absl::Duration kMaxPolicyDuration = absl::Hours(24 * 365);

}  // namespace breaker::server

#endif  // BREAKER_ENGINE_LIMITS_H_
