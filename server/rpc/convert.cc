#include "server/rpc/convert.h"

#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/util/time_util.h"
#include "server/engine/errors.h"
#include "server/engine/limits.h"
#include "server/engine/sessions.h"
#include "server/rpc/validate.h"

namespace breaker::server {
namespace {

using google::protobuf::util::TimeUtil;

// The engine's enums have the contract's numbers.
static_assert(static_cast<int>(State::kHalfOpen) == v1::HALF_OPEN);
static_assert(static_cast<int>(Outcome::kIgnored) == v1::IGNORED);
static_assert(static_cast<int>(Cause::kReset) == v1::Transition::RESET);
static_assert(static_cast<int>(Disposition::kUnknownPermit) == v1::ReportResponse::UNKNOWN_PERMIT);
static_assert(static_cast<int>(PolicySource::kOperator) == v1::CircuitStats::OPERATOR);
static_assert(static_cast<int>(PolicyOrigin::kApi) == v1::PolicyEntry::API);
static_assert(static_cast<int>(FailureCounting::kWindowed) == v1::Policy::WINDOWED);
static_assert(static_cast<int>(Override::Mode::kForcedClosed) == v1::Override::FORCED_CLOSED);

absl::StatusOr<absl::Duration> DurationFrom(absl::string_view field,
                                            const google::protobuf::Duration& d) {
  constexpr int64_t kMaxNanos = 999'999'999;
  const bool signs_differ =
      (d.seconds() > 0 && d.nanos() < 0) || (d.seconds() < 0 && d.nanos() > 0);
  if (d.seconds() < TimeUtil::kDurationMinSeconds || d.seconds() > TimeUtil::kDurationMaxSeconds ||
      d.nanos() < -kMaxNanos || d.nanos() > kMaxNanos || signs_differ) {
    return errors::InvalidField(field, absl::StrCat(d.seconds(), " s ", d.nanos(), " ns"),
                                "a valid Duration (nanos below 10^9 and of the sign of seconds)");
  }
  return absl::Seconds(d.seconds()) + absl::Nanoseconds(d.nanos());
}

void ToProto(const Transition& transition, v1::Transition* proto) {
  proto->set_from(ToProto(transition.from));
  proto->set_to(ToProto(transition.to));
  SetTimestamp(transition.time, proto->mutable_time());
  proto->set_cause(static_cast<v1::Transition::Cause>(transition.cause));
  proto->set_reason(transition.reason);
  proto->set_generation(transition.generation);
}

void ToProto(const Override& override, v1::Override* proto) {
  proto->set_mode(static_cast<v1::Override::Mode>(override.mode));
  proto->set_reason(override.reason);
  proto->set_actor(override.actor);
  if (override.expires_at.has_value()) {
    SetTimestamp(*override.expires_at, proto->mutable_expires_at());
  }
}

void ToProto(const LifetimeCounts& lifetime, v1::LifetimeCounts* proto) {
  proto->set_successes(lifetime.successes);
  proto->set_failures(lifetime.failures);
  proto->set_rejected(lifetime.rejected);
  proto->set_ignored(lifetime.ignored);
  proto->set_abandoned(lifetime.abandoned);
  proto->set_stale(lifetime.stale);
  proto->set_times_opened(lifetime.times_opened);
}

absl::Status CheckOutcome(absl::string_view field, int outcome) {
  if (outcome >= v1::SUCCESS && outcome <= v1::IGNORED) return absl::OkStatus();
  return errors::InvalidField(field, absl::StrCat(outcome),
                              "SUCCESS (1), FAILURE (2) or IGNORED (3)");
}

absl::Status CheckRun(const v1::OutcomeRun& run) {
  absl::Status status = CheckKey(run.service(), run.operation()).status();
  status.Update(CheckOutcome("outcome", run.outcome()));
  if (run.count() == 0) status.Update(errors::InvalidField("count", "0", "1 or more"));
  if (run.slow_count() > run.count()) {
    status.Update(errors::InvalidField("slow_count", absl::StrCat(run.slow_count()),
                                       absl::StrCat("at most count, ", run.count())));
  }
  return status;
}

}  // namespace

void SetTimestamp(WallTime from, google::protobuf::Timestamp* to) {
  absl::Duration since_epoch = from - WallTime();
  to->set_seconds(absl::ToInt64Seconds(absl::Floor(since_epoch, absl::Seconds(1))));
  to->set_nanos(
      static_cast<int32_t>(absl::ToInt64Nanoseconds(since_epoch - absl::Seconds(to->seconds()))));
}

void SetDuration(absl::Duration from, google::protobuf::Duration* to) {
  to->set_seconds(absl::IDivDuration(from, absl::Seconds(1), &from));
  to->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(from)));
}

