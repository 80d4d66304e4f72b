#include "server/store/record_codec.h"

#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "google/protobuf/arena.h"
#include "server/store/record.pb.h"

namespace breaker::server {
namespace {

using store::BreakerRecord;

// A message to decode one record into. It lives on the stack together with what it allocates, but
// for long strings and big records.
template <typename Record>
class Scratch {
 public:
  Scratch() : arena_(block_, sizeof(block_)) {}

  absl::StatusOr<Record*> Parse(absl::string_view bytes) {
    auto* record = google::protobuf::Arena::CreateMessage<Record>(&arena_);
    if (!record->ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) ||
        record->version() == 0) {
      return absl::DataLossError("the record is damaged");
    }
    if (record->version() > kRecordVersion) {
      return absl::FailedPreconditionError(absl::StrCat("the record is of version ",
                                                        record->version(), "; this build reads ",
                                                        kRecordVersion, " at most"));
    }
    return record;
  }

 private:
  alignas(8) char block_[4096];
  google::protobuf::Arena arena_;
};

absl::Status Damaged(absl::string_view field) {
  return absl::DataLossError(absl::StrCat("the record is damaged: ", field));
}

std::optional<WallTime> MaybeTime(bool has, int64_t unix_nanos) {
  return has ? std::optional(WallTime::FromUnixNanos(unix_nanos)) : std::nullopt;
}

void ToRecord(const Policy& policy, store::Policy* record) {
  record->set_failure_threshold(policy.failure_threshold);
  record->set_recovery_timeout(absl::ToInt64Nanoseconds(policy.recovery_timeout));
  record->set_expected_response_time(absl::ToInt64Nanoseconds(policy.expected_response_time));
  record->set_monitoring_window(absl::ToInt64Nanoseconds(policy.monitoring_window));
  record->set_minimum_request_count(policy.minimum_request_count);
  record->set_failure_counting(
      static_cast<store::Policy::FailureCounting>(policy.failure_counting));
  record->set_failure_rate_threshold(policy.failure_rate_threshold);
  record->set_slow_call_rate_threshold(policy.slow_call_rate_threshold);
  record->set_slow_calls_are_failures(policy.slow_calls_are_failures);
  record->set_half_open_max_probes(policy.half_open_max_probes);
  record->set_half_open_success_threshold(policy.half_open_success_threshold);
  record->set_permit_timeout(absl::ToInt64Nanoseconds(policy.permit_timeout));
  record->set_recovery_backoff_multiplier(policy.recovery_backoff_multiplier);
  record->set_max_recovery_timeout(absl::ToInt64Nanoseconds(policy.max_recovery_timeout));
  record->set_recovery_jitter(policy.recovery_jitter);
  record->set_minimum_failing_workers(policy.minimum_failing_workers);
  record->set_recovery_ramp(absl::ToInt64Nanoseconds(policy.recovery_ramp));
  record->set_shadow(policy.shadow);
}

absl::StatusOr<Policy> FromRecord(const store::Policy& record) {
  if (record.failure_counting() == 0 ||
      !store::Policy::FailureCounting_IsValid(record.failure_counting())) {
    return Damaged("policy.failure_counting");
  }
  Policy policy;
  policy.failure_threshold = record.failure_threshold();
  policy.recovery_timeout = absl::Nanoseconds(record.recovery_timeout());
  policy.expected_response_time = absl::Nanoseconds(record.expected_response_time());
  policy.monitoring_window = absl::Nanoseconds(record.monitoring_window());
  policy.minimum_request_count = record.minimum_request_count();
  policy.failure_counting = static_cast<FailureCounting>(record.failure_counting());
  policy.failure_rate_threshold = record.failure_rate_threshold();
  policy.slow_call_rate_threshold = record.slow_call_rate_threshold();
  policy.slow_calls_are_failures = record.slow_calls_are_failures();
  policy.half_open_max_probes = record.half_open_max_probes();
  policy.half_open_success_threshold = record.half_open_success_threshold();
  policy.permit_timeout = absl::Nanoseconds(record.permit_timeout());
  policy.recovery_backoff_multiplier = record.recovery_backoff_multiplier();
  policy.max_recovery_timeout = absl::Nanoseconds(record.max_recovery_timeout());
  policy.recovery_jitter = record.recovery_jitter();
  policy.minimum_failing_workers = record.minimum_failing_workers();
  policy.recovery_ramp = absl::Nanoseconds(record.recovery_ramp());
  policy.shadow = record.shadow();
  if (const absl::Status valid = Validate(policy); !valid.ok()) return Damaged(valid.message());
  return policy;
}

void ToRecord(const LifetimeCounts& counts, BreakerRecord::Lifetime* record) {
  record->set_successes(counts.successes);
  record->set_failures(counts.failures);
  record->set_rejected(counts.rejected);
  record->set_ignored(counts.ignored);
  record->set_abandoned(counts.abandoned);
  record->set_stale(counts.stale);
  record->set_times_opened(counts.times_opened);
}

LifetimeCounts FromRecord(const BreakerRecord::Lifetime& record) {
  LifetimeCounts counts;
  counts.successes = record.successes();
  counts.failures = record.failures();
  counts.rejected = record.rejected();
  counts.ignored = record.ignored();
  counts.abandoned = record.abandoned();
  counts.stale = record.stale();
  counts.times_opened = record.times_opened();
  return counts;
}

bool IsState(BreakerRecord::State state) {
  return state != 0 && BreakerRecord::State_IsValid(state);
}

void ToRecord(const Transition& transition, BreakerRecord::Transition* record) {
  record->set_from(static_cast<BreakerRecord::State>(transition.from));
  record->set_to(static_cast<BreakerRecord::State>(transition.to));
  record->set_time(transition.time.unix_nanos());
  record->set_cause(static_cast<BreakerRecord::Transition::Cause>(transition.cause));
  record->set_reason(transition.reason);
  record->set_generation(transition.generation);
}

absl::StatusOr<Transition> FromRecord(const BreakerRecord::Transition& record) {
  if (!IsState(record.from()) || !IsState(record.to())) return Damaged("transition.state");
  if (record.cause() == 0 || !BreakerRecord::Transition::Cause_IsValid(record.cause())) {
    return Damaged("transition.cause");
  }
  return Transition{static_cast<State>(record.from()),
                    static_cast<State>(record.to()),
                    WallTime::FromUnixNanos(record.time()),
                    static_cast<Cause>(record.cause()),
                    record.reason(),
                    record.generation()};
}

void ToRecord(const Override& override, BreakerRecord::Override* record) {
  record->set_mode(static_cast<BreakerRecord::Override::Mode>(override.mode));
  record->set_reason(override.reason);
  record->set_actor(override.actor);
  if (override.expires_at) record->set_expires_at(override.expires_at->unix_nanos());
}

absl::StatusOr<Override> FromRecord(const BreakerRecord::Override& record) {
  if (record.mode() == 0 || !BreakerRecord::Override::Mode_IsValid(record.mode())) {
    return Damaged("override.mode");
  }
  return Override{static_cast<Override::Mode>(record.mode()), record.reason(), record.actor(),
                  MaybeTime(record.has_expires_at(), record.expires_at())};
}

void ToRecord(const BreakerSnapshot::WindowBucket& bucket, BreakerRecord::Bucket* record) {
  record->set_start(bucket.start.unix_nanos());
  record->set_successes(bucket.counts.successes);
  record->set_failures(bucket.counts.failures);
  record->set_slow(bucket.counts.slow);
}

BreakerSnapshot::WindowBucket FromRecord(const BreakerRecord::Bucket& record) {
  return {WallTime::FromUnixNanos(record.start()),
          CallCounts{record.successes(), record.failures(), record.slow()}};
}

void ToRecord(const BreakerSnapshot::SeenWorker& worker, BreakerRecord::SeenWorker* record) {
  record->set_worker_id(worker.worker_id);
  record->set_time(worker.time.unix_nanos());
}

BreakerSnapshot::SeenWorker FromRecord(const BreakerRecord::SeenWorker& record) {
  return {record.worker_id(), WallTime::FromUnixNanos(record.time())};
}

}  // namespace

