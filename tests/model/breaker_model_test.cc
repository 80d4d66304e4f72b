#include "tests/model/breaker_model.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
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
#include "tests/support/simulated_clock.h"

// Drives a Breaker at random and compares every answer with a model that keeps every call it was
// ever told of and looks through all of them each time. BREAKER_MODEL_SEED=n replays one seed.
namespace breaker::server {
namespace {

constexpr int kSeeds = 400;
constexpr int kStepsPerSeed = 1500;

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
      case 6:
      case 7:
      case 8:
      case 9:
        ReportRun();
        break;
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
    const absl::Duration bucket = model_.policy.monitoring_window / BreakerModel::kBuckets;
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
    const Decision decision = breaker_->Acquire("w1", context());
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

  void ReportRun() {
    const std::string worker = absl::StrCat("w", Below(4));
    OutcomeRun run;
    run.worker_id = worker;
    run.generation =
        OneOf({uint64_t{0}, model_.generation, model_.generation, model_.generation - 1});
    run.outcome = OneOf({Outcome::kSuccess, Outcome::kFailure, Outcome::kIgnored});
    run.count = OneOf({1u, 2u, 5u, 9u, 30u});
    run.slow_count = Below(2) == 0 ? 0 : static_cast<uint32_t>(Below(run.count + 1));

    const uint32_t expected = model_.ReportRun(run, Now());
    const RunResult result = breaker_->ReportRun(run, context());

    ASSERT_EQ(result.counted, expected);
    ASSERT_EQ(result.stale, run.count - expected);
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
    for (const BreakerModel::Call& call : model_.Window(Now())) {
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
  BreakerModel model_;
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
