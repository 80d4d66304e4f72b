// ClientOptions::FromEnvironment.
#include <stdlib.h>

#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "breaker/client.h"
#include "client/cpp/src/access.h"
#include "server/engine/limits.h"

namespace breaker {
namespace {

constexpr internal::AccessNames kNames = {
    .tls = "BREAKERD_TLS_CA",
    .ca = "BREAKERD_TLS_CA",
    .certificate = "BREAKERD_CLIENT_CERT",
    .key = "BREAKERD_CLIENT_KEY",
    .server_name = "BREAKERD_TLS_SERVER_NAME",
    .token = "BREAKERD_TOKEN",
    .token_file = "BREAKERD_TOKEN_FILE",
    .token_over_plaintext = "BREAKERD_TOKEN_OVER_PLAINTEXT=1",
};

std::string Get(const char* name) {
  const char* const value = getenv(name);
  return value == nullptr ? "" : value;
}

bool HasPort(absl::string_view target) {
  const size_t colon = target.rfind(':');
  uint32_t port = 0;
  return colon != absl::string_view::npos && colon > 0 &&
         absl::SimpleAtoi(target.substr(colon + 1), &port) && port > 0 && port < 65'536;
}

}  // namespace

absl::StatusOr<ClientOptions> ClientOptions::FromEnvironment() {
  ClientOptions options;
  if (std::string target = Get("BREAKERD_TARGET"); !target.empty()) {
    if (!HasPort(target) && target.rfind("unix", 0) != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("BREAKERD_TARGET is '", target, "', which is not HOST:PORT"));
    }
    options.target = std::move(target);
  }
  options.worker_id = Get("BREAKERD_WORKER_ID");
  if (options.worker_id.size() > server::kMaxWorkerIdBytes) {
    return absl::InvalidArgumentError(absl::StrCat("BREAKERD_WORKER_ID has ",
                                                   options.worker_id.size(), " bytes; it may have ",
                                                   server::kMaxWorkerIdBytes));
  }

  if (const std::string ca = Get("BREAKERD_TLS_CA"); !ca.empty()) {
    options.tls = TlsOptions{.ca_file = ca == "system" ? "" : ca,
                             .certificate_file = Get("BREAKERD_CLIENT_CERT"),
                             .key_file = Get("BREAKERD_CLIENT_KEY"),
                             .server_name = Get("BREAKERD_TLS_SERVER_NAME")};
  } else {
    for (const absl::string_view name : {kNames.certificate, kNames.key, kNames.server_name}) {
      if (Get(std::string(name).c_str()).empty()) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          name, " needs BREAKERD_TLS_CA, a file or 'system': without it there is no TLS"));
    }
  }
  options.token = Get("BREAKERD_TOKEN");
  options.token_file = Get("BREAKERD_TOKEN_FILE");
  const std::string over_plaintext = Get("BREAKERD_TOKEN_OVER_PLAINTEXT");
  if (!over_plaintext.empty() && over_plaintext != "0" && over_plaintext != "1") {
    return absl::InvalidArgumentError(
        absl::StrCat("BREAKERD_TOKEN_OVER_PLAINTEXT is '", over_plaintext, "'; it may be 1 or 0"));
  }
  options.token_over_plaintext = over_plaintext == "1";

  if (absl::Status status = internal::CheckAccess(options, kNames); !status.ok()) return status;
  if (absl::Status status = internal::CheckAccessFiles(options, kNames); !status.ok()) {
    return status;
  }
  return options;
}

}  // namespace breaker
