#include <algorithm>
#include <utility>

#include "server/engine/breaker.h"
#include "server/engine/limits.h"

// What others see and keep of a breaker: no decision is made here.
namespace breaker::server {

bool Breaker::idle() const {
  return state_ == State::kClosed && !ramping_ && !overridden() && permits_.empty();
}

std::vector<Transition> Breaker::LastTransitions(uint64_t count) const {
  if (transitions_ == nullptr) return {};
  const size_t kept = std::min<uint64_t>(count, transitions_->size());
  return {transitions_->end() - static_cast<ptrdiff_t>(kept), transitions_->end()};
}

const Transition* Breaker::Opening() const {
  if (state_ == State::kClosed || transitions_ == nullptr) return nullptr;
  const auto newest = std::find_if(transitions_->rbegin(), transitions_->rend(),
                                   [](const Transition& t) { return t.from == State::kClosed; });
  return newest == transitions_->rend() ? nullptr : &*newest;
}

BreakerStats Breaker::Stats(Instant now, size_t transitions) {
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
  stats.recent_transitions = LastTransitions(transitions);
  std::reverse(stats.recent_transitions.begin(), stats.recent_transitions.end());
  if (const Transition* const opening = Opening(); opening != nullptr) stats.opening = *opening;
  stats.last_failure_error = last_failure_error_;
  stats.ramp_fraction = Ramp(now.mono);
  return stats;
}

BreakerView Breaker::View(Instant now) const {
  BreakerView view;
  view.state = state_;
  view.version = {generation_, policy_version_};
  if (state_ != State::kClosed) view.retry_after = RetryAfter(now.mono);
  if (override_ != nullptr) view.override = override_->what;
  view.policy = policy_;
  view.ramp_fraction = Ramp(now.mono);
  return view;
}

void Breaker::ForgetAppliedRuns(absl::FunctionRef<bool(const AppliedRun&)> stored) {
  if (applied_ == nullptr) return;
  absl::erase_if(*applied_, [&](const auto& run) { return stored({run.first, run.second}); });
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
  if (applied_ != nullptr) {
    for (const auto& [session, position] : *applied_) {
      saved.applied_runs.push_back({session, position});
    }
    std::sort(saved.applied_runs.begin(), saved.applied_runs.end(),
              [](const AppliedRun& a, const AppliedRun& b) { return a.session < b.session; });
  }
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
  for (const AppliedRun& run : saved.applied_runs) IsNew(run);
}

}  // namespace breaker::server
