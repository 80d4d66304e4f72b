// What a client says of how it reaches the daemon, and who it is: whether that makes sense.
#ifndef BREAKER_CLIENT_ACCESS_H_
#define BREAKER_CLIENT_ACCESS_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "breaker/client.h"

namespace breaker::internal {

// What the options for TLS and the token are called where they were given.
struct AccessNames {
  absl::string_view tls = "tls";  // what turns TLS on
  absl::string_view ca = "tls.ca_file";
  absl::string_view certificate = "tls.certificate_file";
  absl::string_view key = "tls.key_file";
  absl::string_view server_name = "tls.server_name";
  absl::string_view token = "token";
  absl::string_view token_file = "token_file";
  absl::string_view token_over_plaintext = "token_over_plaintext";
};

// INVALID_ARGUMENT names the option that contradicts another, or is wrong in itself.
absl::Status CheckAccess(const ClientOptions& options, const AccessNames& names = {});

// The same for the files, as they are now.
absl::Status CheckAccessFiles(const ClientOptions& options, const AccessNames& names = {});

}  // namespace breaker::internal

#endif  // BREAKER_CLIENT_ACCESS_H_
