#ifndef BREAKER_TESTS_SUPPORT_TLS_SERVER_H_
#define BREAKER_TESTS_SUPPORT_TLS_SERVER_H_

#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>

#include "tests/support/certificates.h"

namespace breaker::testing {

// For a server that shows this certificate, and wants one of the CA `client_ca` if there is one.
inline std::shared_ptr<grpc::ServerCredentials> TlsServer(
    const CertificateAuthority::Issued& issued, const std::string& client_ca = {}) {
  grpc::SslServerCredentialsOptions options(
      client_ca.empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                        : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = client_ca;
  options.pem_key_cert_pairs.push_back(
      {.private_key = issued.key, .cert_chain = issued.certificate});
  return grpc::SslServerCredentials(options);
}

}  // namespace breaker::testing

#endif  // BREAKER_TESTS_SUPPORT_TLS_SERVER_H_
