#ifndef BREAKER_CLIENT_LOCAL_BREAKER_H_
#define BREAKER_CLIENT_LOCAL_BREAKER_H_

#include <optional>
#include <random>

#include "absl/strings/string_view.h"
#include "breaker/client.h"
#include "server/engine/breaker.h"

namespace breaker::internal {

// Stands in for the daemon's breaker while the daemon is away: the same engine, for one worker's
// calls alone. Its permits mean nothing to another one, nor to the daemon. Not thread-safe.
class LocalBreaker {
 public:
  // Whether the circuit is CLOSED at first, or HALF_OPEN.
  enum class Start { kClosed, kHalfOpen };

  LocalBreaker(const Key& key, server::PolicyPtr policy, Start start,
               const std::optional<server::Override>& override, server::Instant now);

  server::Decision Acquire(absl::string_view worker_id, server::Instant now);
  void Report(const server::CallReport& report, server::Instant now);

 private:
  server::Context At(server::Instant now) { return {now, random_, permits_}; }

  std::mt19937_64 random_;
  server::PermitPool permits_;
  server::Breaker breaker_;
};

}  // namespace breaker::internal

#endif  // BREAKER_CLIENT_LOCAL_BREAKER_H_
