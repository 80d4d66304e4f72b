#include "client/cpp/src/local_breaker.h"

#include <utility>

namespace breaker::internal {
namespace {

// Permits that may be out at once; past it they have no id, and calls count all the same.
constexpr int64_t kMaxPermits = 1024;

uint64_t RandomNumber() {
  std::random_device random;
  return (uint64_t{random()} << 32) | random();
}

server::BreakerSnapshot StartOf(const Key& key, const server::Policy& policy,
                                LocalBreaker::Start start, server::Instant now) {
  server::BreakerSnapshot snapshot;
  snapshot.key = server::Key(key.service, key.operation);
  if (start == LocalBreaker::Start::kHalfOpen) {
    // An OPEN time that is just over: the first call finds it HALF_OPEN.
    snapshot.state = server::State::kOpen;
    snapshot.opened_at = now.wall - policy.recovery_timeout * (1 + policy.recovery_jitter);
  }
  return snapshot;
}

}  // namespace

LocalBreaker::LocalBreaker(const Key& key, server::PolicyPtr policy, Start start,
                           const std::optional<server::Override>& override, server::Instant now)
    : random_(RandomNumber()),
      permits_({.secret = random_(), .number = 0}, kMaxPermits),
      breaker_(StartOf(key, *policy, start, now), policy, server::PolicySource::kWorker, now) {
  if (override.has_value()) breaker_.SetOverride(*override, At(now));
}

server::Decision LocalBreaker::Acquire(absl::string_view worker_id, server::Instant now) {
  return breaker_.Acquire(worker_id, At(now));
}

void LocalBreaker::Report(const server::CallReport& report, server::Instant now) {
  breaker_.Report(report, At(now));
}

}  // namespace breaker::internal
