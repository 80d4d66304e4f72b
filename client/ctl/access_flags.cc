#include "client/ctl/access_flags.h"

#include <stdlib.h>

#include "absl/strings/str_cat.h"

namespace breaker::ctl {

void AddAccessFlags(CLI::App& app, AccessFlags& flags) {
  app.add_option("--target", flags.target, "Where breakerd listens")
      ->envname("BREAKERD_TARGET")
      ->capture_default_str();
  app.add_option("--tls_ca", flags.ca,
                 "PEM file of who signs breakerd's certificate, or system for those that this "
                 "system trusts; turns TLS on")
      ->envname("BREAKERD_TLS_CA")
      ->type_name("FILE|system");
  app.add_option("--tls_cert", flags.certificate_file, "PEM file of a certificate to show breakerd")
      ->envname("BREAKERD_CLIENT_CERT")
      ->type_name("FILE");
  app.add_option("--tls_key", flags.key_file, "PEM file of its key")
      ->envname("BREAKERD_CLIENT_KEY")
      ->type_name("FILE");
  app.add_option("--tls_server_name", flags.server_name,
                 "Name in breakerd's certificate, if not the target's host")
      ->envname("BREAKERD_TLS_SERVER_NAME")
      ->type_name("NAME");
  app.add_option("--token_file", flags.token_file,
                 "File with the token that says who asks; BREAKERD_TOKEN may hold the token itself")
      ->envname("BREAKERD_TOKEN_FILE")
      ->type_name("FILE");
  app.add_flag("--token_over_plaintext", flags.token_over_plaintext,
               "Send the token without TLS too; anybody on the way may read it")
      ->envname("BREAKERD_TOKEN_OVER_PLAINTEXT");
}

absl::StatusOr<ClientOptions> ToClientOptions(const AccessFlags& flags) {
  ClientOptions options = {.target = flags.target};
  if (!flags.ca.empty()) {
    options.tls = TlsOptions{.ca_file = flags.ca == "system" ? "" : flags.ca,
                             .certificate_file = flags.certificate_file,
                             .key_file = flags.key_file,
                             .server_name = flags.server_name};
  } else if (!flags.certificate_file.empty() || !flags.key_file.empty() ||
             !flags.server_name.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(!flags.certificate_file.empty() ? kAccessFlags.certificate
                     : !flags.key_file.empty()       ? kAccessFlags.key
                                                     : kAccessFlags.server_name,
                     " needs --tls_ca FILE, or --tls_ca system: without it there is no TLS"));
  }
  options.token_file = flags.token_file;
  // A file that is named on the command line wins.
  const char* const token = getenv("BREAKERD_TOKEN");
  if (token != nullptr && flags.token_file.empty()) options.token = token;
  options.token_over_plaintext = flags.token_over_plaintext;
  if (absl::Status status = internal::CheckAccess(options, kAccessFlags); !status.ok()) {
    return status;
  }
  return options;
}

}  // namespace breaker::ctl
