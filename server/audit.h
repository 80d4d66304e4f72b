#ifndef BREAKER_AUDIT_H_
#define BREAKER_AUDIT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/engine/breaker.h"
#include "server/engine/key.h"
#include "server/engine/policy.h"

namespace breaker::server {

// An operator, as far as is known.
struct Actor {
  std::string who;   // the identity; empty = nobody is asked
  std::string from;  // the address, or what the operator used
};

// What one act of an operator did, or that it was refused: a line of the log, "audit". Thread-safe.
void Audit(const Actor& actor, absl::string_view action, const KeyView& key,
           absl::string_view before, absl::string_view after, const absl::Status& status);

// "CLOSED", or "OPEN, FORCED_OPEN by ana: migration, until 2026-11-23T20:00:00Z".
std::string Describe(const BreakerStats& stats);
// "failure_threshold=3,recovery_timeout=20s,..."
std::string Describe(const Policy& policy);

}  // namespace breaker::server

#endif  // BREAKER_AUDIT_H_
