#ifndef BREAKER_TESTS_BENCH_CLIENTS_H_
#define BREAKER_TESTS_BENCH_CLIENTS_H_

#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "breaker/client.h"
#include "tests/bench/die.h"

namespace breaker::bench {

// A policy under which nothing opens by chance and nothing recovers during a benchmark.
inline Policy BenchPolicy() {
  return {.failure_threshold = 5,
          .recovery_timeout = absl::Hours(1),
          .monitoring_window = absl::Seconds(60),
          .minimum_request_count = 5};
}

// One that decides by itself. A busy daemon gets its time to answer: a benchmark is about calls
// that were decided, not about what becomes of others.
inline ClientOptions CachedClient(const std::string& target,
                                  const std::string& worker_id = "worker-1") {
  return {.target = target,
          .worker_id = worker_id,
          .rpc_timeout = absl::Seconds(10),
          .policy = BenchPolicy()};
}

// One that asks the daemon at each call.
inline ClientOptions RemoteClient(const std::string& target) {
  ClientOptions options = CachedClient(target);
  options.mode = Mode::kRemote;
  return options;
}

// A permit for a call that the daemon, or what is known of it, allows; else ends the benchmark.
inline Permit MustAcquire(Client& client, const Key& key) {
  absl::StatusOr<Permit> permit = client.Acquire(key);
  if (!permit.ok()) Die(permit.status().ToString());
  if (!permit->allowed()) Die("a call was refused");
  if (permit->daemon_unavailable()) Die("the daemon did not answer");
  return *std::move(permit);
}

// Calls until the client decides by itself.
inline void WarmUp(Client& client, const Key& key) {
  constexpr int kCalls = 100;
  constexpr absl::Duration kLocalCall = absl::Microseconds(10);
  const absl::Time deadline = absl::Now() + absl::Seconds(10);
  while (true) {
    const absl::Time start = absl::Now();
    for (int i = 0; i < kCalls; ++i) MustAcquire(client, key).Success();
    if (absl::Now() - start < kCalls * kLocalCall) return;
    if (absl::Now() > deadline) Die("the client does not get to decide by itself");
  }
}

}  // namespace breaker::bench

#endif  // BREAKER_TESTS_BENCH_CLIENTS_H_