absl::StatusOr<KeyView> CheckKey(absl::string_view service, absl::string_view operation) {
  absl::Status status = CheckName("service", service);
  status.Update(CheckName("operation", operation));
  if (!status.ok()) return status;
  return KeyView{service, operation};
}

absl::StatusOr<KeyView> CheckPolicyKey(absl::string_view service, absl::string_view operation) {
  if (service == kAny && operation != kAny) {
    return errors::InvalidField("operation", absl::StrCat("\"", operation, "\""),
                                "\"*\", as it must be where service is");
  }
  return CheckKey(service, operation);
}

absl::StatusOr<Override> OverrideFrom(const v1::SetOverrideRequest& request, WallTime now) {
  Override override;
  absl::Status status = CheckNote("reason", request.reason());
  status.Update(CheckNote("actor", request.actor()));
  if (request.mode() == v1::Override::FORCED_OPEN ||
      request.mode() == v1::Override::FORCED_CLOSED) {
    override.mode = static_cast<Override::Mode>(request.mode());
  } else {
    status.Update(errors::InvalidField("mode", absl::StrCat(request.mode()),
                                       "FORCED_OPEN (1) or FORCED_CLOSED (2)"));
  }
  for (const auto& [field, name] :
       {std::pair("service", &request.service()), std::pair("operation", &request.operation())}) {
    // Many at a time would be many breakers to clear again, each by itself.
    if (*name == kAny)
      status.Update(errors::InvalidField(field, "\"*\"", "the name of one breaker"));
  }
  if (request.has_ttl()) {
    const absl::StatusOr<absl::Duration> ttl = DurationFrom("ttl", request.ttl());
    status.Update(ttl.status());
    if (ttl.ok() && (*ttl <= absl::ZeroDuration() || *ttl > kMaxOverrideTtl)) {
      status.Update(errors::InvalidField(
          "ttl", absl::FormatDuration(*ttl),
          absl::StrCat("in (0, ", absl::FormatDuration(kMaxOverrideTtl), "]")));
    } else if (ttl.ok()) {
      override.expires_at = now + *ttl;
    }
  }
  if (!status.ok()) return status;
  override.reason = request.reason();
  override.actor = request.actor();
  return override;
}

