#ifndef BREAKER_TESTS_MODEL_BREAKER_MODEL_H_
#define BREAKER_TESTS_MODEL_BREAKER_MODEL_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/engine/breaker.h"
#include "server/engine/recovery.h"

namespace breaker::server {

// How a breaker behaves, told as naively as it can be. Instants are nanoseconds of one clock, that
// never jumps. What is drawn at random (jitter, ramp, permit ids) is taken from the breaker.
struct BreakerModel {
  static constexpr int64_t kBuckets = 20;

  struct Call {
    int64_t time;
    std::string worker;
    bool failed;
    bool slow;
  };
  struct PermitOut {
    int64_t granted_at;
    uint64_t generation;
    bool probe;
  };

  Policy policy;
  State state = State::kClosed;
  uint64_t generation = 1;
  std::vector<Call> calls;             // since the window was last emptied
  std::optional<int64_t> window_from;  // its buckets begin at the first call after that
  uint32_t run = 0;
  int64_t last_call = 0;
  std::map<uint64_t, PermitOut> permits;
  LifetimeCounts lifetime;
  int64_t opened_at = 0;
  uint32_t failed_recoveries = 0;
  double jitter_draw = 0;
  uint32_t probe_successes = 0;
  std::optional<int64_t> ramp_from;
  std::optional<Override::Mode> forced;
  std::optional<int64_t> forced_until;
  Cause cause = Cause::kReset;  // of the last transition
  // Whether it opened, and so has to be told what jitter the breaker drew.
  bool drew_jitter = false;

  static int64_t Nanos(absl::Duration d) { return absl::ToInt64Nanoseconds(d); }

  int64_t OpenUntil() const {
    return opened_at + Nanos(OpenTime(policy, failed_recoveries, jitter_draw));
  }
  int64_t BucketOf(int64_t time) const {
    return (time - *window_from) / (Nanos(policy.monitoring_window) / kBuckets);
  }
  std::vector<Call> Window(int64_t now) const {
    std::vector<Call> window;
    for (const Call& call : calls) {
      if (BucketOf(now) - BucketOf(call.time) < kBuckets) window.push_back(call);
    }
    return window;
  }
  uint32_t ProbesInFlight() const {
    uint32_t probes = 0;
    for (const auto& [id, permit] : permits) {
      if (permit.probe && permit.generation == generation) ++probes;
    }
    return probes;
  }

  void EmptyWindow() {
    calls.clear();
    window_from.reset();
  }
  void To(State to, Cause why) {
    if (to == State::kOpen && state != State::kOpen) ++lifetime.times_opened;
    state = to;
    cause = why;
    ++generation;
    probe_successes = 0;
    ramp_from.reset();
  }
  void Open(Cause why, uint32_t failed, int64_t now) {
    To(State::kOpen, why);
    opened_at = now;
    failed_recoveries = failed;
    drew_jitter = true;
  }
  void Close(Cause why, int64_t now) {
    To(State::kClosed, why);
    EmptyWindow();
    run = 0;
    if (why == Cause::kProbeSucceeded && policy.recovery_ramp > absl::ZeroDuration()) {
      ramp_from = now;
    } else {
      failed_recoveries = 0;
    }
  }

  void PassTo(int64_t now) {
    for (auto it = permits.begin(); it != permits.end();) {
      if (now >= it->second.granted_at + Nanos(policy.permit_timeout)) {
        ++lifetime.abandoned;
        it = permits.erase(it);
      } else {
        ++it;
      }
    }
    if (forced.has_value() && forced_until.has_value() && now >= *forced_until) {
      forced.reset();
      Close(Cause::kOverrideCleared, now);
    }
    if (state == State::kOpen && !forced.has_value() && now >= OpenUntil()) {
      To(State::kHalfOpen, Cause::kRecoveryTimeoutElapsed);
    }
    if (ramp_from.has_value() && now >= *ramp_from + Nanos(policy.recovery_ramp)) {
      ramp_from.reset();
      failed_recoveries = 0;
    }
    if (now - last_call >= Nanos(policy.monitoring_window)) run = 0;
  }

  // Whether Acquire is admitted; nullopt = a ramp leaves it to chance.
  std::optional<bool> Admits() const {
    switch (state) {
      case State::kClosed:
        return ramp_from.has_value() ? std::nullopt : std::optional<bool>(true);
      case State::kOpen:
        return false;
      case State::kHalfOpen:
        return ProbesInFlight() < policy.half_open_max_probes;
    }
    return std::nullopt;
  }

