#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "server/engine/breaker.h"
#include "server/engine/recovery.h"
#include "tests/support/simulated_clock.h"

// Drives a Breaker at random and compares every answer with a model that keeps every call it was
// ever told of and looks through all of them each time. BREAKER_MODEL_SEED=n replays one seed.
namespace breaker::server {
namespace {

constexpr int kSeeds = 400;
constexpr int kStepsPerSeed = 1500;
constexpr int64_t kBuckets = 20;

// How a breaker behaves, told as naively as it can be. Instants are nanoseconds of one clock, that
// never jumps. What is drawn at random (jitter, ramp, permit ids) is taken from the breaker.
struct Model {
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
  // Whether the breaker drew a jitter that the model has to be told.
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

// One seed's breaker and model, side by side.
class Pair {
 public:
  explicit Pair(uint64_t seed) : random_(seed), breaker_random_(seed + 1) {
    model_.policy = RandomPolicy();
    breaker_ = std::make_unique<Breaker>(Key("s", "o"), Shared(model_.policy),
                                         PolicySource::kOperator, clock_.Now());
    model_.last_call = Now();
  }

  void Step() {
    const uint64_t generation = breaker_->generation();
    Wait();
    model_.PassTo(Now());
    switch (Below(40)) {
      case 0:
        SetPolicy();
        break;
      case 1:
        if (Below(3) == 0) SetOverride();
        break;
      case 2:
        ClearOverride();
        break;
      case 3:
        if (Below(3) == 0) Reset();
        break;
      case 4:
        Restart();
        break;
      case 5:
        break;  // only time passes
      default:
        Below(2) == 0 ? Acquire() : Report();
    }
    Compare();
    if (::testing::Test::HasFailure()) return;
    // A generation for each transition, and a transition for each generation.
    const std::vector<Transition> transitions =
        breaker_->LastTransitions(breaker_->generation() - generation);
    for (size_t i = 0; i < transitions.size(); ++i) {
      ASSERT_EQ(transitions[i].generation, generation + 1 + i);
    }
  }

 private:
  uint64_t Below(uint64_t bound) { return random_() % bound; }
  template <typename T>
  T OneOf(std::initializer_list<T> choices) {
    return choices.begin()[Below(choices.size())];
  }
  int64_t Now() const { return clock_.Now().mono.nanos(); }
  Context context() { return Context{clock_.Now(), breaker_random_, *pool_}; }
  static PolicyPtr Shared(const Policy& policy) { return std::make_shared<const Policy>(policy); }

  Policy RandomPolicy() {
    Policy p;
    p.failure_threshold = OneOf({0u, 1u, 2u, 3u, 5u});
    p.failure_counting = OneOf({FailureCounting::kConsecutive, FailureCounting::kWindowed});
    p.failure_rate_threshold = OneOf({0.0, 0.0, 0.3, 0.5, 1.0});
    p.slow_call_rate_threshold = OneOf({0.0, 0.0, 0.4, 1.0});
    p.slow_calls_are_failures = Below(4) == 0;
    p.minimum_request_count = OneOf({0u, 1u, 3u, 6u});
    p.minimum_failing_workers = OneOf({0u, 1u, 1u, 2u, 3u});
    p.monitoring_window = OneOf({absl::Seconds(20), absl::Seconds(10), absl::Milliseconds(1)});
    p.recovery_timeout = OneOf({absl::Milliseconds(1), absl::Seconds(3), absl::Seconds(10)});
    p.max_recovery_timeout = OneOf({absl::Seconds(1), absl::Seconds(30)});
    p.recovery_backoff_multiplier = OneOf({1.0, 1.5, 2.0});
    p.recovery_jitter = OneOf({0.0, 0.0, 0.25});
    p.recovery_ramp = OneOf({absl::ZeroDuration(), absl::Seconds(5)});
    p.half_open_max_probes = OneOf({1u, 1u, 2u, 4u});
    p.half_open_success_threshold = OneOf({1u, 2u, 3u});
    p.permit_timeout = OneOf({absl::Seconds(2), absl::Seconds(30)});
    p.shadow = Below(6) == 0;
    return p;
  }

