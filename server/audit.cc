#include "server/audit.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "server/log.h"
#include "server/rpc/convert.h"
#include "server/rpc/policy_text.h"

namespace breaker::server {

void Audit(const Actor& actor, absl::string_view action, const KeyView& key,
           absl::string_view before, absl::string_view after, const absl::Status& status) {
  Log(status.ok() ? LogLevel::kInfo : LogLevel::kWarning, "audit",
      {{"who", actor.who},
       {"from", actor.from},
       {"action", action},
       {"service", key.service},
       {"operation", key.operation},
       {"before", before},
       {"after", after},
       {"result", status.ok() ? "OK" : status.message()}});
}

std::string Describe(const BreakerStats& stats) {
  std::string words = Name(stats.state);
  if (!stats.override.has_value()) return words;
  absl::StrAppend(&words, ", ", Name(stats.override->mode));
  if (!stats.override->actor.empty()) absl::StrAppend(&words, " by ", stats.override->actor);
  if (!stats.override->reason.empty()) absl::StrAppend(&words, ": ", stats.override->reason);
  if (stats.override->expires_at.has_value()) {
    absl::StrAppend(&words, ", until ",
                    absl::FormatTime(absl::RFC3339_sec, stats.override->expires_at->time(),
                                     absl::UTCTimeZone()));
  }
  return words;
}

std::string Describe(const Policy& policy) {
  v1::Policy proto;
  ToProto(policy, &proto);
  return absl::StrJoin(PolicyFields(proto), ",", absl::PairFormatter("="));
}

}  // namespace breaker::server