absl::StatusOr<Policy> PolicyFrom(const v1::Policy& proto) {
  Policy policy;
  absl::Status status;
  const auto duration = [&](bool set, absl::string_view field,
                            const google::protobuf::Duration& from, absl::Duration& to) {
    if (!set) return;
    absl::StatusOr<absl::Duration> converted = DurationFrom(field, from);
    status.Update(converted.status());
    if (converted.ok()) to = *converted;
  };
  duration(proto.has_recovery_timeout(), "policy.recovery_timeout", proto.recovery_timeout(),
           policy.recovery_timeout);
  duration(proto.has_expected_response_time(), "policy.expected_response_time",
           proto.expected_response_time(), policy.expected_response_time);
  duration(proto.has_monitoring_window(), "policy.monitoring_window", proto.monitoring_window(),
           policy.monitoring_window);
  duration(proto.has_permit_timeout(), "policy.permit_timeout", proto.permit_timeout(),
           policy.permit_timeout);
  duration(proto.has_max_recovery_timeout(), "policy.max_recovery_timeout",
           proto.max_recovery_timeout(), policy.max_recovery_timeout);
  duration(proto.has_recovery_ramp(), "policy.recovery_ramp", proto.recovery_ramp(),
           policy.recovery_ramp);

  const auto plain = [](bool set, auto from, auto& to) {
    if (set) to = from;
  };
  plain(proto.has_failure_threshold(), proto.failure_threshold(), policy.failure_threshold);
  plain(proto.has_minimum_request_count(), proto.minimum_request_count(),
        policy.minimum_request_count);
  plain(proto.has_failure_rate_threshold(), proto.failure_rate_threshold(),
        policy.failure_rate_threshold);
  plain(proto.has_slow_call_rate_threshold(), proto.slow_call_rate_threshold(),
        policy.slow_call_rate_threshold);
  plain(proto.has_slow_calls_are_failures(), proto.slow_calls_are_failures(),
        policy.slow_calls_are_failures);
  plain(proto.has_half_open_max_probes(), proto.half_open_max_probes(),
        policy.half_open_max_probes);
  plain(proto.has_half_open_success_threshold(), proto.half_open_success_threshold(),
        policy.half_open_success_threshold);
  plain(proto.has_recovery_backoff_multiplier(), proto.recovery_backoff_multiplier(),
        policy.recovery_backoff_multiplier);
  plain(proto.has_recovery_jitter(), proto.recovery_jitter(), policy.recovery_jitter);
  plain(proto.has_minimum_failing_workers(), proto.minimum_failing_workers(),
        policy.minimum_failing_workers);
  plain(proto.has_shadow(), proto.shadow(), policy.shadow);

  switch (proto.failure_counting()) {
    case v1::Policy::FAILURE_COUNTING_UNSPECIFIED:
      break;
    case v1::Policy::CONSECUTIVE:
    case v1::Policy::WINDOWED:
      policy.failure_counting = static_cast<FailureCounting>(proto.failure_counting());
      break;
    default:
      status.Update(errors::InvalidField("policy.failure_counting",
                                         absl::StrCat(proto.failure_counting()),
                                         "CONSECUTIVE (1) or WINDOWED (2)"));
  }
  status.Update(Validate(policy));
  if (!status.ok()) return status;
  return policy;
}

absl::StatusOr<CallReport> CallReportFrom(const v1::ReportRequest& request) {
  absl::Status status = CheckWorkerId(request.worker_id());
  status.Update(CheckOutcome("outcome", request.outcome()));
  const absl::StatusOr<absl::Duration> duration = DurationFrom("duration", request.duration());
  status.Update(duration.status());
  if (duration.ok() && *duration < absl::ZeroDuration()) {
    status.Update(errors::InvalidField("duration", absl::FormatDuration(*duration), "0 or more"));
  }
  if (!status.ok()) return status;
  return CallReport{.worker_id = request.worker_id(),
                    .permit_id = request.permit_id(),
                    .outcome = static_cast<Outcome>(request.outcome()),
                    .duration = *duration,
                    .error = CutUtf8(request.error(), kMaxErrorLabelBytes)};
}

