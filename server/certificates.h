#ifndef BREAKER_CERTIFICATES_H_
#define BREAKER_CERTIFICATES_H_

#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/engine/mutex.h"

namespace breaker::server {

// Files in PEM.
struct TlsOptions {
  std::string cert;  // the daemon's own certificate, then those between it and the CA
  std::string key;
  std::string client_ca;        // whose certificates clients may show; empty = they show none
  bool client_required = true;  // with client_ca: a client without a certificate is refused
};

// The certificates that the daemon's ports use. Connections that are there outlive any change of
// them. Thread-safe.
class Certificates {
 public:
  // Reads the files. An error says in one sentence what is wrong with which.
  static absl::StatusOr<std::unique_ptr<Certificates>> Load(TlsOptions options);
  ~Certificates();

  Certificates(const Certificates&) = delete;
  Certificates& operator=(const Certificates&) = delete;

  // Reads the files again; connections made from about a second later on use what they hold. Files
  // that are wrong, or do not fit together, change nothing. Logs either, and what is the same as
  // before only if `asked`.
  void Reload(bool asked) ABSL_LOCKS_EXCLUDED(mu_);

  std::vector<std::string> paths() const;

  // For gRPC. Valid for as long as this lives.
  std::shared_ptr<grpc::ServerCredentials> ServerCredentials() const;

 private:
  struct Contents;
  class AnonymousFile;

  explicit Certificates(TlsOptions options);

  absl::StatusOr<std::shared_ptr<const Contents>> Read() const;
  void Use(std::shared_ptr<const Contents> contents) ABSL_LOCKS_EXCLUDED(mu_);

  const TlsOptions options_;
  // What was valid last, for gRPC, which reads files and takes them as they are.
  std::unique_ptr<AnonymousFile> own_file_;        // certificates and key
  std::unique_ptr<AnonymousFile> client_ca_file_;  // null = none

  mutable Mutex mu_;
  std::shared_ptr<const Contents> contents_ ABSL_GUARDED_BY(mu_);
};

}  // namespace breaker::server

#endif  // BREAKER_CERTIFICATES_H_
