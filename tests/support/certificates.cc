#include "tests/support/certificates.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <cstdint>
#include <cstdlib>
#include <iostream>

#include "absl/strings/str_join.h"

namespace breaker::testing {
namespace {

void Check(bool succeeded, const char* what) {
  if (succeeded) return;
  std::cerr << "certificates: " << what << " failed\n";
  ERR_print_errors_fp(stderr);
  abort();
}

template <typename Write>
std::string Pem(Write write) {
  BIO* const bio = BIO_new(BIO_s_mem());
  Check(write(bio) == 1, "writing PEM");
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string pem(data, static_cast<size_t>(size));
  BIO_free(bio);
  return pem;
}

void AddExtension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer == nullptr ? certificate : issuer, certificate, nullptr, nullptr,
                 0);
  X509_EXTENSION* const extension =
      X509V3_EXT_conf_nid(nullptr, &context, nid, const_cast<char*>(value.c_str()));
  Check(extension != nullptr, value.c_str());
  Check(X509_add_ext(certificate, extension, -1) == 1, "X509_add_ext");
  X509_EXTENSION_free(extension);
}

// "DNS:localhost,IP:127.0.0.1"
std::string AlternativeNames(const CertificateAuthority::Subject& subject) {
  std::vector<std::string> names;
  for (const std::string& name : subject.dns_names) names.push_back("DNS:" + name);
  for (const std::string& uri : subject.uris) names.push_back("URI:" + uri);
  for (const std::string& address : subject.ip_addresses) names.push_back("IP:" + address);
  return absl::StrJoin(names, ",");
}

}  // namespace

CertificateAuthority::CertificateAuthority(const std::string& name)
    : key_(NewKey()),
      certificate_(Make({.common_name = name, .valid_until = absl::Hours(24 * 365)}, key_.get(),
                        nullptr, key_.get())) {}

std::string CertificateAuthority::certificate() const {
  return Pem([&](BIO* bio) { return PEM_write_bio_X509(bio, certificate_.get()); });
}

CertificateAuthority::Issued CertificateAuthority::Issue(const Subject& subject) const {
  const KeyPtr key = NewKey();
  const CertificatePtr made = Make(subject, key.get(), certificate_.get(), key_.get());
  return {Pem([&](BIO* bio) { return PEM_write_bio_X509(bio, made.get()); }), Pem([&](BIO* bio) {
            return PEM_write_bio_PKCS8PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr,
                                                 nullptr);
          })};
}

CertificateAuthority::KeyPtr CertificateAuthority::NewKey() {
  KeyPtr key(EVP_EC_gen("P-256"));
  Check(key != nullptr, "EVP_EC_gen");
  return key;
}

CertificateAuthority::CertificatePtr CertificateAuthority::Make(const Subject& subject,
                                                                EVP_PKEY* key, X509* issuer,
                                                                EVP_PKEY* issuer_key) {
  CertificatePtr made(X509_new());
  X509_set_version(made.get(), 2);  // X.509 version 3
  uint64_t serial = 0;
  Check(RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial) == 1, "RAND_bytes");
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(made.get()), serial >> 1);
  X509_gmtime_adj(X509_getm_notBefore(made.get()), absl::ToInt64Seconds(subject.valid_from));
  X509_gmtime_adj(X509_getm_notAfter(made.get()), absl::ToInt64Seconds(subject.valid_until));
  X509_NAME_add_entry_by_txt(X509_get_subject_name(made.get()), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(subject.common_name.c_str()),
                             -1, -1, 0);
  X509* const signer = issuer == nullptr ? made.get() : issuer;
  X509_set_issuer_name(made.get(), X509_get_subject_name(signer));
  X509_set_pubkey(made.get(), key);
  AddExtension(made.get(), issuer, NID_basic_constraints,
               issuer == nullptr ? "critical,CA:TRUE" : "critical,CA:FALSE");
  AddExtension(made.get(), issuer, NID_subject_key_identifier, "hash");
  if (issuer == nullptr) {
    AddExtension(made.get(), issuer, NID_key_usage, "critical,keyCertSign,cRLSign");
  } else {
    AddExtension(made.get(), issuer, NID_authority_key_identifier, "keyid");
    AddExtension(made.get(), issuer, NID_key_usage, "critical,digitalSignature");
    AddExtension(made.get(), issuer, NID_ext_key_usage, "serverAuth,clientAuth");
  }
  if (const std::string names = AlternativeNames(subject); !names.empty()) {
    AddExtension(made.get(), issuer, NID_subject_alt_name, names);
  }
  Check(X509_sign(made.get(), issuer_key, EVP_sha256()) != 0, "X509_sign");
  return made;
}

}  // namespace breaker::testing
