#include "server/certificates.h"

#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/log.h"
#include "server/yaml_reader.h"

namespace breaker::server {
namespace {

struct Free {
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(X509* certificate) const { X509_free(certificate); }
};
using BioPtr = std::unique_ptr<BIO, Free>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Free>;
using CertificatePtr = std::unique_ptr<X509, Free>;

BioPtr Open(const std::string& text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// All that a file holds. Empty if one of them is not right.
std::vector<CertificatePtr> ParseCertificates(const std::string& pem) {
  std::vector<CertificatePtr> certificates;
  const BioPtr bio = Open(pem);
  while (CertificatePtr certificate{PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)}) {
    certificates.push_back(std::move(certificate));
  }
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (!at_end) certificates.clear();
  return certificates;
}

// Null if the file holds no key that can be read; one with a passphrase cannot.
KeyPtr ParseKey(const std::string& pem) {
  const auto no_passphrase = [](char*, int, int, void*) { return -1; };
  KeyPtr key(PEM_read_bio_PrivateKey(Open(pem).get(), nullptr, no_passphrase, nullptr));
  ERR_clear_error();
  return key;
}

std::string NameOf(const X509* certificate) {
  char name[256];
  X509_NAME_oneline(X509_get_subject_name(certificate), name, sizeof name);
  return name;
}

absl::Time EndOf(const X509* certificate) {
  tm end = {};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) != 1) return absl::InfinitePast();
  return absl::FromTM(end, absl::UTCTimeZone());
}

}  // namespace

// A file in memory that nobody else sees, by a path of this process.
class Certificates::AnonymousFile {
 public:
  AnonymousFile() : fd_(memfd_create("breakerd-tls", MFD_CLOEXEC)) {}
  ~AnonymousFile() { close(fd_); }
  AnonymousFile(const AnonymousFile&) = delete;
  AnonymousFile& operator=(const AnonymousFile&) = delete;

  bool Write(const std::string& text) {
    const ssize_t written = pwrite(fd_, text.data(), text.size(), 0);
    return written == static_cast<ssize_t>(text.size()) &&
           ftruncate(fd_, static_cast<off_t>(text.size())) == 0;
  }
  std::string path() const { return absl::StrCat("/proc/self/fd/", fd_); }

 private:
  const int fd_;
};

// The files, read and found to be right.
struct Certificates::Contents {
  std::string cert_pem;
  std::string key_pem;
  std::string client_ca_pem;
  CertificatePtr own;
};

Certificates::Certificates(TlsOptions options)
    : options_(std::move(options)),
      own_file_(std::make_unique<AnonymousFile>()),
      client_ca_file_(options_.client_ca.empty() ? nullptr : std::make_unique<AnonymousFile>()) {}

Certificates::~Certificates() = default;

absl::StatusOr<std::unique_ptr<Certificates>> Certificates::Load(TlsOptions options) {
  auto certificates = std::unique_ptr<Certificates>(new Certificates(std::move(options)));
  absl::StatusOr<std::shared_ptr<const Contents>> contents = certificates->Read();
  if (!contents.ok()) return contents.status();
  certificates->Use(*std::move(contents));
  return certificates;
}

std::vector<std::string> Certificates::paths() const {
  std::vector<std::string> paths = {options_.cert, options_.key};
  if (!options_.client_ca.empty()) paths.push_back(options_.client_ca);
  return paths;
}

absl::StatusOr<std::shared_ptr<const Certificates::Contents>> Certificates::Read() const {
  auto contents = std::make_shared<Contents>();
  const auto read = [](const std::string& path, std::string* text) {
    absl::StatusOr<std::string> file = ReadFile(path);
    if (file.ok()) *text = *std::move(file);
    return file.status();
  };
  absl::Status status = read(options_.cert, &contents->cert_pem);
  status.Update(read(options_.key, &contents->key_pem));
  if (!options_.client_ca.empty())
    status.Update(read(options_.client_ca, &contents->client_ca_pem));
  if (!status.ok()) return status;

  std::vector<CertificatePtr> chain = ParseCertificates(contents->cert_pem);
  if (chain.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("--tls_cert: ", options_.cert,
                                                   " holds no certificate in PEM, or a wrong one"));
  }
  const KeyPtr key = ParseKey(contents->key_pem);
  if (key == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--tls_key: ", options_.key, " holds no private key in PEM, or one with a passphrase"));
  }
  if (X509_check_private_key(chain[0].get(), key.get()) != 1) {
    ERR_clear_error();
    return absl::InvalidArgumentError(absl::StrCat("--tls_key: ", options_.key,
                                                   " is not the key of the first certificate in ",
                                                   options_.cert));
  }
  if (!options_.client_ca.empty() && ParseCertificates(contents->client_ca_pem).empty()) {
    return absl::InvalidArgumentError(absl::StrCat("--tls_client_ca: ", options_.client_ca,
                                                   " holds no certificate in PEM, or a wrong one"));
  }
  contents->own = std::move(chain[0]);
  return contents;
}

void Certificates::Use(std::shared_ptr<const Contents> contents) {
  const X509* const own = contents->own.get();
  const absl::Time end = EndOf(own);
  const bool over = end < absl::Now();
  // Certificates and key in one file, so that none is ever read with another's.
  bool written = own_file_->Write(absl::StrCat(contents->cert_pem, "\n", contents->key_pem, "\n"));
  if (client_ca_file_ != nullptr) written &= client_ca_file_->Write(contents->client_ca_pem);
  Log(over || !written ? LogLevel::kWarning : LogLevel::kInfo,
      over      ? "certificate_is_over"
      : written ? "certificate_loaded"
                : "certificate_not_passed_on",
      {{"file", options_.cert},
       {"subject", NameOf(own)},
       {"valid_until", absl::FormatTime(absl::RFC3339_sec, end, absl::UTCTimeZone())}});
  MutexLock lock(&mu_);
  contents_ = std::move(contents);
}

void Certificates::Reload(bool asked) {
  absl::StatusOr<std::shared_ptr<const Contents>> contents = Read();
  if (!contents.ok()) {
    Log(LogLevel::kError, "certificate_not_loaded", {{"reason", contents.status().message()}});
    return;
  }
  if (!asked) {
    MutexLock lock(&mu_);
    if ((*contents)->cert_pem == contents_->cert_pem &&
        (*contents)->key_pem == contents_->key_pem &&
        (*contents)->client_ca_pem == contents_->client_ca_pem) {
      return;
    }
  }
  Use(*std::move(contents));
}

std::shared_ptr<grpc::ServerCredentials> Certificates::ServerCredentials() const {
  constexpr unsigned kLookEverySeconds = 1;
  const auto files = std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
      own_file_->path(), own_file_->path(),
      client_ca_file_ == nullptr ? "" : client_ca_file_->path(), kLookEverySeconds);
  grpc::experimental::TlsServerCredentialsOptions tls(files);
  tls.watch_identity_key_cert_pairs();
  if (client_ca_file_ == nullptr) {
    tls.set_cert_request_type(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  } else {
    tls.watch_root_certs();
    tls.set_cert_request_type(options_.client_required
                                  ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                  : GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(tls);
}

}  // namespace breaker::server
