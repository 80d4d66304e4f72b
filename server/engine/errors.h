#ifndef BREAKER_ENGINE_ERRORS_H_
#define BREAKER_ENGINE_ERRORS_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/engine/key.h"

// Every error that a user can see, one function each. A message names what is wrong, the value that
// was given, and what is allowed.
namespace breaker::server::errors {

// "policy.failure_rate_threshold: 1.5 is not in (0, 1]"
absl::Status InvalidField(absl::string_view field, absl::string_view value,
                          absl::string_view allowed);

absl::Status NoSuchBreaker(const KeyView& key);
absl::Status NotOverridden(const KeyView& key);
absl::Status NoSuchPolicy(const KeyView& key);
absl::Status TooManyBreakers(const KeyView& key, size_t max_breakers);
absl::Status MissingBatches(uint64_t previous, uint64_t applied);

}  // namespace breaker::server::errors

#endif  // BREAKER_ENGINE_ERRORS_H_