  std::optional<Cause> RuleThatHolds(int64_t now) const {
    const std::vector<Call> window = Window(now);
    uint32_t failures = 0;
    uint32_t slow = 0;
    std::set<std::string> failing;
    std::set<std::string> slow_ones;
    for (const Call& call : window) {
      if (call.failed) ++failures, failing.insert(call.worker);
      if (call.slow) ++slow, slow_ones.insert(call.worker);
    }
    const double total = static_cast<double>(window.size());
    if (!ramp_from.has_value() && window.size() < policy.minimum_request_count) return {};
    if (failing.size() >= policy.minimum_failing_workers) {
      if (policy.failure_threshold > 0) {
        if (policy.failure_counting == FailureCounting::kConsecutive &&
            run >= policy.failure_threshold) {
          return Cause::kConsecutiveFailures;
        }
        if (policy.failure_counting == FailureCounting::kWindowed &&
            failures >= policy.failure_threshold) {
          return Cause::kFailuresInWindow;
        }
      }
      if (policy.failure_rate_threshold > 0 && failures / total >= policy.failure_rate_threshold) {
        return Cause::kFailureRate;
      }
    }
    if (policy.slow_call_rate_threshold > 0 && slow / total >= policy.slow_call_rate_threshold &&
        slow_ones.size() >= policy.minimum_failing_workers) {
      return Cause::kSlowCallRate;
    }
    return {};
  }

  Disposition Report(const CallReport& report, int64_t now) {
    bool stale = state != State::kClosed;
    if (report.permit_id != 0) {
      const auto permit = permits.find(report.permit_id);
      if (permit == permits.end()) return Disposition::kUnknownPermit;
      stale = permit->second.generation != generation;
      permits.erase(permit);
    }
    if (stale) {
      ++lifetime.stale;
      return Disposition::kStale;
    }
    if (report.outcome == Outcome::kIgnored) {
      ++lifetime.ignored;
      return Disposition::kCounted;
    }
    const bool slow = report.duration > policy.expected_response_time;
    const bool failed =
        report.outcome == Outcome::kFailure || (slow && policy.slow_calls_are_failures);
    if (!window_from.has_value()) window_from = now;
    calls.push_back({now, std::string(report.worker_id), failed, slow});
    last_call = now;
    run = failed ? run + 1 : 0;
    ++(failed ? lifetime.failures : lifetime.successes);
    if (state == State::kHalfOpen) {
      if (failed) {
        Open(Cause::kProbeFailed, failed_recoveries + 1, now);
      } else if (++probe_successes >= policy.half_open_success_threshold) {
        Close(Cause::kProbeSucceeded, now);
      }
    } else if (!forced.has_value()) {
      if (const std::optional<Cause> rule = RuleThatHolds(now)) {
        Open(*rule, ramp_from.has_value() ? failed_recoveries + 1 : 0, now);
      }
    }
    return Disposition::kCounted;
  }

  // One call after the other; how many were counted.
  uint32_t ReportRun(const OutcomeRun& outcomes, int64_t now) {
    uint32_t counted = 0;
    for (uint32_t i = 0; i < outcomes.count; ++i) {
      if (outcomes.generation != 0 && outcomes.generation != generation) {
        ++lifetime.stale;
        continue;
      }
      CallReport report;
      report.worker_id = outcomes.worker_id;
      report.outcome = outcomes.outcome;
      const bool slow = i >= outcomes.count - outcomes.slow_count;
      report.duration = policy.expected_response_time + absl::Nanoseconds(slow ? 1 : 0);
      if (Report(report, now) == Disposition::kCounted) ++counted;
    }
    return counted;
  }

  void SetPolicy(const Policy& to) {
    if (to.monitoring_window != policy.monitoring_window) EmptyWindow();
    policy = to;
  }
  void ToForced(Cause why, int64_t now) {
    if (forced == Override::Mode::kForcedOpen) {
      To(State::kOpen, why);
      EmptyWindow();
      run = 0;
      failed_recoveries = 0;
    } else {
      Close(why, now);
    }
  }
};

}  // namespace breaker::server

#endif  // BREAKER_TESTS_MODEL_BREAKER_MODEL_H_
