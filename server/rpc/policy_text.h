#ifndef BREAKER_RPC_POLICY_TEXT_H_
#define BREAKER_RPC_POLICY_TEXT_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "breaker/v1/breaker.pb.h"

namespace breaker::server {

// A Policy as text, field by field. Works by reflection: a new field of the contract needs nothing
// here.

// Sets one field. INVALID_ARGUMENT says that there is no such field, or what is allowed of it.
absl::Status SetPolicyField(absl::string_view name, absl::string_view value, v1::Policy& policy);

// Sets the fields that "NAME=VALUE[,NAME=VALUE...]" names and leaves the others as they are.
// INVALID_ARGUMENT says which field is wrong and what is allowed.
absl::Status ParsePolicy(absl::string_view text, v1::Policy& policy);

// The fields that are set, by name, with values that ParsePolicy reads.
std::vector<std::pair<std::string, std::string>> PolicyFields(const v1::Policy& policy);

}  // namespace breaker::server

#endif  // BREAKER_RPC_POLICY_TEXT_H_
