#include "client/cpp/src/convert.h"

#include <algorithm>

#include "absl/strings/ascii.h"

namespace breaker::internal {

// The bound of google.protobuf.Duration: about 10,000 years.
constexpr absl::Duration kLongest = absl::Seconds(315'576'000'000);

// The fields of Policy but failure_counting, whose enum has two types. An unset one stays unset.
#define BREAKER_POLICY_FIELDS(PLAIN, DURATION) \
  PLAIN(failure_threshold)                     \
  DURATION(recovery_timeout)                   \
  DURATION(expected_response_time)             \
  DURATION(monitoring_window)                  \
  PLAIN(minimum_request_count)                 \
  PLAIN(failure_rate_threshold)                \
  PLAIN(slow_call_rate_threshold)              \
  PLAIN(slow_calls_are_failures)               \
  PLAIN(half_open_max_probes)                  \
  PLAIN(half_open_success_threshold)           \
  DURATION(permit_timeout)                     \
  PLAIN(recovery_backoff_multiplier)           \
  DURATION(max_recovery_timeout)               \
  PLAIN(recovery_jitter)                       \
  PLAIN(minimum_failing_workers)               \
  DURATION(recovery_ramp)                      \
  PLAIN(shadow)

static Transition FromProto(const v1::Transition& transition) {
  return {.from = FromProto(transition.from()),
          .to = FromProto(transition.to()),
          .time = FromProto(transition.time()),
          .cause = v1::Transition::Cause_Name(transition.cause()),
          .reason = transition.reason(),
          .generation = transition.generation()};
}

static Stats::Lifetime FromProto(const v1::LifetimeCounts& lifetime) {
  return {.successes = lifetime.successes(),
          .failures = lifetime.failures(),
          .rejected = lifetime.rejected(),
          .ignored = lifetime.ignored(),
          .abandoned = lifetime.abandoned(),
          .stale = lifetime.stale(),
          .times_opened = lifetime.times_opened()};
}

static Stats::PolicySource FromProto(v1::CircuitStats::PolicySource source) {
  switch (source) {
    case v1::CircuitStats::WORKER:
      return Stats::PolicySource::kWorker;
    case v1::CircuitStats::OPERATOR:
      return Stats::PolicySource::kOperator;
    default:
      return Stats::PolicySource::kBuiltIn;
  }
}

google::protobuf::Duration ToProto(absl::Duration duration) {
  absl::Duration rest = std::clamp(duration, -kLongest, kLongest);
  google::protobuf::Duration proto;
  proto.set_seconds(absl::IDivDuration(rest, absl::Seconds(1), &rest));
  proto.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(rest)));
  return proto;
}

v1::Outcome ToProto(Outcome outcome) {
  switch (outcome) {
    case Outcome::kSuccess:
      return v1::SUCCESS;
    case Outcome::kFailure:
      return v1::FAILURE;
    case Outcome::kIgnored:
      return v1::IGNORED;
  }
  return v1::OUTCOME_UNSPECIFIED;  // The daemon rejects it by name.
}

v1::Policy ToProto(const Policy& policy) {
  v1::Policy proto;
#define BREAKER_COPY(field) \
  if (policy.field.has_value()) proto.set_##field(*policy.field);
#define BREAKER_COPY_DURATION(field) \
  if (policy.field.has_value()) *proto.mutable_##field() = ToProto(*policy.field);
  BREAKER_POLICY_FIELDS(BREAKER_COPY, BREAKER_COPY_DURATION)
#undef BREAKER_COPY
#undef BREAKER_COPY_DURATION
  if (policy.failure_counting.has_value()) {
    proto.set_failure_counting(*policy.failure_counting == Policy::FailureCounting::kWindowed
                                   ? v1::Policy::WINDOWED
                                   : v1::Policy::CONSECUTIVE);
  }
  return proto;
}

std::string ToAscii(std::string_view label) {
  std::string ascii(label);
  for (char& c : ascii) {
    if (!absl::ascii_isprint(static_cast<unsigned char>(c))) c = '?';
  }
  return ascii;
}

