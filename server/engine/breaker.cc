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

Decision Breaker::Acquire(absl::string_view worker_id, const Context& context) {
  Advance(context);
  last_used_ = context.now.mono;
  switch (state_) {
    case State::kClosed: {
      const double admitted = Ramp(context.now.mono);
      if (admitted < 1 && absl::Uniform(context.random, 0.0, 1.0) >= admitted) {
        return Refuse(ShortRetryAfter(policy_->recovery_ramp));
      }
      return Grant(worker_id, /*probe=*/false, context);
    }
    case State::kOpen:
      break;
    case State::kHalfOpen:
      if (probes_.size() < policy_->half_open_max_probes) {
        return Grant(worker_id, /*probe=*/true, context);
      }
      break;
  }
  return Refuse(RetryAfter(context.now.mono));
}

Decision Breaker::Grant(absl::string_view worker_id, bool probe, const Context& context) {
  const uint64_t id = context.permits.Grant(probe);
  if (id != 0) permits_.Add(id, Permit{context.now.mono, generation_, probe});
  if (probe) probes_.push_back({id, std::string(worker_id)});
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
    if (permit->probe && !late) ProbeEnded(report.permit_id);
  }
  if (late) {
    ++lifetime_.stale;
    return result(Disposition::kStale);
  }
  if (report.outcome == Outcome::kIgnored) {
    ++lifetime_.ignored;
    return result(Disposition::kCounted);
  }

  if (state_ == State::kHalfOpen) {
    CountProbe(report, context);
  } else {
    const bool slow = report.duration > policy_->expected_response_time;
    CountClosed(CallsOf(report, slow), 1, context);
  }
  return result(Disposition::kCounted);
}

RunResult Breaker::ReportRun(const OutcomeRun& run, const Context& context) {
  Advance(context);
  last_used_ = context.now.mono;
  if (!IsNew(run.run)) return RunResult{};
  const bool current = run.generation == 0 || run.generation == generation_;
  RunResult result;
  if (current && state_ == State::kClosed) {
    if (run.outcome == Outcome::kIgnored) {
      lifetime_.ignored += run.count;
      result.counted = run.count;
    } else {
      const uint32_t quick = run.count - run.slow_count;
      result.counted = CountClosed(CallsOf(run, false), quick, context);
      if (state_ == State::kClosed) {
        result.counted += CountClosed(CallsOf(run, true), run.slow_count, context);
      }
    }
  }
  result.stale = run.count - result.counted;
  lifetime_.stale += result.stale;
  return result;
}

template <typename Reported>
Breaker::Calls Breaker::CallsOf(const Reported& reported, bool slow) const {
  const bool failed =
      reported.outcome == Outcome::kFailure || (slow && policy_->slow_calls_are_failures);
  return Calls{reported.worker_id, reported.quorum_share, reported.outcome, slow, failed,
               reported.error};
}

uint32_t Breaker::CountClosed(const Calls& calls, uint32_t count, const Context& context) {
  if (count == 0) return 0;
  NoteWorker(calls);
  std::optional<TripAfter> trip;
  if (!overridden()) {
    TripEvidence evidence;
    evidence.window = window_.counts();
    evidence.consecutive_failures = consecutive_failures_;
    if (seen_workers_ != nullptr) {
      evidence.failing_workers = seen_workers_->failing.Count(window_.bucket());
      evidence.slow_workers = seen_workers_->slow.Count(window_.bucket());
    }
    evidence.minimum_waived = ramping_;
    trip = CallsUntilTrip(evidence, {calls.failed, calls.slow}, count, *policy_);
  }
  if (trip.has_value()) count = trip->calls;
  Count(calls, count, context);
  if (trip.has_value()) {
    Open(trip->trip.cause, std::move(trip->trip.reason), ramping_ ? failed_recoveries_ + 1 : 0,
         context);
  }
  return count;
}

void Breaker::NoteWorker(const Calls& calls) {
  if (!calls.failed && !calls.slow) return;
  if (seen_workers_ == nullptr) seen_workers_ = std::make_unique<SeenWorkers>();
  if (calls.failed)
    seen_workers_->failing.Record(calls.worker_id, window_.bucket(), calls.quorum_share);
  if (calls.slow) seen_workers_->slow.Record(calls.worker_id, window_.bucket(), calls.quorum_share);
}