std::string EncodeBreaker(const BreakerSnapshot& snapshot) {
  BreakerRecord record;
  record.set_version(kRecordVersion);
  record.set_state(static_cast<BreakerRecord::State>(snapshot.state));
  record.set_generation(snapshot.generation);
  if (snapshot.lifetime != LifetimeCounts()) {
    ToRecord(snapshot.lifetime, record.mutable_lifetime());
  }
  if (snapshot.last_failure_time) {
    record.set_last_failure_time(snapshot.last_failure_time->unix_nanos());
  }
  if (snapshot.last_success_time) {
    record.set_last_success_time(snapshot.last_success_time->unix_nanos());
  }
  record.set_last_failure_error(snapshot.last_failure_error);
  for (const Transition& t : snapshot.transitions) ToRecord(t, record.add_transitions());

  if (snapshot.worker_policy) ToRecord(*snapshot.worker_policy, record.mutable_worker_policy());
  if (snapshot.override) ToRecord(*snapshot.override, record.mutable_override());

  record.set_monitoring_window(absl::ToInt64Nanoseconds(snapshot.monitoring_window));
  for (const auto& bucket : snapshot.window) ToRecord(bucket, record.add_window());
  record.set_consecutive_failures(snapshot.consecutive_failures);
  if (snapshot.last_call_time) record.set_last_call_time(snapshot.last_call_time->unix_nanos());
  for (const auto& worker : snapshot.failing_workers) {
    ToRecord(worker, record.add_failing_workers());
  }
  for (const auto& worker : snapshot.slow_workers) ToRecord(worker, record.add_slow_workers());

  if (snapshot.opened_at) record.set_opened_at(snapshot.opened_at->unix_nanos());
  record.set_jitter_draw(snapshot.jitter_draw);
  record.set_failed_recoveries(snapshot.failed_recoveries);
  record.set_probe_successes(snapshot.probe_successes);
  if (snapshot.ramp_started_at) record.set_ramp_started_at(snapshot.ramp_started_at->unix_nanos());
  for (const AppliedRun& run : snapshot.applied_runs) {
    auto* const applied = record.add_applied_runs();
    applied->set_session(run.session);
    applied->set_position(run.position.value());
  }
  return record.SerializeAsString();
}