absl::Duration FromProto(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

absl::Time FromProto(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

State FromProto(v1::CircuitState state) {
  switch (state) {
    case v1::OPEN:
      return State::kOpen;
    case v1::HALF_OPEN:
      return State::kHalfOpen;
    default:
      return State::kClosed;
  }
}

Policy FromProto(const v1::Policy& proto) {
  Policy policy;
#define BREAKER_COPY(field) \
  if (proto.has_##field()) policy.field = proto.field();
#define BREAKER_COPY_DURATION(field) \
  if (proto.has_##field()) policy.field = FromProto(proto.field());
  BREAKER_POLICY_FIELDS(BREAKER_COPY, BREAKER_COPY_DURATION)
#undef BREAKER_COPY
#undef BREAKER_COPY_DURATION
  if (proto.has_failure_counting()) {
    policy.failure_counting = proto.failure_counting() == v1::Policy::WINDOWED
                                  ? Policy::FailureCounting::kWindowed
                                  : Policy::FailureCounting::kConsecutive;
  }
  return policy;
}

Override FromProto(const v1::Override& override) {
  Override result{.forced_open = override.mode() == v1::Override::FORCED_OPEN,
                  .reason = override.reason(),
                  .actor = override.actor(),
                  .expires_at = std::nullopt};
  if (override.has_expires_at()) result.expires_at = FromProto(override.expires_at());
  return result;
}

Stats FromProto(const v1::CircuitStats& proto) {
  Stats stats;
  stats.key = {.service = proto.service(), .operation = proto.operation()};
  stats.state = FromProto(proto.state());
  stats.generation = proto.generation();
  stats.total_requests = proto.total_requests();
  stats.success_count = proto.success_count();
  stats.failure_count = proto.failure_count();
  stats.slow_count = proto.slow_count();
  stats.failure_rate = proto.failure_rate();
  stats.consecutive_failures = proto.consecutive_failures();
  stats.failing_workers = proto.failing_workers();
  stats.in_flight = proto.in_flight();
  stats.ramp_fraction = proto.ramp_fraction();
  if (proto.has_last_failure_time()) stats.last_failure_time = FromProto(proto.last_failure_time());
  if (proto.has_last_success_time()) stats.last_success_time = FromProto(proto.last_success_time());
  if (proto.has_next_attempt_time()) stats.next_attempt_time = FromProto(proto.next_attempt_time());
  stats.last_failure_error = proto.last_failure_error();
  stats.lifetime = FromProto(proto.lifetime());
  stats.policy = FromProto(proto.policy());
  stats.policy_source = FromProto(proto.policy_source());
  if (proto.has_override()) stats.override = FromProto(proto.override());
  for (const v1::Transition& transition : proto.recent_transitions()) {
    stats.recent_transitions.push_back(FromProto(transition));
  }
  return stats;
}

server::Policy ToEngine(const Policy& policy) {
  server::Policy engine;
#define BREAKER_COPY(field) \
  if (policy.field.has_value()) engine.field = *policy.field;
  BREAKER_POLICY_FIELDS(BREAKER_COPY, BREAKER_COPY)
#undef BREAKER_COPY
  if (policy.failure_counting.has_value()) {
    engine.failure_counting = *policy.failure_counting == Policy::FailureCounting::kWindowed
                                  ? server::FailureCounting::kWindowed
                                  : server::FailureCounting::kConsecutive;
  }
  return engine;
}

server::Override ToEngine(const Override& override) {
  server::Override engine;
  engine.mode = override.forced_open ? server::Override::Mode::kForcedOpen
                                     : server::Override::Mode::kForcedClosed;
  engine.reason = override.reason;
  engine.actor = override.actor;
  if (override.expires_at.has_value()) {
    engine.expires_at = server::WallTime::FromUnixNanos(absl::ToUnixNanos(*override.expires_at));
  }
  return engine;
}

}  // namespace breaker::internal
