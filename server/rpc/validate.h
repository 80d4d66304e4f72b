#ifndef BREAKER_RPC_VALIDATE_H_
#define BREAKER_RPC_VALIDATE_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace breaker::server {

// Checks of what clients send. Each gives OK or an INVALID_ARGUMENT that names the field, the value
// and what is allowed.

// A service or an operation: 1 to 128 bytes of UTF-8 without control characters.
absl::Status CheckName(absl::string_view field, absl::string_view value);

// At most 128 bytes of the same; may be empty.
absl::Status CheckWorkerId(absl::string_view value);

// What an operator says of what they do: at most 256 bytes of the same; may be empty.
absl::Status CheckNote(absl::string_view field, absl::string_view value);

// As much of `text` as fits into `bytes` without cutting a UTF-8 character in two.
absl::string_view CutUtf8(absl::string_view text, size_t bytes);

}  // namespace breaker::server

#endif  // BREAKER_RPC_VALIDATE_H_