absl::StatusOr<OutcomeBatch> OutcomeBatchFrom(const v1::ReportBatchRequest& request,
                                              absl::string_view worker,
                                              const QuorumShare* quorum_share) {
  absl::Status status = CheckWorkerId(request.worker_id());
  if (request.session_id() == 0) {
    status.Update(errors::InvalidField("session_id", "0", "a random number other than 0"));
  }
  if (request.sequence() == 0 || request.sequence() > BatchPosition::kMaxSequence) {
    status.Update(errors::InvalidField("sequence", absl::StrCat(request.sequence()),
                                       absl::StrCat("in [1, ", BatchPosition::kMaxSequence, "]")));
  }
  if (request.previous_sequence() != 0 && request.previous_sequence() >= request.sequence()) {
    status.Update(errors::InvalidField("previous_sequence",
                                       absl::StrCat(request.previous_sequence()),
                                       absl::StrCat("below sequence, ", request.sequence())));
  }
  const size_t count = static_cast<size_t>(request.outcomes_size());
  if (count > kMaxRunsPerBatch) {
    status.Update(errors::InvalidField("outcomes", absl::StrCat(count, " runs"),
                                       absl::StrCat("at most ", kMaxRunsPerBatch)));
  }
  if (!status.ok()) return status;

  OutcomeBatch batch;
  batch.id = {.session = SessionName(worker, request.session_id()),
              .sequence = request.sequence(),
              .previous = request.previous_sequence()};
  batch.runs.reserve(count);
  for (const v1::OutcomeRun& run : request.outcomes()) {
    const size_t number = batch.runs.size();
    if (const absl::Status wrong = CheckRun(run); !wrong.ok()) {
      return absl::Status(wrong.code(), absl::StrCat("outcomes[", number, "].", wrong.message()));
    }
    batch.runs.push_back(
        {KeyView{run.service(), run.operation()},
         OutcomeRun{.worker_id = worker,
                    .generation = run.generation(),
                    .outcome = static_cast<Outcome>(run.outcome()),
                    .count = run.count(),
                    .slow_count = run.slow_count(),
                    .error = CutUtf8(run.error(), kMaxErrorLabelBytes),
                    .run = {batch.id.session, BatchPosition(batch.id.sequence, number + 1)},
                    .quorum_share = quorum_share}});
  }
  return batch;
}

// A token is the last key of the page before, so that a page needs no memory of the one before it.
absl::StatusOr<std::optional<Key>> PageStartFrom(absl::string_view page_token) {
  if (page_token.empty()) return std::optional<Key>();
  std::string key;
  if (absl::WebSafeBase64Unescape(page_token, &key)) {
    const std::vector<std::string> names = absl::StrSplit(key, '\0');
    if (names.size() == 2) return std::optional<Key>(Key(names[0], names[1]));
  }
  return errors::InvalidField("page_token", absl::StrCat("\"", CutUtf8(page_token, 64), "\""),
                              "a next_page_token of ListStats");
}

std::string PageTokenFor(const Key& last) {
  return absl::WebSafeBase64Escape(
      absl::StrCat(last.service, absl::string_view("\0", 1), last.operation));
}

void ToProto(const Decision& decision, v1::AcquireResponse* response) {
  response->set_allowed(decision.allowed);
  response->set_permit_id(decision.permit_id);
  response->set_state(ToProto(decision.state));
  response->set_probe(decision.probe);
  if (!decision.allowed) SetDuration(decision.retry_after, response->mutable_retry_after());
  response->set_generation(decision.generation);
  response->set_shadow(decision.shadow);
}

void ToProto(const ReportResult& result, v1::ReportResponse* response) {
  response->set_state(ToProto(result.state));
  response->set_disposition(static_cast<v1::ReportResponse::Disposition>(result.disposition));
  response->set_generation(result.generation);
}

void ToProto(const BatchResult& result, v1::ReportBatchResponse* response) {
  response->set_counted(result.counted);
  response->set_stale(result.stale);
  response->set_duplicate(result.duplicate);
  response->set_stored_sequence(result.stored_sequence);
}

void ToProto(const Key& key, const BreakerView& view, const std::optional<Transition>& transition,
             v1::CircuitUpdate* proto) {
  proto->set_service(key.service);
  proto->set_operation(key.operation);
  proto->set_state(ToProto(view.state));
  proto->set_generation(view.version.generation);
  if (view.state != State::kClosed) SetDuration(view.retry_after, proto->mutable_retry_after());
  if (view.override.has_value()) ToProto(*view.override, proto->mutable_override());
  ToProto(*view.policy, proto->mutable_policy());
  if (transition.has_value()) ToProto(*transition, proto->mutable_transition());
  proto->set_ramp_fraction(view.ramp_fraction);
}

