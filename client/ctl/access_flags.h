// The flags that say how breakerd is reached, and who asks.
#ifndef BREAKER_CTL_ACCESS_FLAGS_H_
#define BREAKER_CTL_ACCESS_FLAGS_H_

#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "breaker/client.h"
#include "client/cpp/src/access.h"

namespace breaker::ctl {

// What the options are called on the command line; the environment has the names that --help shows.
inline constexpr internal::AccessNames kAccessFlags = {
    .tls = "--tls_ca",
    .ca = "--tls_ca",
    .certificate = "--tls_cert",
    .key = "--tls_key",
    .server_name = "--tls_server_name",
    .token = "BREAKERD_TOKEN",
    .token_file = "--token_file",
    .token_over_plaintext = "--token_over_plaintext",
};

// As the user gave them.
struct AccessFlags {
  std::string target = "127.0.0.1:50051";
  std::string ca;  // a file, or "system"; empty = no TLS
  std::string certificate_file;
  std::string key_file;
  std::string server_name;
  std::string token_file;
  bool token_over_plaintext = false;
};

// Adds the flags to `app`, which fills `flags` when it is parsed.
void AddAccessFlags(CLI::App& app, AccessFlags& flags);

// What they, and BREAKERD_TOKEN, mean. INVALID_ARGUMENT names the flag that contradicts another.
absl::StatusOr<ClientOptions> ToClientOptions(const AccessFlags& flags);

}  // namespace breaker::ctl

#endif  // BREAKER_CTL_ACCESS_FLAGS_H_
