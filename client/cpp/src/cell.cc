#include "client/cpp/src/cell.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/random/distributions.h"
#include "client/cpp/src/convert.h"
#include "server/engine/limits.h"
#include "server/engine/recovery.h"

namespace breaker::internal {
namespace {

// So many outcomes on one stripe are not left waiting for the next flush.
constexpr uint64_t kFlushAt = 4096;

// For who is refused because another asks the daemon just now, or by a ramp.
constexpr absl::Duration kShortRetryAfter = absl::Milliseconds(10);

constexpr auto kDeniedFor = std::chrono::seconds(1);

// The engine's enums have the contract's numbers.
State FromEngine(server::State state) { return FromProto(static_cast<v1::CircuitState>(state)); }
server::Outcome ToEngine(Outcome outcome) { return static_cast<server::Outcome>(ToProto(outcome)); }

SteadyTime After(SteadyTime now, absl::Duration duration) {
  // Far enough, and far from an overflow.
  return now + absl::ToChronoNanoseconds(std::min(duration, server::kMaxPolicyDuration));
}

// When a ramp began that admits `fraction` of the calls now.
SteadyTime RampStart(SteadyTime now, const server::Policy& policy, double fraction) {
  const double at_first = server::RampFraction(policy, absl::ZeroDuration());
  return now -
         absl::ToChronoNanoseconds(policy.recovery_ramp * ((fraction - at_first) / (1 - at_first)));
}

}  // namespace

Cell::Cell(const Key& key, size_t hash, Surroundings* surroundings)
    : key_(key), hash_(hash), around_(surroundings) {}

// ---------------------------------------------------------------------------------------------
// Decisions

Cell::Answer Cell::Refused(absl::Duration retry_after) const {
  Answer answer;
  answer.state = state_;
  // A policy on trial refuses nothing; an operator's order is not a policy.
  if (policy_ != nullptr && policy_->shadow && !override_.has_value()) {
    answer.kind = Answer::Kind::kAllowed;
    answer.shadow = true;
  } else {
    answer.kind = Answer::Kind::kRefused;
    answer.retry_after = retry_after;
  }
  return answer;
}

Cell::Answer Cell::RefuseUnanswered(SteadyTime now) {
  server::MutexLock lock(&mu_);
  if (local_ != nullptr || !Trusted(now) || state_ == State::kClosed) return Answer();
  return Refused(kShortRetryAfter);
}

Cell::Answer Cell::Decide(SteadyTime now, const Policy* policy) {
  server::MutexLock lock(&mu_);
  Answer answer;
  // A local breaker goes on until the daemon has said something.
  const bool denied = now < denied_until_;
  if (local_ != nullptr || !Trusted(now) || !Brings(policy)) {
    if (denied) answer.kind = Answer::Kind::kDenied;
    return answer;
  }
  answer.state = state_;
  if (state_ == State::kClosed) {
    if (ramp_started_at_.has_value()) {
      const double admitted =
          server::RampFraction(*policy_, absl::FromChrono(now - *ramp_started_at_));
      if (admitted >= 1) {
        ramp_started_at_.reset();
        SetGate();
      } else if (absl::Uniform(random_, 0.0, 1.0) >= admitted) {
        return Refused(std::max(kShortRetryAfter, policy_->recovery_ramp / 100));
      }
    }
    answer.kind = Answer::Kind::kAllowed;
    answer.ticket = generation_;
    return answer;
  }
  if (now < retry_at_) return Refused(absl::FromChrono(retry_at_ - now));
  if (denied) {
    answer.kind = Answer::Kind::kDenied;
    return answer;
  }
  if (asking_) return Refused(kShortRetryAfter);
  asking_ = true;
  answer.kind = Answer::Kind::kAskAlone;
  return answer;
}

void Cell::Learn(const v1::AcquireResponse& response, SteadyTime now, const Policy* policy) {
  server::MutexLock lock(&mu_);
  local_.reset();
  if (policy != nullptr) brought_.store(policy, std::memory_order_release);
  const State state = FromProto(response.state());
  const bool newer = response.generation() > generation_;
  // How a CLOSED circuit ramps is what only the stream says: it follows.
  if (confirmed_ ? newer && state != State::kClosed : response.generation() != generation_) {
    SwitchTo(state, response.generation());
    override_.reset();
  }
  if (!response.allowed() && state == state_ && response.generation() == generation_) {
    retry_at_ = After(now, FromProto(response.retry_after()));
  }
  SetGate();
}

void Cell::Deny(SteadyTime now) {
  server::MutexLock lock(&mu_);
  denied_until_ = now + kDeniedFor;
}

void Cell::EndAsking() {
  server::MutexLock lock(&mu_);
  asking_ = false;
}

// ---------------------------------------------------------------------------------------------
// Outcomes

void Cell::Record(uint64_t generation, Outcome outcome, absl::string_view label,
                  std::chrono::nanoseconds took) {
  const uint64_t gate = gate_.load(std::memory_order_acquire);
  const bool slow =
      outcome != Outcome::kIgnored && took > slow_after_.load(std::memory_order_relaxed);
  const bool failed = outcome == Outcome::kFailure || (slow && (gate & kSlowIsFailure) != 0);
  if (!failed && gate >> kFlagBits == generation) {
    const auto kind = outcome == Outcome::kIgnored ? OutcomeStripes::kIgnored
                      : slow                       ? OutcomeStripes::kSlowSuccess
                                                   : OutcomeStripes::kQuickSuccess;
    const uint64_t waiting = stripes_.Add((gate & kSetBit) != 0, kind);
    NoteUnsent();
    if (waiting == kFlushAt) around_->signal.FlushSoon();
    return;
  }
  {
    server::MutexLock lock(&mu_);
    // What the same thread counted before comes before.
    DrainStripes();
    AppendRun({.generation = generation,
               .outcome = outcome,
               .count = 1,
               .slow_count = slow ? 1U : 0U,
               .label = std::string(label.substr(0, server::kMaxErrorLabelBytes))});
  }
  NoteUnsent();
  if (failed) around_->signal.FlushSoon();
}

void Cell::DrainStripes() {
  for (const bool set : {!set_, set_}) {
    // Those that find no room stay where they are, which takes no memory.
    if (Full()) return;
    const OutcomeCounts counts = stripes_.Take(set);
    const uint64_t generation = set == set_ ? generation_ : previous_generation_;
    AppendCalls(generation, Outcome::kIgnored, counts.ignored, 0);
    AppendCalls(generation, Outcome::kSuccess, counts.quick_successes + counts.slow_successes,
                counts.slow_successes);
  }
}

void Cell::AppendCalls(uint64_t generation, Outcome outcome, uint64_t count, uint64_t slow_count) {
  while (count > 0) {
    const auto part =
        static_cast<uint32_t>(std::min<uint64_t>(count, std::numeric_limits<uint32_t>::max()));
    // The slow ones are taken to have come last.
    count -= part;
    const auto slow = static_cast<uint32_t>(slow_count > count ? slow_count - count : 0);
    slow_count -= slow;
    AppendRun({.generation = generation,
               .outcome = outcome,
               .count = part,
               .slow_count = slow,
               .label = {}});
  }
}

void Cell::AppendRun(OutcomeRun run) {
  const auto join = [&](OutcomeRun& other) {
    if (other.count > std::numeric_limits<uint32_t>::max() - run.count) return false;
    other.count += run.count;
    other.slow_count += run.slow_count;
    return true;
  };
  if (!runs_.empty()) {
    OutcomeRun& last = runs_.back();
    if (last.generation == run.generation && last.outcome == run.outcome &&
        last.label == run.label && join(last)) {
      return;
    }
  }
  if (!Full() && around_->signal.AdmitRun()) {
    runs_.push_back(std::move(run));
    return;
  }
  for (auto other = runs_.rbegin(); other != runs_.rend(); ++other) {
    if (other->generation == run.generation && other->outcome == run.outcome && join(*other)) {
      return;
    }
  }
  around_->signal.CountDropped(run.count);
}

bool Cell::TakeRuns(size_t most, std::vector<OutcomeRun>* runs) {
  // Before the stripes are read: an outcome that is added later notes the cell again.
  noted_.store(false);
  server::MutexLock lock(&mu_);
  DrainStripes();
  const auto end = runs_.begin() + static_cast<ptrdiff_t>(std::min(most, runs_.size()));
  runs->insert(runs->end(), std::make_move_iterator(runs_.begin()), std::make_move_iterator(end));
  around_->signal.RunsLeft(static_cast<int>(end - runs_.begin()));
  runs_.erase(runs_.begin(), end);
  DrainStripes();  // What found no room before.
  return !runs_.empty();
}

// ---------------------------------------------------------------------------------------------
// Without the daemon

Cell::Answer Cell::DecideLocally(SteadyTime now, const Policy* policy) {
  const server::Instant instant = around_->clock.Now();
  server::MutexLock lock(&mu_);
  if (local_ == nullptr) {
    if (state_ == State::kOpen && !override_.has_value() && now < retry_at_) {
      return Refused(absl::FromChrono(retry_at_ - now));
    }
    server::PolicyPtr known = policy_;
    if (known == nullptr && policy != nullptr) {
      const server::Policy own = ToEngine(*policy);
      if (server::Validate(own).ok()) known = std::make_shared<const server::Policy>(own);
    }
    if (known == nullptr) known = server::BuiltInPolicy();
    const bool closed = state_ == State::kClosed || override_.has_value();
    local_ = std::make_unique<LocalBreaker>(
        key_, std::move(known),
        closed ? LocalBreaker::Start::kClosed : LocalBreaker::Start::kHalfOpen, override_, instant);
    SetGate();
  }
  const server::Decision decision = local_->Acquire(around_->worker_id, instant);
  Answer answer;
  answer.kind = decision.allowed ? Answer::Kind::kAllowed : Answer::Kind::kRefused;
  answer.state = FromEngine(decision.state);
  answer.shadow = decision.shadow;
  answer.probe = decision.probe;
  answer.ticket = decision.permit_id;
  answer.retry_after = decision.retry_after;
  return answer;
}

void Cell::RecordLocally(uint64_t permit_id, Outcome outcome, absl::string_view label,
                         std::chrono::nanoseconds took) {
  const server::CallReport report = {
      .worker_id = around_->worker_id,
      .permit_id = permit_id,
      .outcome = ToEngine(outcome),
      .duration = absl::FromChrono(took),
      .error = label.substr(0, server::kMaxErrorLabelBytes),
  };
  const server::Instant instant = around_->clock.Now();
  server::MutexLock lock(&mu_);
  if (local_ != nullptr) local_->Report(report, instant);
}

// ---------------------------------------------------------------------------------------------
// What the stream says

void Cell::Update(const v1::CircuitUpdate& update, uint64_t stream, SteadyTime now) {
  server::MutexLock lock(&mu_);
  if (update.removed()) {
    SwitchTo(State::kClosed, 0);
    override_.reset();
    confirmed_ = false;
    subscribed_ = false;
    local_.reset();
    SetGate();
    return;
  }
  // The first word of a new stream counts in any case: the daemon may have lost its memory.
  const bool first = !confirmed_ || stream_ != stream;
  if (!first && update.generation() < generation_) return;
  confirmed_ = true;
  stream_ = stream;
  local_.reset();

  const server::Policy policy = ToEngine(FromProto(update.policy()));
  if (policy_ == nullptr || *policy_ != policy) {
    policy_ = std::make_shared<const server::Policy>(policy);
  }
  slow_after_.store(absl::ToChronoNanoseconds(policy.expected_response_time),
                    std::memory_order_relaxed);
  override_.reset();
  if (update.has_override()) override_ = ToEngine(FromProto(update.override()));

  const bool changed = update.generation() != generation_;
  SwitchTo(FromProto(update.state()), update.generation());
  if (state_ == State::kHalfOpen && changed) {
    retry_at_ = now;  // Probes are to be had.
  } else if (state_ != State::kClosed) {
    retry_at_ = After(now, FromProto(update.retry_after()));
  }
  ramp_started_at_.reset();
  if (state_ == State::kClosed && update.ramp_fraction() > 0 && update.ramp_fraction() < 1 &&
      policy.recovery_ramp > absl::ZeroDuration()) {
    ramp_started_at_ = RampStart(now, policy, update.ramp_fraction());
  }
  SetGate();
}

void Cell::DistrustUnlessFrom(uint64_t stream) {
  server::MutexLock lock(&mu_);
  if (stream_ == stream) return;
  confirmed_ = false;
  SetGate();
}

void Cell::SwitchTo(State state, uint64_t generation) {
  state_ = state;
  if (generation == generation_) return;
  DrainStripes();
  previous_generation_ = generation_;
  generation_ = generation;
  ramp_started_at_.reset();
  set_ = !set_;
  SetGate();
}

void Cell::SetGate() {
  uint64_t gate = generation_ << kFlagBits;
  if (set_) gate |= kSetBit;
  if (policy_ != nullptr && policy_->slow_calls_are_failures) gate |= kSlowIsFailure;
  if (confirmed_ && local_ == nullptr && state_ == State::kClosed &&
      !ramp_started_at_.has_value()) {
    gate |= kOpenToAll;
  }
  gate_.store(gate, std::memory_order_release);
}

bool Cell::BeginSubscription() {
  server::MutexLock lock(&mu_);
  return !std::exchange(subscribed_, true);
}

void Cell::EndSubscription() {
  server::MutexLock lock(&mu_);
  subscribed_ = false;
}

bool Cell::subscribed() const {
  server::MutexLock lock(&mu_);
  return subscribed_;
}

}  // namespace breaker::internal
