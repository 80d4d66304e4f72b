#include "server/engine/breaker.h"

#include <algorithm>
#include <utility>

#include "absl/random/distributions.h"
#include "absl/strings/str_cat.h"
#include "server/engine/limits.h"
#include "server/engine/recovery.h"
#include "server/engine/words.h"

namespace breaker::server {
namespace {

// What a caller is told to wait where no deadline says it: all probes are out, or the ramp has left
// it behind. A hundredth of the time that such a phase takes, within reason.
absl::Duration ShortRetryAfter(absl::Duration phase) {
  return std::clamp(phase / 100, absl::Milliseconds(10), absl::Seconds(1));
}

// Two clocks never run quite alike; one that is off by more than this has been set.
constexpr absl::Duration kClockDrift = absl::Seconds(1);

// For a circuit that is forced open with no end in sight.
constexpr absl::Duration kForcedOpenRetryAfter = absl::Seconds(1);

std::string ByWhom(const Override& override) {
  std::string words =
      override.mode == Override::Mode::kForcedOpen ? "forced open" : "forced closed";
  if (!override.actor.empty()) absl::StrAppend(&words, " by ", override.actor);
  return words;
}

}  // namespace

Breaker::Breaker(Key key, PolicyPtr policy, PolicySource source, Instant now)
    : key_(std::move(key)),
      policy_(std::move(policy)),
      last_used_(now.mono),
      last_call_(now.mono),
      next_attempt_(MonotonicTime::InfiniteFuture()),
      policy_source_(source),
      window_(policy_->monitoring_window),
      worker_policy_(source == PolicySource::kWorker ? policy_ : nullptr) {}

// ---------------------------------------------------------------------------------------------
// Calls

Decision Breaker::Acquire(const Context& context) {
  Advance(context);
  last_used_ = context.now.mono;
  switch (state_) {
    case State::kClosed: {
      const double admitted = Ramp(context.now.mono);
      if (admitted < 1 && absl::Uniform(context.random, 0.0, 1.0) >= admitted) {
        return Refuse(ShortRetryAfter(policy_->recovery_ramp));
      }
      return Grant(/*probe=*/false, context);
    }
    case State::kOpen:
      break;
    case State::kHalfOpen:
      if (probes_in_flight_ < policy_->half_open_max_probes) return Grant(/*probe=*/true, context);
      break;
  }
  return Refuse(RetryAfter(context.now.mono));
}

Decision Breaker::Grant(bool probe, const Context& context) {
  const uint64_t id = context.permits.Grant(probe);
  if (id != 0) permits_.Add(id, Permit{context.now.mono, generation_, probe});
  if (probe) ++probes_in_flight_;
  Decision decision;
  decision.allowed = true;
  decision.permit_id = id;
  decision.state = state_;
  decision.probe = probe;
  decision.generation = generation_;
  return decision;
}

Decision Breaker::Refuse(absl::Duration retry_after) {
  ++lifetime_.rejected;
  Decision decision;
  decision.state = state_;
  decision.generation = generation_;
  // A policy on trial refuses nothing; an operator's order is not a policy.
  if (policy_->shadow && !overridden()) {
    decision.allowed = true;
    decision.shadow = true;
  } else {
    decision.retry_after = retry_after;
  }
  return decision;
}

ReportResult Breaker::Report(const CallReport& report, const Context& context) {
  Advance(context);
  last_used_ = context.now.mono;
  const auto result = [this](Disposition disposition) {
    return ReportResult{state_, disposition, generation_};
  };

  bool late = state_ != State::kClosed;
  if (report.permit_id != 0) {
    const std::optional<Permit> permit = permits_.Take(report.permit_id);
    if (!permit.has_value()) return result(Disposition::kUnknownPermit);
    context.permits.Return(1);
    late = permit->generation != generation_;
    if (permit->probe && !late) --probes_in_flight_;
  }
  if (late) {
    ++lifetime_.stale;
    return result(Disposition::kStale);
  }
  if (report.outcome == Outcome::kIgnored) {
    ++lifetime_.ignored;
    return result(Disposition::kCounted);
  }

  const bool slow = report.duration > policy_->expected_response_time;
  const bool failed =
      report.outcome == Outcome::kFailure || (slow && policy_->slow_calls_are_failures);
  Count(report, failed, slow, context);
  if (state_ == State::kHalfOpen) {
    CountProbe(report, failed, context);
  } else if (!overridden()) {
    Trip(context);
  }
  return result(Disposition::kCounted);
}

void Breaker::Count(const CallReport& report, bool failed, bool slow, const Context& context) {
  window_.Record(CallCounts{.successes = !failed, .failures = failed, .slow = slow},
                 context.now.mono);
  last_call_ = context.now.mono;
  if (failed || slow) {
    if (seen_workers_ == nullptr) seen_workers_ = std::make_unique<SeenWorkers>();
    if (failed) seen_workers_->failing.Record(report.worker_id, window_.bucket());
    if (slow) seen_workers_->slow.Record(report.worker_id, window_.bucket());
  }
  if (failed) {
    ++consecutive_failures_;
    ++lifetime_.failures;
    last_failure_time_ = context.now.wall;
    const bool only_slow = report.outcome != Outcome::kFailure && report.error.empty();
    last_failure_error_.assign(
        only_slow ? "slow call" : std::string_view(report.error.data(), report.error.size()));
  } else {
    consecutive_failures_ = 0;
    ++lifetime_.successes;
    last_success_time_ = context.now.wall;
  }
}

void Breaker::CountProbe(const CallReport& report, bool failed, const Context& context) {
  if (failed) {
    Open(Cause::kProbeFailed,
         absl::StrCat("a probe by worker \"", report.worker_id, "\" failed after ",
                      Words(report.duration),
                      last_failure_error_.empty() ? "" : absl::StrCat(": ", last_failure_error_)),
         failed_recoveries_ + 1, context);
    return;
  }
  ++probe_successes_;
  if (probe_successes_ < policy_->half_open_success_threshold) return;
  Close(Cause::kProbeSucceeded,
        absl::StrCat(Plural(probe_successes_, "probe"), " succeeded (threshold ",
                     policy_->half_open_success_threshold, ")"),
        context);
}

void Breaker::Trip(const Context& context) {
  TripEvidence evidence;
  evidence.window = window_.counts();
  evidence.consecutive_failures = consecutive_failures_;
  if (seen_workers_ != nullptr) {
    evidence.failing_workers = seen_workers_->failing.Count(window_.bucket());
    evidence.slow_workers = seen_workers_->slow.Count(window_.bucket());
  }
  evidence.minimum_waived = ramping_;
  std::optional<server::Trip> trip = ShouldTrip(evidence, *policy_);
  if (!trip.has_value()) return;
  Open(trip->cause, std::move(trip->reason), ramping_ ? failed_recoveries_ + 1 : 0, context);
}

// ---------------------------------------------------------------------------------------------
// Time

void Breaker::Advance(const Context& context) {
  const MonotonicTime now = context.now.mono;
  AbandonPermits(context);
  if (override_ != nullptr && now >= override_->deadline) {
    const std::string reason = absl::StrCat(ByWhom(override_->what), " until now: expired");
    override_.reset();
    Close(Cause::kOverrideCleared, reason, context);
  }
  if (state_ == State::kOpen && now >= next_attempt_) {
    std::string reason = absl::StrCat(Words(next_attempt_ - opened_at_), " of OPEN are over");
    if (failed_recoveries_ > 0) {
      absl::StrAppend(&reason, " after ",
                      failed_recoveries_ == 1
                          ? "1 failed recovery"
                          : absl::StrCat(failed_recoveries_, " failed recoveries"));
    }
    TransitionTo(State::kHalfOpen, Cause::kRecoveryTimeoutElapsed, std::move(reason), context);
  }
  EndRampIfOver(now);
  window_.Advance(now);
  ForgetRunIfOld(now);
}

void Breaker::AbandonPermits(const Context& context) {
  const MonotonicTime limit = context.now.mono - policy_->permit_timeout;
  while (const std::optional<Permit> permit = permits_.TakeGrantedBy(limit)) {
    context.permits.Return(1);
    ++lifetime_.abandoned;
    if (permit->probe && permit->generation == generation_) --probes_in_flight_;
  }
}

void Breaker::EndRampIfOver(MonotonicTime now) {
  if (!ramping_ || now - ramp_started_at_ < policy_->recovery_ramp) return;
  ramping_ = false;
  failed_recoveries_ = 0;
}

void Breaker::ForgetRunIfOld(MonotonicTime now) {
  if (consecutive_failures_ > 0 && now - last_call_ >= policy_->monitoring_window) {
    consecutive_failures_ = 0;
  }
}

MonotonicTime Breaker::NextDeadline() const {
  MonotonicTime deadline = next_attempt_;
  if (override_ != nullptr) deadline = std::min(deadline, override_->deadline);
  if (!permits_.empty()) {
    deadline = std::min(deadline, permits_.oldest_granted_at() + policy_->permit_timeout);
  }
  if (ramping_) deadline = std::min(deadline, ramp_started_at_ + policy_->recovery_ramp);
  return deadline;
}

absl::Duration Breaker::RetryAfter(MonotonicTime now) const {
  if (state_ == State::kHalfOpen) return ShortRetryAfter(policy_->recovery_timeout);
  const MonotonicTime end = override_ != nullptr ? override_->deadline : next_attempt_;
  return end == MonotonicTime::InfiniteFuture() ? kForcedOpenRetryAfter : end - now;
}

// As it was noted then, so that what is shown and stored stays the same to the nanosecond, unless
// the wall clock has been set meanwhile: what was left of the OPEN time is left all the same.
WallTime Breaker::OpenedAt(Instant now) const {
  const WallTime opened_at = now.WallAt(opened_at_);
  const bool set = absl::AbsDuration(opened_at - opened_at_wall_) > kClockDrift;
  return set ? opened_at : opened_at_wall_;
}

double Breaker::Ramp(MonotonicTime now) const {
  return ramping_ ? RampFraction(*policy_, now - ramp_started_at_) : 1;
}

// ---------------------------------------------------------------------------------------------
// Changes of state

void Breaker::TransitionTo(State to, Cause cause, std::string reason, const Context& context) {
  if (transitions_ == nullptr) transitions_ = std::make_unique<std::vector<Transition>>();
  if (transitions_->size() == kMaxRecentTransitions) transitions_->erase(transitions_->begin());
  transitions_->push_back(
      Transition{state_, to, context.now.wall, cause, std::move(reason), ++generation_});
  if (to == State::kOpen && state_ != State::kOpen) ++lifetime_.times_opened;
  state_ = to;
  last_used_ = context.now.mono;
  next_attempt_ = MonotonicTime::InfiniteFuture();
  probes_in_flight_ = 0;
  probe_successes_ = 0;
  ramping_ = false;
}

void Breaker::Open(Cause cause, std::string reason, uint32_t failed_recoveries,
                   const Context& context) {
  TransitionTo(State::kOpen, cause, std::move(reason), context);
  failed_recoveries_ = failed_recoveries;
  opened_at_ = context.now.mono;
  opened_at_wall_ = context.now.wall;
  jitter_draw_ = absl::Uniform(absl::IntervalClosed, context.random, -1.0, 1.0);
  SetNextAttempt();
}

void Breaker::SetNextAttempt() {
  next_attempt_ = opened_at_ + OpenTime(*policy_, failed_recoveries_, jitter_draw_);
}

void Breaker::Close(Cause cause, std::string reason, const Context& context) {
  TransitionTo(State::kClosed, cause, std::move(reason), context);
  ClearWindow();
  if (cause == Cause::kProbeSucceeded && policy_->recovery_ramp > absl::ZeroDuration()) {
    ramping_ = true;
    ramp_started_at_ = context.now.mono;
  } else {
    failed_recoveries_ = 0;
  }
}

void Breaker::ClearWindow() {
  window_ = SlidingWindow(policy_->monitoring_window);
  seen_workers_.reset();
  consecutive_failures_ = 0;
}

// ---------------------------------------------------------------------------------------------
// Policies and operators

void Breaker::SetPolicy(PolicyPtr policy, PolicySource source, PolicyPtr worker_policy,
                        const Context& context) {
  Advance(context);
  const absl::Duration old_window = policy_->monitoring_window;
  policy_ = std::move(policy);
  policy_source_ = source;
  worker_policy_ = std::move(worker_policy);
  if (policy_->monitoring_window != old_window) {
    window_ = SlidingWindow(policy_->monitoring_window);
    seen_workers_.reset();
  }
  if (state_ == State::kOpen && !overridden()) SetNextAttempt();
}

void Breaker::SetOverride(Override override, const Context& context) {
  Advance(context);
  const Instant& now = context.now;
  std::string reason = ByWhom(override);
  MonotonicTime deadline = MonotonicTime::InfiniteFuture();
  if (override.expires_at.has_value()) {
    deadline = now.MonoAt(*override.expires_at);
    absl::StrAppend(&reason, " for ", Words(deadline - now.mono));
  }
  if (!override.reason.empty()) absl::StrAppend(&reason, ": ", override.reason);
  override_ = std::make_unique<ActiveOverride>(ActiveOverride{std::move(override), deadline});
  Force(Cause::kOverrideSet, std::move(reason), context);
}

void Breaker::ClearOverride(const Context& context) {
  Advance(context);
  if (override_ == nullptr) return;
  const std::string reason = absl::StrCat(ByWhom(override_->what), " until now: cleared");
  override_.reset();
  Close(Cause::kOverrideCleared, reason, context);
}

void Breaker::Reset(const Context& context) {
  Advance(context);
  Force(Cause::kReset, "reset by an operator", context);
}

void Breaker::Force(Cause cause, std::string reason, const Context& context) {
  if (override_ != nullptr && override_->what.mode == Override::Mode::kForcedOpen) {
    TransitionTo(State::kOpen, cause, std::move(reason), context);
    ClearWindow();
    failed_recoveries_ = 0;
  } else {
    Close(cause, std::move(reason), context);
  }
}

// ---------------------------------------------------------------------------------------------
// What others see and keep

bool Breaker::idle() const {
  return state_ == State::kClosed && !ramping_ && !overridden() && permits_.empty();
}

std::vector<Transition> Breaker::LastTransitions(uint64_t count) const {
  if (transitions_ == nullptr) return {};
  const size_t kept = std::min<uint64_t>(count, transitions_->size());
  return {transitions_->end() - static_cast<ptrdiff_t>(kept), transitions_->end()};
}

BreakerStats Breaker::Stats(Instant now) {
  BreakerStats stats;
  stats.key = key_;
  stats.state = state_;
  stats.window = window_.counts();
  stats.last_failure_time = last_failure_time_;
  stats.last_success_time = last_success_time_;
  if (state_ != State::kClosed) stats.retry_after = RetryAfter(now.mono);
  if (state_ == State::kOpen && !overridden()) {
    stats.next_attempt_time = OpenedAt(now) + (next_attempt_ - opened_at_);
  }
  stats.consecutive_failures = consecutive_failures_;
  stats.in_flight = static_cast<uint32_t>(permits_.size());
  if (seen_workers_ != nullptr) {
    stats.failing_workers = seen_workers_->failing.Count(window_.bucket());
  }
  stats.generation = generation_;
  stats.lifetime = lifetime_;
  stats.policy = policy_;
  stats.policy_source = policy_source_;
  if (override_ != nullptr) stats.override = override_->what;
  stats.recent_transitions = LastTransitions(kMaxRecentTransitions);
  std::reverse(stats.recent_transitions.begin(), stats.recent_transitions.end());
  stats.last_failure_error = last_failure_error_;
  stats.ramp_fraction = Ramp(now.mono);
  return stats;
}

BreakerSnapshot Breaker::Save(Instant now) {
  window_.Advance(now.mono);
  BreakerSnapshot saved;
  saved.key = key_;
  saved.state = state_;
  saved.generation = generation_;
  saved.lifetime = lifetime_;
  saved.last_failure_time = last_failure_time_;
  saved.last_success_time = last_success_time_;
  saved.last_failure_error = last_failure_error_;
  saved.transitions = LastTransitions(kMaxRecentTransitions);
  if (worker_policy_ != nullptr) saved.worker_policy = *worker_policy_;
  if (override_ != nullptr) saved.override = override_->what;
  saved.monitoring_window = policy_->monitoring_window;
  for (const SlidingWindow::Bucket& bucket : window_.Save()) {
    saved.window.push_back({now.WallAt(bucket.start), bucket.counts});
  }
  saved.consecutive_failures = consecutive_failures_;
  if (consecutive_failures_ > 0) saved.last_call_time = now.WallAt(last_call_);
  if (seen_workers_ != nullptr) {
    const auto save = [&](DistinctWorkers& workers) {
      std::vector<BreakerSnapshot::SeenWorker> seen;
      for (auto& [worker_id, bucket] : workers.Save(window_.bucket())) {
        seen.push_back({worker_id, now.WallAt(window_.StartOf(bucket))});
      }
      return seen;
    };
    saved.failing_workers = save(seen_workers_->failing);
    saved.slow_workers = save(seen_workers_->slow);
  }
  if (state_ == State::kOpen && !overridden()) {
    saved.opened_at = OpenedAt(now);
    saved.jitter_draw = jitter_draw_;
  }
  saved.failed_recoveries = failed_recoveries_;
  saved.probe_successes = probe_successes_;
  if (ramping_) saved.ramp_started_at = now.WallAt(ramp_started_at_);
  return saved;
}

Breaker::Breaker(BreakerSnapshot saved, PolicyPtr policy, PolicySource source, Instant now)
    : Breaker(std::move(saved.key), std::move(policy), source, now) {
  // A wall clock that was set back must not put anything into the future.
  const auto past = [&now](WallTime t) { return now.MonoAt(std::min(t, now.wall)); };

  state_ = saved.state;
  generation_ = saved.generation;
  lifetime_ = saved.lifetime;
  last_failure_time_ = saved.last_failure_time;
  last_success_time_ = saved.last_success_time;
  last_failure_error_ = std::move(saved.last_failure_error);
  if (!saved.transitions.empty()) {
    transitions_ = std::make_unique<std::vector<Transition>>(std::move(saved.transitions));
  }
  if (saved.worker_policy.has_value() && worker_policy_ == nullptr) {
    worker_policy_ = std::make_shared<const Policy>(*saved.worker_policy);
  }
  if (saved.override.has_value()) {
    const std::optional<WallTime>& end = saved.override->expires_at;
    override_ = std::make_unique<ActiveOverride>(ActiveOverride{
        *saved.override, end.has_value() ? now.MonoAt(*end) : MonotonicTime::InfiniteFuture()});
  }

  if (saved.monitoring_window == policy_->monitoring_window) {
    // The window moves as a whole, so that calls and workers leave it together.
    const absl::Duration ahead =
        saved.window.empty() ? absl::ZeroDuration()
                             : std::max(absl::ZeroDuration(), saved.window.back().start - now.wall);
    std::vector<SlidingWindow::Bucket> buckets;
    for (const auto& bucket : saved.window) {
      buckets.push_back({now.MonoAt(bucket.start - ahead), bucket.counts});
    }
    window_.Restore(buckets, now.mono);
    const auto restore = [&](const std::vector<BreakerSnapshot::SeenWorker>& seen,
                             DistinctWorkers& workers) {
      for (const auto& worker : seen) {
        const MonotonicTime seen_at = now.MonoAt(worker.time - ahead);
        workers.Record(worker.worker_id, window_.BucketStartingAt(seen_at));
      }
    };
    if (!saved.failing_workers.empty() || !saved.slow_workers.empty()) {
      seen_workers_ = std::make_unique<SeenWorkers>();
      restore(saved.failing_workers, seen_workers_->failing);
      restore(saved.slow_workers, seen_workers_->slow);
    }
  }
  consecutive_failures_ = saved.consecutive_failures;
  if (saved.last_call_time.has_value()) last_call_ = past(*saved.last_call_time);

  failed_recoveries_ = saved.failed_recoveries;
  probe_successes_ = saved.probe_successes;
  if (state_ == State::kOpen && !overridden()) {
    // A record that lacks the time must not stay OPEN for ever.
    opened_at_wall_ = std::min(saved.opened_at.value_or(now.wall), now.wall);
    opened_at_ = now.MonoAt(opened_at_wall_);
    jitter_draw_ = saved.jitter_draw;
    SetNextAttempt();
  }
  if (saved.ramp_started_at.has_value()) {
    ramping_ = true;
    ramp_started_at_ = past(*saved.ramp_started_at);
  }
}

}  // namespace breaker::server