absl::StatusOr<BreakerSnapshot> DecodeBreaker(const KeyView& key, absl::string_view bytes) {
  Scratch<BreakerRecord> scratch;
  const absl::StatusOr<BreakerRecord*> parsed = scratch.Parse(bytes);
  if (!parsed.ok()) return parsed.status();
  const BreakerRecord& record = **parsed;
  if (!IsState(record.state())) return Damaged("state");

  BreakerSnapshot snapshot;
  snapshot.key = Key(key);
  snapshot.state = static_cast<State>(record.state());
  snapshot.generation = record.generation();
  snapshot.lifetime = FromRecord(record.lifetime());
  snapshot.last_failure_time =
      MaybeTime(record.has_last_failure_time(), record.last_failure_time());
  snapshot.last_success_time =
      MaybeTime(record.has_last_success_time(), record.last_success_time());
  snapshot.last_failure_error = record.last_failure_error();
  for (const auto& t : record.transitions()) {
    absl::StatusOr<Transition> transition = FromRecord(t);
    if (!transition.ok()) return transition.status();
    snapshot.transitions.push_back(*std::move(transition));
  }

  if (record.has_worker_policy()) {
    const absl::StatusOr<Policy> policy = FromRecord(record.worker_policy());
    if (!policy.ok()) return policy.status();
    snapshot.worker_policy = *policy;
  }
  if (record.has_override()) {
    absl::StatusOr<Override> override = FromRecord(record.override());
    if (!override.ok()) return override.status();
    snapshot.override = *std::move(override);
  }

  snapshot.monitoring_window = absl::Nanoseconds(record.monitoring_window());
  for (const auto& bucket : record.window()) snapshot.window.push_back(FromRecord(bucket));
  snapshot.consecutive_failures = record.consecutive_failures();
  snapshot.last_call_time = MaybeTime(record.has_last_call_time(), record.last_call_time());
  for (const auto& worker : record.failing_workers()) {
    snapshot.failing_workers.push_back(FromRecord(worker));
  }
  for (const auto& worker : record.slow_workers()) {
    snapshot.slow_workers.push_back(FromRecord(worker));
  }

  snapshot.opened_at = MaybeTime(record.has_opened_at(), record.opened_at());
  snapshot.jitter_draw = record.jitter_draw();
  snapshot.failed_recoveries = record.failed_recoveries();
  snapshot.probe_successes = record.probe_successes();
  snapshot.ramp_started_at = MaybeTime(record.has_ramp_started_at(), record.ramp_started_at());
  for (const auto& run : record.applied_runs()) {
    snapshot.applied_runs.push_back({run.session(), BatchPosition::FromValue(run.position())});
  }
  return snapshot;
}

