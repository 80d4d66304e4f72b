#ifndef BREAKER_RPC_LIMIT_REFUSALS_H_
#define BREAKER_RPC_LIMIT_REFUSALS_H_

#include <prometheus/counter.h>
#include <prometheus/registry.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/engine/clock.h"

namespace breaker::server {

// What of a client's doing is bounded, and counted where it is refused.
enum class Limit {
  kConnections,
  kWatchesPerConnection,
  kSubscriptions,
  kNewBreakersPerMinute,
  kBreakersOfOneSource,
  kWorkersOfOneIdentity,
  kStreamsPerConnection,
};
inline constexpr size_t kLimits = 7;

// What was refused because of limits: as a metric, and in the log, where a limit has a line at most
// once a minute however often it is met. Thread-safe.
class LimitRefusals {
 public:
  static constexpr absl::Duration kLogInterval = absl::Minutes(1);

  // Neither is owned; both must outlive this.
  LimitRefusals(prometheus::Registry* registry, const Clock* clock);

  LimitRefusals(const LimitRefusals&) = delete;
  LimitRefusals& operator=(const LimitRefusals&) = delete;

  // Counts a refusal. `why` names the limit, its number and its flag.
  void Count(Limit limit, absl::string_view why);
  // The same, and gives the status for the client.
  absl::Status Refuse(Limit limit, absl::string_view why);

 private:
  struct OfLimit {
    prometheus::Counter* refusals = nullptr;
    std::atomic<int64_t> next_line{0};  // MonotonicTime
    std::atomic<int64_t> since_line{0};
  };

  const Clock* const clock_;
  std::array<OfLimit, kLimits> limits_;
};

}  // namespace breaker::server

#endif  // BREAKER_RPC_LIMIT_REFUSALS_H_