void Breaker::Count(const Calls& calls, uint32_t count, const Context& context) {
  window_.Record(CallCounts{.successes = calls.failed ? 0 : count,
                            .failures = calls.failed ? count : 0,
                            .slow = calls.slow ? count : 0},
                 context.now.mono);
  last_call_ = context.now.mono;
  if (calls.failed) {
    consecutive_failures_ = AddSaturating(consecutive_failures_, count);
    lifetime_.failures += count;
    last_failure_time_ = context.now.wall;
    const bool only_slow = calls.outcome != Outcome::kFailure && calls.error.empty();
    last_failure_error_.assign(
        only_slow ? "slow call" : std::string_view(calls.error.data(), calls.error.size()));
  } else {
    consecutive_failures_ = 0;
    lifetime_.successes += count;
    last_success_time_ = context.now.wall;
  }
}

void Breaker::CountProbe(const CallReport& report, const Context& context) {
  const bool slow = report.duration > policy_->expected_response_time;
  const Calls call = CallsOf(report, slow);
  NoteWorker(call);
  Count(call, 1, context);
  if (call.failed) {
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

void Breaker::ProbeEnded(uint64_t permit_id) {
  const auto it = std::find_if(probes_.begin(), probes_.end(), [permit_id](const Probe& probe) {
    return probe.permit_id == permit_id;
  });
  if (it != probes_.end()) probes_.erase(it);
}

void Breaker::GiveBackProbes(absl::string_view worker_id, const Context& context) {
  Advance(context);
  for (size_t i = probes_.size(); i-- > 0;) {
    if (probes_[i].worker_id != worker_id) continue;
    if (permits_.Take(probes_[i].permit_id).has_value()) context.permits.Return(1);
    ++lifetime_.ignored;
    probes_.erase(probes_.begin() + static_cast<ptrdiff_t>(i));
  }
}

bool Breaker::IsNew(const AppliedRun& run) {
  if (run.session == 0) return true;
  if (applied_ == nullptr) {
    applied_ = std::make_unique<absl::flat_hash_map<uint64_t, BatchPosition>>();
  }
  if (applied_->size() >= kMaxAppliedRuns && !applied_->contains(run.session)) {
    applied_->erase(applied_->begin());
  }
  BatchPosition& last = (*applied_)[run.session];
  if (run.position <= last) return false;
  last = run.position;
  return true;
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
  while (!permits_.empty() && permits_.oldest_granted_at() <= limit) {
    const uint64_t id = permits_.oldest();
    const std::optional<Permit> permit = permits_.Take(id);
    context.permits.Return(1);
    ++lifetime_.abandoned;
    if (permit->probe && permit->generation == generation_) ProbeEnded(id);
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
  if (transitions_->size() == kMaxRecentTransitions) {
    // What opened the circuit stays, however many probes fail after it.
    transitions_->erase(transitions_->begin() + (Opening() == &transitions_->front() ? 1 : 0));
  }
  transitions_->push_back(
      Transition{state_, to, context.now.wall, cause, std::move(reason), ++generation_});
  if (to == State::kOpen && state_ != State::kOpen) ++lifetime_.times_opened;
  state_ = to;
  last_used_ = context.now.mono;
  next_attempt_ = MonotonicTime::InfiniteFuture();
  probes_.clear();
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

bool Breaker::SetPolicy(PolicyPtr policy, PolicySource source, PolicyPtr worker_policy,
                        const Context& context) {
  Advance(context);
  const PolicyPtr old = std::exchange(policy_, std::move(policy));
  policy_source_ = source;
  worker_policy_ = std::move(worker_policy);
  if (*policy_ == *old) return false;
  ++policy_version_;
  if (policy_->monitoring_window != old->monitoring_window) {
    window_ = SlidingWindow(policy_->monitoring_window);
    seen_workers_.reset();
  }
  if (state_ == State::kOpen && !overridden()) SetNextAttempt();
  return true;
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

}  // namespace breaker::server
