#ifndef BREAKER_POLICY_FILE_H_
#define BREAKER_POLICY_FILE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "breaker/v1/admin.pb.h"

namespace breaker::server {

// Policies as a file in YAML, for the daemon's --policies and for breakerctl:
//
//   policies:
//     - service: dynamodb
//       operation: storeUserMessage   # "*" = every operation of the service
//       policy:
//         failure_threshold: 3
//         recovery_timeout: 20s
//
// The fields of a policy are those of breaker.v1.Policy, durations with their units; what is left
// out takes its default. Both functions are thread-safe.

// Reads it. INVALID_ARGUMENT says at which line of `name` (the file's) what is wrong and what is
// allowed: "policies.yaml:5: policy.failure_threshold: 'x' is not a whole number ...".
absl::StatusOr<std::vector<v1::SetPolicyRequest>> ParsePolicies(const std::string& text,
                                                                absl::string_view name);

// The same of a file. NOT_FOUND or UNAVAILABLE if it cannot be read.
absl::StatusOr<std::vector<v1::SetPolicyRequest>> ReadPolicies(const std::string& path);

// Writes what ParsePolicies reads.
std::string FormatPolicies(const std::vector<v1::SetPolicyRequest>& policies);

}  // namespace breaker::server

#endif  // BREAKER_POLICY_FILE_H_
