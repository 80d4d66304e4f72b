#include "client/cpp/src/access.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/cpp/src/text_file.h"
#include "client/cpp/src/token_source.h"

namespace breaker::internal {
namespace {

using BioPtr = std::unique_ptr<BIO, decltype(&BIO_free)>;
using CertificatePtr = std::unique_ptr<X509, decltype(&X509_free)>;
using KeyPtr = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

BioPtr Reading(const std::string& pem) {
  return {BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), &BIO_free};
}

// The first one of the file.
absl::StatusOr<CertificatePtr> ReadCertificate(absl::string_view name, const std::string& path) {
  const absl::StatusOr<std::string> pem = ReadTextFile(path);
  if (!pem.ok())
    return absl::InvalidArgumentError(absl::StrCat(name, ": ", pem.status().message()));
  CertificatePtr certificate(PEM_read_bio_X509(Reading(*pem).get(), nullptr, nullptr, nullptr),
                             &X509_free);
  if (certificate == nullptr) {
    ERR_clear_error();
    return absl::InvalidArgumentError(absl::StrCat(name, ": ", path, " holds no PEM certificate"));
  }
  return certificate;
}

absl::StatusOr<KeyPtr> ReadKey(absl::string_view name, const std::string& path) {
  const absl::StatusOr<std::string> pem = ReadTextFile(path);
  if (!pem.ok())
    return absl::InvalidArgumentError(absl::StrCat(name, ": ", pem.status().message()));
  // An empty passphrase, or OpenSSL would ask for one on the terminal.
  char passphrase[] = "";
  KeyPtr key(PEM_read_bio_PrivateKey(Reading(*pem).get(), nullptr, nullptr, passphrase),
             &EVP_PKEY_free);
  if (key == nullptr) {
    ERR_clear_error();
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": ", path, " holds no PEM key, or one with a passphrase"));
  }
  return key;
}

}  // namespace

absl::Status CheckAccess(const ClientOptions& options, const AccessNames& names) {
  const auto contradiction = [](auto... parts) {
    return absl::InvalidArgumentError(absl::StrCat(parts...));
  };
  if (options.tls.has_value()) {
    const bool certificate = !options.tls->certificate_file.empty();
    if (certificate != !options.tls->key_file.empty()) {
      return contradiction(certificate ? names.certificate : names.key, " needs ",
                           certificate ? names.key : names.certificate, " as well");
    }
  }
  if (!options.token.empty() && !options.token_file.empty()) {
    return contradiction(names.token, " and ", names.token_file, " are both set; choose one");
  }
  if (!options.token.empty() && !IsToken(options.token)) {
    return contradiction(names.token, " is no token: ", kTokenRule);
  }
  const bool has_token = !options.token.empty() || !options.token_file.empty();
  if (has_token && !options.tls.has_value() && !options.token_over_plaintext) {
    return contradiction(options.token.empty() ? names.token_file : names.token,
                         " would be sent in plaintext: set ", names.tls, ", or ",
                         names.token_over_plaintext, " if anybody on the way may read it");
  }
  return absl::OkStatus();
}

absl::Status CheckAccessFiles(const ClientOptions& options, const AccessNames& names) {
  if (options.tls.has_value()) {
    const TlsOptions& tls = *options.tls;
    if (!tls.ca_file.empty()) {
      const auto ca = ReadCertificate(names.ca, tls.ca_file);
      if (!ca.ok()) return ca.status();
    }
    if (!tls.certificate_file.empty()) {
      const auto certificate = ReadCertificate(names.certificate, tls.certificate_file);
      if (!certificate.ok()) return certificate.status();
      const auto key = ReadKey(names.key, tls.key_file);
      if (!key.ok()) return key.status();
      if (X509_check_private_key(certificate->get(), key->get()) != 1) {
        ERR_clear_error();
        return absl::InvalidArgumentError(absl::StrCat(names.key, ": the key in ", tls.key_file,
                                                       " is not that of the certificate in ",
                                                       tls.certificate_file));
      }
    }
  }
  if (!options.token_file.empty()) {
    const absl::StatusOr<std::string> token = ReadToken(options.token_file);
    if (!token.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(names.token_file, ": ", token.status().message()));
    }
  }
  return absl::OkStatus();
}

}  // namespace breaker::internal
