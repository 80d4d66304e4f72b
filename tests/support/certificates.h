#ifndef BREAKER_TESTS_SUPPORT_CERTIFICATES_H_
#define BREAKER_TESTS_SUPPORT_CERTIFICATES_H_

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace breaker::testing {

// A certificate authority of the test's own, which issues what the test needs: certificates that
// are right, have ended, or name another. Keys are EC P-256. Whatever fails ends the test program.
class CertificateAuthority {
 public:
  explicit CertificateAuthority(const std::string& name = "test CA");

  // In PEM.
  std::string certificate() const;

  struct Subject {
    std::string common_name;
    std::vector<std::string> dns_names = {};
    std::vector<std::string> uris = {};
    std::vector<std::string> ip_addresses = {};
    // From now.
    absl::Duration valid_from = -absl::Hours(1);
    absl::Duration valid_until = absl::Hours(24);
  };
  // In PEM.
  struct Issued {
    std::string certificate;
    std::string key;
  };
  Issued Issue(const Subject& subject) const;

  // A certificate for "localhost" and 127.0.0.1.
  Issued IssueForLoopback() const {
    return Issue(
        {.common_name = "breakerd", .dns_names = {"localhost"}, .ip_addresses = {"127.0.0.1"}});
  }

 private:
  struct Free {
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
    void operator()(X509* certificate) const { X509_free(certificate); }
  };
  using KeyPtr = std::unique_ptr<EVP_PKEY, Free>;
  using CertificatePtr = std::unique_ptr<X509, Free>;

  static KeyPtr NewKey();
  // Signed by `issuer_key`; by itself if `issuer` is null.
  static CertificatePtr Make(const Subject& subject, EVP_PKEY* key, X509* issuer,
                             EVP_PKEY* issuer_key);

  KeyPtr key_;
  CertificatePtr certificate_;
};

}  // namespace breaker::testing

#endif  // BREAKER_TESTS_SUPPORT_CERTIFICATES_H_