  // Mostly a while, often to exactly the next deadline or a nanosecond before it, at times to the
  // edge of a bucket.
  void Wait() {
    const absl::Duration bucket = model_.policy.monitoring_window / kBuckets;
    const MonotonicTime deadline = breaker_->NextDeadline();
    const absl::Duration left = deadline - clock_.Now().mono;
    switch (Below(12)) {
      case 0:
        if (deadline < MonotonicTime::InfiniteFuture()) clock_.Advance(left);
        return;
      case 1:
        if (deadline < MonotonicTime::InfiniteFuture() && left > absl::ZeroDuration()) {
          clock_.Advance(left - absl::Nanoseconds(1));
        }
        return;
      case 2:
        return clock_.Advance(bucket);
      case 3:
        return clock_.Advance(bucket * static_cast<int64_t>(Below(25)));
      case 4:
        return clock_.Advance(absl::Nanoseconds(1));
      case 5:
        return clock_.Advance(absl::Milliseconds(Below(3000)));
      case 6:
      case 7:
        return clock_.Advance(absl::Microseconds(Below(100)));
      default:
        return;
    }
  }

  void Acquire() {
    const std::optional<bool> admits = model_.Admits();
    const bool would_probe = model_.state == State::kHalfOpen;
    const Decision decision = breaker_->Acquire(context());
    const bool admitted = decision.allowed && !decision.shadow;
    if (admits.has_value()) {
      ASSERT_EQ(admitted, *admits);
    }
    ASSERT_EQ(decision.state, model_.state);
    ASSERT_EQ(decision.generation, model_.generation);
    if (!admitted) {
      ++model_.lifetime.rejected;
      ASSERT_EQ(decision.permit_id, 0u);
      ASSERT_FALSE(decision.probe);
      ASSERT_EQ(decision.shadow, model_.policy.shadow && !model_.forced.has_value());
      ASSERT_EQ(decision.retry_after > absl::ZeroDuration(), !decision.shadow);
      if (!decision.shadow && model_.state == State::kOpen && !model_.forced.has_value()) {
        ASSERT_EQ(decision.retry_after, absl::Nanoseconds(model_.OpenUntil() - Now()));
      }
      return;
    }
    ASSERT_NE(decision.permit_id, 0u);
    ASSERT_TRUE(ever_granted_.insert(decision.permit_id).second);
    ASSERT_EQ(decision.probe, would_probe);
    model_.permits[decision.permit_id] = {Now(), model_.generation, decision.probe};
    ids_.push_back(decision.permit_id);
  }

  void Report() {
    CallReport report;
    switch (Below(10)) {
      case 0:
        report.permit_id = 0;
        break;
      case 1:
        report.permit_id = random_();  // never granted
        break;
      default:
        // Of all that were granted lately: out, late, abandoned, reported or of an earlier run.
        if (!ids_.empty()) {
          report.permit_id = ids_[ids_.size() - 1 - Below(std::min<size_t>(ids_.size(), 6))];
        }
    }
    const std::string worker = absl::StrCat("w", Below(4));
    report.worker_id = worker;
    report.outcome = OneOf({Outcome::kSuccess, Outcome::kSuccess, Outcome::kFailure,
                            Outcome::kFailure, Outcome::kFailure, Outcome::kIgnored});
    report.duration = OneOf({absl::Milliseconds(1), absl::Seconds(1),
                             absl::Seconds(1) + absl::Nanoseconds(1), absl::Seconds(2)});
    const uint64_t before = model_.generation;

    const Disposition expected = model_.Report(report, Now());
    const ReportResult result = breaker_->Report(report, context());

    ASSERT_EQ(result.disposition, expected);
    ASSERT_EQ(result.state, model_.state);
    ASSERT_EQ(result.generation, model_.generation);
    if (expected != Disposition::kCounted) {
      ASSERT_EQ(result.generation, before);
    }
  }

  void SetPolicy() {
    Policy policy = RandomPolicy();
    if (Below(2) == 0) policy.monitoring_window = model_.policy.monitoring_window;
    model_.SetPolicy(policy);
    breaker_->SetPolicy(Shared(policy), PolicySource::kOperator, nullptr, context());
    breaker_->Advance(context());
    model_.PassTo(Now());
  }

