#include <iomanip>
#include <iostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/cpp/src/convert.h"
#include "client/ctl/commands.h"
#include "client/ctl/remote.h"
#include "client/ctl/table.h"
#include "server/rpc/policy_text.h"

namespace breaker::ctl {
namespace {

std::string Instant(const google::protobuf::Timestamp& time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", internal::FromProto(time), absl::UTCTimeZone());
}

std::string SourceInWords(v1::CircuitStats::PolicySource source) {
  switch (source) {
    case v1::CircuitStats::WORKER:
      return "brought by a worker";
    case v1::CircuitStats::OPERATOR:
      return "set by an operator";
    default:
      return "built in";
  }
}

void Line(const std::string& name, const std::string& value) {
  std::cout << "  " << std::left << std::setw(14) << name << value << "\n";
}

void Print(const v1::CircuitStats& stats) {
  std::cout << stats.service() << "/" << stats.operation() << " is "
            << Coloured(v1::CircuitState_Name(stats.state()), WantsColours()) << " (generation "
            << stats.generation() << ")\n";
  if (stats.has_override()) Line("override", OverrideInWords(stats.override()));
  if (stats.has_next_attempt_time()) {
    Line("next attempt", absl::StrCat(Relative(stats.next_attempt_time()), ", ",
                                      Instant(stats.next_attempt_time())));
  }
  if (stats.ramp_fraction() < 1) {
    Line("ramp", absl::StrCat(stats.ramp_fraction() * 100, "% of calls admitted"));
  }
  Line("window",
       absl::StrCat("calls: ", stats.total_requests(), "; ", stats.success_count(), " succeeded, ",
                    stats.failure_count(), " failed, ", stats.slow_count(), " slow"));
  Line("failing",
       absl::StrCat(stats.consecutive_failures(), " in a row; workers: ", stats.failing_workers()));
  Line("in flight", absl::StrCat(stats.in_flight()));
  if (stats.has_last_failure_time()) {
    Line("last failure",
         absl::StrCat(Relative(stats.last_failure_time()), ", ", Instant(stats.last_failure_time()),
                      stats.last_failure_error().empty() ? "" : ": ", stats.last_failure_error()));
  }
  if (stats.has_last_success_time()) {
    Line("last success", absl::StrCat(Relative(stats.last_success_time()), ", ",
                                      Instant(stats.last_success_time())));
  }
  const v1::LifetimeCounts& lifetime = stats.lifetime();
  Line("lifetime",
       absl::StrCat(lifetime.successes(), " succeeded, ", lifetime.failures(), " failed, ",
                    lifetime.rejected(), " rejected, ", lifetime.ignored(), " ignored, ",
                    lifetime.abandoned(), " abandoned, ", lifetime.stale(),
                    " stale; times opened: ", lifetime.times_opened()));

  std::cout << "transitions, newest first\n";
  for (const v1::Transition& transition : stats.recent_transitions()) {
    std::cout << "  " << Instant(transition.time()) << "  "
              << v1::CircuitState_Name(transition.from()) << " -> "
              << v1::CircuitState_Name(transition.to()) << "  "
              << v1::Transition::Cause_Name(transition.cause()) << ": " << transition.reason()
              << "\n";
  }

  std::cout << "policy, " << SourceInWords(stats.policy_source()) << "\n";
  for (const auto& [name, value] : server::PolicyFields(stats.policy())) {
    std::cout << "  " << std::left << std::setw(29) << name << value << "\n";
  }
}

}  // namespace

int Stats(const Daemon& daemon, const Key& key, bool json) {
  v1::GetStatsRequest request;
  request.set_service(key.service);
  request.set_operation(key.operation);
  grpc::ClientContext context;
  SetDeadline(daemon, context);
  v1::CircuitStats stats;
  const grpc::Status status = Connect(daemon)->GetStats(&context, request, &stats);
  if (!status.ok()) return Fail(daemon, status);
  if (json) {
    std::cout << ToJson(stats);
  } else {
    Print(stats);
  }
  return kOk;
}

}  // namespace breaker::ctl
