#ifndef BREAKER_TESTS_SUPPORT_BREAKER_HARNESS_H_
#define BREAKER_TESTS_SUPPORT_BREAKER_HARNESS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/engine/breaker.h"
#include "tests/support/simulated_clock.h"

namespace breaker::server {

// One breaker with all that it needs to live in a test: a clock that the test moves, a seeded
// source of randomness and a pool of permits. Calls take 10 ms unless a test says otherwise.
class BreakerHarness {
 public:
  static constexpr absl::Duration kQuick = absl::Milliseconds(10);

  explicit BreakerHarness(const Policy& policy = Policy(), int64_t max_permits = 1'000'000)
      : permits_(std::make_unique<PermitPool>(PermitEpoch{42, 1}, max_permits)),
        breaker_(std::make_unique<Breaker>(Key("payments", "charge"),
                                           std::make_shared<const Policy>(policy),
                                           PolicySource::kOperator, clock_.Now())) {}

  Decision Acquire() { return breaker_->Acquire("w1", context()); }

  ReportResult Report(const CallReport& report) { return breaker_->Report(report, context()); }
  ReportResult Report(uint64_t permit_id, Outcome outcome, absl::string_view worker = "w1") {
    return Report(CallReport{worker, permit_id, outcome, kQuick, ""});
  }

  // A whole call, with a permit.
  ReportResult Succeed(absl::string_view worker = "w1") {
    return Call(Outcome::kSuccess, worker, kQuick);
  }
  ReportResult Fail(absl::string_view worker = "w1") {
    return Call(Outcome::kFailure, worker, kQuick);
  }
  ReportResult SucceedSlowly(absl::string_view worker = "w1") {
    return Call(Outcome::kSuccess, worker, policy().expected_response_time + absl::Nanoseconds(1));
  }
  ReportResult Call(Outcome outcome, absl::string_view worker, absl::Duration duration) {
    const Decision decision = Acquire();
    return Report(CallReport{worker, decision.permit_id, outcome, duration, ""});
  }
  void Succeed(int times) {
    for (int i = 0; i < times; ++i) Succeed();
  }
  void Fail(int times) {
    for (int i = 0; i < times; ++i) Fail();
  }

  // Fails calls until the circuit is OPEN.
  void Trip() {
    for (int i = 0; i < 1000 && breaker_->state() == State::kClosed; ++i) Fail();
  }
  // From OPEN to the instant at which it is HALF_OPEN.
  void WaitForHalfOpen() {
    Pass(Stats().retry_after);
    Tick();
  }

  void Pass(absl::Duration time) { clock_.Advance(time); }
  void Tick() { breaker_->Advance(context()); }

  BreakerStats Stats() {
    Tick();
    return breaker_->Stats(now());
  }
  // The newest one.
  Transition LastTransition() { return breaker_->LastTransitions(1).at(0); }

  void SetPolicy(const Policy& policy) {
    breaker_->SetPolicy(std::make_shared<const Policy>(policy), PolicySource::kOperator,
                        breaker_->worker_policy(), context());
  }
  void Force(Override::Mode mode, std::optional<absl::Duration> ttl = std::nullopt) {
    Override override{mode, "maintenance", "ann", std::nullopt};
    if (ttl.has_value()) override.expires_at = now().wall + *ttl;
    breaker_->SetOverride(std::move(override), context());
  }
  void ClearOverride() { breaker_->ClearOverride(context()); }
  void Reset() { breaker_->Reset(context()); }

  BreakerSnapshot Save() { return breaker_->Save(now()); }
  // Stops, is down for a while, and starts again from what was saved, under the policy given or the
  // one before. Meanwhile the wall clock is set forward by `wall_jump`, or back.
  void Restart(absl::Duration down = absl::ZeroDuration(),
               absl::Duration wall_jump = absl::ZeroDuration(),
               std::optional<Policy> policy = std::nullopt) {
    const PolicyPtr after = std::make_shared<const Policy>(policy.value_or(this->policy()));
    BreakerSnapshot saved = Save();
    Pass(down);
    clock_.SetWall(now().wall + wall_jump);
    permits_ = std::make_unique<PermitPool>(PermitEpoch{42, ++epoch_}, 1'000'000);
    breaker_ = std::make_unique<Breaker>(std::move(saved), after, PolicySource::kOperator, now());
  }

  Instant now() const { return clock_.Now(); }
  Context context() { return Context{now(), random_, *permits_}; }
  Policy policy() { return *breaker_->Stats(now()).policy; }
  SimulatedClock& clock() { return clock_; }
  PermitPool& permits() { return *permits_; }
  Breaker& breaker() { return *breaker_; }
  State state() const { return breaker_->state(); }
  uint64_t generation() const { return breaker_->generation(); }

 private:
  SimulatedClock clock_;
  std::mt19937_64 random_{1};
  uint32_t epoch_ = 1;
  std::unique_ptr<PermitPool> permits_;
  std::unique_ptr<Breaker> breaker_;
};

}  // namespace breaker::server

#endif  // BREAKER_TESTS_SUPPORT_BREAKER_HARNESS_H_
