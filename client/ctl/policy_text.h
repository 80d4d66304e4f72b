// A Policy as text, field by field. Works by reflection: a new field of the contract needs nothing
// here.
#ifndef BREAKER_CTL_POLICY_TEXT_H_
#define BREAKER_CTL_POLICY_TEXT_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "breaker/v1/breaker.pb.h"

namespace breaker::ctl {

// Sets the fields that "NAME=VALUE[,NAME=VALUE...]" names and leaves the others as they are.
// INVALID_ARGUMENT says which field is wrong and what is allowed.
absl::Status ParsePolicy(absl::string_view text, v1::Policy& policy);

// The fields that are set, by name, with values that ParsePolicy reads.
std::vector<std::pair<std::string, std::string>> PolicyFields(const v1::Policy& policy);

}  // namespace breaker::ctl

#endif  // BREAKER_CTL_POLICY_TEXT_H_
