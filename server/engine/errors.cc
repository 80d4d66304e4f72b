#include "server/engine/errors.h"

#include "absl/strings/str_cat.h"

namespace breaker::server::errors {

absl::Status InvalidField(absl::string_view field, absl::string_view value,
                          absl::string_view allowed) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", value, " is not ", allowed));
}

absl::Status NoSuchBreaker(const KeyView& key) {
  return absl::NotFoundError(absl::StrCat("no breaker ", key.service, "/", key.operation));
}

absl::Status NotOverridden(const KeyView& key) {
  return absl::NotFoundError(
      absl::StrCat("breaker ", key.service, "/", key.operation, " has no override"));
}

absl::Status NoSuchPolicy(const KeyView& key) {
  return absl::NotFoundError(
      absl::StrCat("no policy is set for ", key.service, "/", key.operation, " by SetPolicy"));
}

absl::Status TooManyBreakers(const KeyView& key, size_t max_breakers) {
  return absl::ResourceExhaustedError(absl::StrCat("cannot create breaker ", key.service, "/",
                                                   key.operation, ": all ", max_breakers,
                                                   " of --max_breakers are in use"));
}

absl::Status MissingBatches(uint64_t previous, uint64_t applied) {
  return absl::AbortedError(absl::StrCat("previous_sequence: ", previous,
                                         " is missing, the last batch of this session here is ",
                                         applied, "; send again those after it"));
}

}  // namespace breaker::server::errors