std::string EncodePolicy(const StoredPolicy& policy) {
  store::PolicyRecord record;
  record.set_version(kRecordVersion);
  ToRecord(policy.policy, record.mutable_policy());
  record.set_updated_at(policy.updated_at.unix_nanos());
  return record.SerializeAsString();
}

absl::StatusOr<StoredPolicy> DecodePolicy(const KeyView& key, absl::string_view bytes) {
  Scratch<store::PolicyRecord> scratch;
  const absl::StatusOr<store::PolicyRecord*> record = scratch.Parse(bytes);
  if (!record.ok()) return record.status();
  const absl::StatusOr<Policy> policy = FromRecord((*record)->policy());
  if (!policy.ok()) return policy.status();
  return StoredPolicy{Key(key), *policy, WallTime::FromUnixNanos((*record)->updated_at())};
}

std::string EncodeSession(const SessionMark& mark) {
  store::SessionRecord record;
  record.set_version(kRecordVersion);
  record.set_sequence(mark.sequence);
  record.set_last_used(mark.last_used.unix_nanos());
  return record.SerializeAsString();
}

absl::StatusOr<SessionMark> DecodeSession(uint64_t session, absl::string_view bytes) {
  Scratch<store::SessionRecord> scratch;
  const absl::StatusOr<store::SessionRecord*> record = scratch.Parse(bytes);
  if (!record.ok()) return record.status();
  return SessionMark{session, (*record)->sequence(),
                     WallTime::FromUnixNanos((*record)->last_used())};
}

std::string EncodeEpoch(const PermitEpoch& epoch) {
  store::EpochRecord record;
  record.set_version(kRecordVersion);
  record.set_secret(epoch.secret);
  record.set_number(epoch.number);
  return record.SerializeAsString();
}

absl::StatusOr<PermitEpoch> DecodeEpoch(absl::string_view bytes) {
  Scratch<store::EpochRecord> scratch;
  const absl::StatusOr<store::EpochRecord*> record = scratch.Parse(bytes);
  if (!record.ok()) return record.status();
  return PermitEpoch{(*record)->secret(), (*record)->number()};
}

std::string EncodeSchema(uint32_t version) {
  store::SchemaRecord record;
  record.set_version(version);
  return record.SerializeAsString();
}

absl::StatusOr<uint32_t> DecodeSchema(absl::string_view bytes) {
  store::SchemaRecord record;
  if (!record.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) ||
      record.version() == 0) {
    return Damaged("schema version");
  }
  return record.version();
}

}  // namespace breaker::server
