#include "server/engine/trip_rule.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/engine/words.h"

namespace breaker::server {
namespace {

// A quotient of integers in double is the double nearest to it, and so is a threshold as it was
// written: 3 of 30 reaches 0.1.
bool Reaches(uint32_t part, uint64_t whole, double threshold) {
  return threshold > 0 && static_cast<double>(part) / static_cast<double>(whole) >= threshold;
}

// "in 60s (minimum 5), 2 workers failing"
std::string Context(const TripEvidence& evidence, const Policy& policy, uint32_t workers,
                    absl::string_view verb) {
  std::string context = absl::StrCat("in ", Words(policy.monitoring_window));
  if (evidence.minimum_waived) {
    absl::StrAppend(&context, " (minimum waived while recovery ramps up)");
  } else {
    absl::StrAppend(&context, " (minimum ", policy.minimum_request_count, ")");
  }
  absl::StrAppend(&context, ", ", Plural(workers, "worker"), " ", verb);
  if (policy.minimum_failing_workers > 1) {
    absl::StrAppend(&context, " (quorum ", policy.minimum_failing_workers, ")");
  }
  return context;
}

// `evidence` and `count` calls more.
TripEvidence With(TripEvidence evidence, CallKind kind, uint32_t count) {
  CallCounts& window = evidence.window;
  uint32_t& counter = kind.failed ? window.failures : window.successes;
  counter = AddSaturating(counter, count);
  if (kind.slow) window.slow = AddSaturating(window.slow, count);
  evidence.consecutive_failures =
      kind.failed ? AddSaturating(evidence.consecutive_failures, count) : 0;
  return evidence;
}

std::string Percent(double fraction) { return absl::StrFormat("%.4g%%", fraction * 100); }

}  // namespace

std::optional<Trip> ShouldTrip(const TripEvidence& evidence, const Policy& policy) {
  const uint64_t calls = evidence.window.total();
  if (calls == 0) return std::nullopt;
  if (calls < policy.minimum_request_count && !evidence.minimum_waived) return std::nullopt;

  if (evidence.failing_workers >= policy.minimum_failing_workers) {
    const bool windowed = policy.failure_counting == FailureCounting::kWindowed;
    const uint32_t failures = windowed ? evidence.window.failures : evidence.consecutive_failures;
    if (policy.failure_threshold > 0 && failures >= policy.failure_threshold) {
      return Trip{windowed ? Cause::kFailuresInWindow : Cause::kConsecutiveFailures,
                  absl::StrCat(failures, windowed ? " failure" : " consecutive failure",
                               failures == 1 ? "" : "s", " (threshold ", policy.failure_threshold,
                               ") with ", Plural(calls, "call"), " ",
                               Context(evidence, policy, evidence.failing_workers, "failing"))};
    }
    if (Reaches(evidence.window.failures, calls, policy.failure_rate_threshold)) {
      return Trip{Cause::kFailureRate,
                  absl::StrCat(evidence.window.failures, " of ", Plural(calls, "call"),
                               " failed (threshold ", Percent(policy.failure_rate_threshold), ") ",
                               Context(evidence, policy, evidence.failing_workers, "failing"))};
    }
  }
  if (evidence.slow_workers >= policy.minimum_failing_workers &&
      Reaches(evidence.window.slow, calls, policy.slow_call_rate_threshold)) {
    return Trip{Cause::kSlowCallRate,
                absl::StrCat(evidence.window.slow, " of ", Plural(calls, "call"),
                             " took longer than ", Words(policy.expected_response_time),
                             " (threshold ", Percent(policy.slow_call_rate_threshold), ") ",
                             Context(evidence, policy, evidence.slow_workers, "slow"))};
  }
  return std::nullopt;
}

std::optional<TripAfter> CallsUntilTrip(const TripEvidence& evidence, CallKind kind, uint32_t count,
                                        const Policy& policy) {
  // With equal calls each rate goes one way only. So where the circuit does not open as soon as
  // there are enough calls, only what rises with their number can open it later, and once it would,
  // it goes on to: the first number of calls that opens it is found by halving.
  uint64_t first = 1;
  if (!evidence.minimum_waived && evidence.window.total() < policy.minimum_request_count) {
    first = policy.minimum_request_count - evidence.window.total();
  }
  if (first > count) return std::nullopt;
  uint32_t opens = static_cast<uint32_t>(first);
  std::optional<Trip> trip = ShouldTrip(With(evidence, kind, opens), policy);
  if (!trip.has_value() && opens < count) {
    uint32_t stays = opens;
    opens = count;
    trip = ShouldTrip(With(evidence, kind, opens), policy);
    while (trip.has_value() && opens - stays > 1) {
      const uint32_t middle = stays + (opens - stays) / 2;
      std::optional<Trip> earlier = ShouldTrip(With(evidence, kind, middle), policy);
      if (earlier.has_value()) {
        trip = std::move(earlier);
        opens = middle;
      } else {
        stays = middle;
      }
    }
  }
  if (!trip.has_value()) return std::nullopt;
  return TripAfter{opens, *std::move(trip)};
}

}  // namespace breaker::server