void ToProto(const Policy& policy, v1::Policy* proto) {
  proto->set_failure_threshold(policy.failure_threshold);
  SetDuration(policy.recovery_timeout, proto->mutable_recovery_timeout());
  SetDuration(policy.expected_response_time, proto->mutable_expected_response_time());
  SetDuration(policy.monitoring_window, proto->mutable_monitoring_window());
  proto->set_minimum_request_count(policy.minimum_request_count);
  proto->set_failure_counting(static_cast<v1::Policy::FailureCounting>(policy.failure_counting));
  proto->set_failure_rate_threshold(policy.failure_rate_threshold);
  proto->set_slow_call_rate_threshold(policy.slow_call_rate_threshold);
  proto->set_slow_calls_are_failures(policy.slow_calls_are_failures);
  proto->set_half_open_max_probes(policy.half_open_max_probes);
  proto->set_half_open_success_threshold(policy.half_open_success_threshold);
  SetDuration(policy.permit_timeout, proto->mutable_permit_timeout());
  proto->set_recovery_backoff_multiplier(policy.recovery_backoff_multiplier);
  SetDuration(policy.max_recovery_timeout, proto->mutable_max_recovery_timeout());
  proto->set_recovery_jitter(policy.recovery_jitter);
  proto->set_minimum_failing_workers(policy.minimum_failing_workers);
  SetDuration(policy.recovery_ramp, proto->mutable_recovery_ramp());
  proto->set_shadow(policy.shadow);
}

void ToProto(const OperatorPolicy& policy, v1::PolicyEntry* proto) {
  proto->set_service(policy.key.service);
  proto->set_operation(policy.key.operation);
  ToProto(*policy.policy, proto->mutable_policy());
  SetTimestamp(policy.updated_at, proto->mutable_updated_at());
  proto->set_origin(static_cast<v1::PolicyEntry::Origin>(policy.origin));
}

void ToProto(const BreakerStats& stats, v1::CircuitStats* proto) {
  proto->set_service(stats.key.service);
  proto->set_operation(stats.key.operation);
  proto->set_state(ToProto(stats.state));
  proto->set_failure_count(stats.window.failures);
  proto->set_success_count(stats.window.successes);
  proto->set_total_requests(stats.window.total());
  if (stats.last_failure_time.has_value()) {
    SetTimestamp(*stats.last_failure_time, proto->mutable_last_failure_time());
  }
  if (stats.last_success_time.has_value()) {
    SetTimestamp(*stats.last_success_time, proto->mutable_last_success_time());
  }
  if (stats.next_attempt_time.has_value()) {
    SetTimestamp(*stats.next_attempt_time, proto->mutable_next_attempt_time());
  }
  if (stats.window.total() > 0) {
    proto->set_failure_rate(static_cast<double>(stats.window.failures) /
                            static_cast<double>(stats.window.total()));
  }
  proto->set_slow_count(stats.window.slow);
  proto->set_consecutive_failures(stats.consecutive_failures);
  proto->set_in_flight(stats.in_flight);
  proto->set_failing_workers(stats.failing_workers);
  proto->set_generation(stats.generation);
  ToProto(stats.lifetime, proto->mutable_lifetime());
  ToProto(*stats.policy, proto->mutable_policy());
  proto->set_policy_source(static_cast<v1::CircuitStats::PolicySource>(stats.policy_source));
  if (stats.override.has_value()) ToProto(*stats.override, proto->mutable_override());
  for (const Transition& transition : stats.recent_transitions) {
    ToProto(transition, proto->add_recent_transitions());
  }
  proto->set_last_failure_error(stats.last_failure_error);
  proto->set_ramp_fraction(stats.ramp_fraction);
}

}  // namespace breaker::server
