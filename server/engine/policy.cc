#include "server/engine/policy.h"

#include "absl/strings/str_cat.h"
#include "server/engine/errors.h"
#include "server/engine/limits.h"

namespace breaker::server {
namespace {

absl::Status CheckDuration(absl::string_view field, absl::Duration value, absl::Duration least) {
  if (value >= least && value <= kMaxPolicyDuration) return absl::OkStatus();
  return errors::InvalidField(field, absl::FormatDuration(value),
                              absl::StrCat("in [", absl::FormatDuration(least), ", ",
                                           absl::FormatDuration(kMaxPolicyDuration), "]"));
}

absl::Status CheckCount(absl::string_view field, uint32_t value, uint32_t least, uint32_t most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return errors::InvalidField(field, absl::StrCat(value),
                              absl::StrCat("in [", least, ", ", most, "]"));
}

// A rate of 0 switches its rule off. The comparisons are written so that NaN fails them.
absl::Status CheckRate(absl::string_view field, double value) {
  if (value >= 0 && value <= 1) return absl::OkStatus();
  return errors::InvalidField(field, absl::StrCat(value), "in (0, 1]");
}

}  // namespace

const PolicyPtr& BuiltInPolicy() {
  static const PolicyPtr& policy = *new PolicyPtr(std::make_shared<const Policy>());
  return policy;
}

absl::Status Validate(const Policy& p) {
  const absl::Duration ms = absl::Milliseconds(1);
  const uint32_t any = UINT32_MAX;
  for (const absl::Status& status : {
           CheckDuration("policy.recovery_timeout", p.recovery_timeout, ms),
           CheckDuration("policy.expected_response_time", p.expected_response_time,
                         absl::Nanoseconds(1)),
           CheckDuration("policy.monitoring_window", p.monitoring_window, ms),
           CheckRate("policy.failure_rate_threshold", p.failure_rate_threshold),
           CheckRate("policy.slow_call_rate_threshold", p.slow_call_rate_threshold),
           CheckCount("policy.half_open_max_probes", p.half_open_max_probes, 1, kMaxProbes),
           CheckCount("policy.half_open_success_threshold", p.half_open_success_threshold, 1, any),
           CheckDuration("policy.permit_timeout", p.permit_timeout, ms),
           CheckDuration("policy.max_recovery_timeout", p.max_recovery_timeout, ms),
           CheckCount("policy.minimum_failing_workers", p.minimum_failing_workers, 0,
                      kMaxTrackedWorkers),
           CheckDuration("policy.recovery_ramp", p.recovery_ramp, absl::ZeroDuration()),
       }) {
    if (!status.ok()) return status;
  }
  const double multiplier = p.recovery_backoff_multiplier;
  if (!(multiplier >= 1 && multiplier <= kMaxBackoffMultiplier)) {
    return errors::InvalidField("policy.recovery_backoff_multiplier", absl::StrCat(multiplier),
                                absl::StrCat("in [1, ", kMaxBackoffMultiplier, "]"));
  }
  if (!(p.recovery_jitter >= 0 && p.recovery_jitter < 1)) {
    return errors::InvalidField("policy.recovery_jitter", absl::StrCat(p.recovery_jitter),
                                "in [0, 1)");
  }
  return absl::OkStatus();
}

const char* Name(PolicySource source) {
  switch (source) {
    case PolicySource::kBuiltIn:
      return "BUILT_IN";
    case PolicySource::kWorker:
      return "WORKER";
    case PolicySource::kOperator:
      return "OPERATOR";
  }
  return "";
}

}  // namespace breaker::server