  void SetOverride() {
    Override override;
    override.mode = OneOf({Override::Mode::kForcedOpen, Override::Mode::kForcedClosed});
    model_.forced = override.mode;
    model_.forced_until.reset();
    if (Below(2) == 0) {
      const absl::Duration ttl = absl::Milliseconds(1 + Below(10'000));
      override.expires_at = clock_.Now().wall + ttl;
      model_.forced_until = Now() + absl::ToInt64Nanoseconds(ttl);
    }
    model_.ToForced(Cause::kOverrideSet, Now());
    breaker_->SetOverride(override, context());
  }
  void ClearOverride() {
    if (model_.forced.has_value()) {
      model_.forced.reset();
      model_.Close(Cause::kOverrideCleared, Now());
    }
    breaker_->ClearOverride(context());
  }
  void Reset() {
    model_.ToForced(Cause::kReset, Now());
    breaker_->Reset(context());
  }

  // Nothing is lost but the permits.
  void Restart() {
    breaker_->Advance(context());
    BreakerSnapshot saved = breaker_->Save(clock_.Now());
    // An empty window forgets where its buckets began.
    if (model_.Window(Now()).empty()) model_.EmptyWindow();
    if (Below(2) == 0) clock_.Advance(absl::Milliseconds(Below(5000)));
    pool_ = std::make_unique<PermitPool>(PermitEpoch{7, ++epoch_}, 1'000'000);
    breaker_ = std::make_unique<Breaker>(std::move(saved), Shared(model_.policy),
                                         PolicySource::kOperator, clock_.Now());
    model_.permits.clear();
    model_.PassTo(Now());
  }

  void Compare() {
    breaker_->Advance(context());
    if (std::exchange(model_.drew_jitter, false)) {
      model_.jitter_draw = breaker_->Save(clock_.Now()).jitter_draw;
    }
    model_.PassTo(Now());
    const BreakerStats stats = breaker_->Stats(clock_.Now());
    ASSERT_EQ(stats.state, model_.state);
    ASSERT_EQ(stats.generation, model_.generation);
    ASSERT_EQ(stats.override.has_value(), model_.forced.has_value());
    if (model_.generation > 1) {
      ASSERT_EQ(stats.recent_transitions.at(0).cause, model_.cause);
    }
    CallCounts window;
    std::set<std::string> failing;
    for (const Model::Call& call : model_.Window(Now())) {
      ++(call.failed ? window.failures : window.successes);
      window.slow += call.slow ? 1 : 0;
      if (call.failed) failing.insert(call.worker);
    }
    ASSERT_EQ(stats.window, window);
    ASSERT_EQ(stats.failing_workers, failing.size());
    ASSERT_EQ(stats.consecutive_failures, model_.run);
    ASSERT_EQ(stats.in_flight, model_.permits.size());
    ASSERT_EQ(pool_->out(), static_cast<int64_t>(model_.permits.size()));
    ASSERT_EQ(stats.lifetime, model_.lifetime);
    ASSERT_EQ(stats.ramp_fraction < 1, model_.ramp_from.has_value());
    const bool waiting = model_.state == State::kOpen && !model_.forced.has_value();
    ASSERT_EQ(stats.next_attempt_time.has_value(), waiting);
    if (waiting) {
      ASSERT_EQ(*stats.next_attempt_time - clock_.Now().wall,
                absl::Nanoseconds(model_.OpenUntil() - Now()));
    }
    ASSERT_GT(breaker_->NextDeadline(), clock_.Now().mono);
  }

  std::mt19937_64 random_;          // of what is done
  std::mt19937_64 breaker_random_;  // of the breaker
  SimulatedClock clock_;
  uint32_t epoch_ = 1;
  std::unique_ptr<PermitPool> pool_ = std::make_unique<PermitPool>(PermitEpoch{7, 1}, 1'000'000);
  std::unique_ptr<Breaker> breaker_;
  Model model_;
  std::vector<uint64_t> ids_;  // of permits, in order of grant
  std::set<uint64_t> ever_granted_;
};

TEST(BreakerModelTest, DoesWhatTheNaiveModelDoes) {
  uint64_t first = 1;
  uint64_t last = kSeeds;
  if (const char* replay = std::getenv("BREAKER_MODEL_SEED")) {
    ASSERT_TRUE(absl::SimpleAtoi(replay, &first));
    last = first;
  }
  for (uint64_t seed = first; seed <= last; ++seed) {
    Pair pair(seed);
    for (int step = 0; step < kStepsPerSeed; ++step) {
      pair.Step();
      if (HasFailure()) {
        FAIL() << "at step " << step << "; replay with BREAKER_MODEL_SEED=" << seed;
      }
    }
  }
}

}  // namespace
}  // namespace breaker::server
