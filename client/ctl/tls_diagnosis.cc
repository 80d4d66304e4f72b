#include "client/ctl/tls_diagnosis.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"

namespace breaker::ctl {
namespace {

struct Address {
  std::string host;
  std::string port;
};

// Of "host:port", "[::1]:port" and such after "dns:///"; no host for anything else.
Address AddressIn(absl::string_view target) {
  const absl::string_view dns = "dns:///";
  if (target.substr(0, dns.size()) == dns) target.remove_prefix(dns.size());
  const size_t colon = target.rfind(':');
  if (colon == absl::string_view::npos || target.find('/') != absl::string_view::npos) return {};
  absl::string_view host = target.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  return {.host = std::string(host), .port = std::string(target.substr(colon + 1))};
}

// A connected socket whose reads and writes end after `timeout`; -1 if nobody is there.
int Connect(const Address& address, absl::Duration timeout) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(address.host.c_str(), address.port.c_str(), &hints, &found) != 0) return -1;
  const absl::Cleanup free = [found] { freeaddrinfo(found); };
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    const int fd = socket(one->ai_family, one->ai_socktype | SOCK_CLOEXEC, one->ai_protocol);
    if (fd < 0) continue;
    const timeval time = absl::ToTimeval(timeout);  // connect() takes that of writes.
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof(time));
    if (connect(fd, one->ai_addr, one->ai_addrlen) == 0) return fd;
    close(fd);
  }
  return -1;
}

bool IsIpAddress(const std::string& name) {
  unsigned char bytes[sizeof(in6_addr)];
  return inet_pton(AF_INET, name.c_str(), bytes) == 1 ||
         inet_pton(AF_INET6, name.c_str(), bytes) == 1;
}

// "localhost, 127.0.0.1": whom a certificate is for.
std::string NamesIn(X509* certificate) {
  std::vector<std::string> names;
  auto* const alternatives = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(alternatives); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(alternatives, i);
    const auto* const text =
        static_cast<const ASN1_STRING*>(GENERAL_NAME_get0_value(name, nullptr));
    const absl::string_view bytes(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                                  static_cast<size_t>(ASN1_STRING_length(text)));
    if (name->type == GEN_DNS) {
      names.emplace_back(bytes);
    } else if (name->type == GEN_IPADD) {
      char address[INET6_ADDRSTRLEN] = {};
      inet_ntop(bytes.size() == 4 ? AF_INET : AF_INET6, bytes.data(), address, sizeof(address));
      names.emplace_back(address);
    }
  }
  GENERAL_NAMES_free(alternatives);
  return names.empty() ? "none" : absl::StrJoin(names, ", ");
}

std::string Date(const ASN1_TIME* time) {
  tm parts = {};
  ASN1_TIME_to_tm(time, &parts);
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromTM(parts, absl::UTCTimeZone()),
                          absl::UTCTimeZone());
}

using CertificatePtr = std::unique_ptr<X509, decltype(&X509_free)>;

// Verifies as OpenSSL does, and keeps the daemon's certificate, which it forgets if that fails.
int VerifyAndKeep(X509_STORE_CTX* context, void* kept) {
  X509* const certificate = X509_STORE_CTX_get0_cert(context);
  X509_up_ref(certificate);
  static_cast<CertificatePtr*>(kept)->reset(certificate);
  return X509_verify_cert(context);
}

// What is wrong with the daemon's certificate.
std::string CertificateFault(long result, X509* certificate, const TlsOptions& tls,
                             const std::string& expected) {
  const std::string because = X509_verify_cert_error_string(result);
  switch (result) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return absl::StrCat("its certificate has expired, at ",
                          Date(X509_get0_notAfter(certificate)));
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return "its certificate is not valid yet; is the clock right?";
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return absl::StrCat("its certificate is not for ", expected, ", but for ",
                          NamesIn(certificate), "; --tls_server_name says which name to expect");
    default:
      return absl::StrCat("its certificate is not signed by ",
                          tls.ca_file.empty()
                              ? "whom this system trusts; --tls_ca FILE names another"
                              : absl::StrCat("--tls_ca ", tls.ca_file),
                          " (", because, ")");
  }
}

// What the daemon said of our certificate, or of there being none.
std::string ClientCertificateFault(const TlsOptions& tls, const std::string& because) {
  const std::string reason = because.empty() ? "" : absl::StrCat(" (", because, ")");
  return tls.certificate_file.empty()
             ? absl::StrCat("it wants a certificate of us; give --tls_cert and --tls_key", reason)
             : absl::StrCat("it does not accept the certificate in --tls_cert ",
                            tls.certificate_file, reason);
}

bool IsAlert(int reason) { return reason >= SSL_AD_REASON_OFFSET; }

std::string Diagnose(const ClientOptions& options, const Address& address, int fd) {
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()),
                                                                  &SSL_CTX_free);
  const std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context.get()), &SSL_free);
  const unsigned char h2[] = {2, 'h', '2'};
  SSL_set_alpn_protos(ssl.get(), h2, sizeof(h2));
  SSL_set_fd(ssl.get(), fd);
  if (!options.tls.has_value()) {
    return SSL_connect(ssl.get()) == 1 || SSL_get_peer_cert_chain(ssl.get()) != nullptr
               ? "it speaks TLS; give --tls_ca"
               : "";
  }

  const TlsOptions& tls = *options.tls;
  if (tls.ca_file.empty()) {
    SSL_CTX_set_default_verify_paths(context.get());
  } else {
    SSL_CTX_load_verify_file(context.get(), tls.ca_file.c_str());
  }
  const std::string& expected = tls.server_name.empty() ? address.host : tls.server_name;
  if (IsIpAddress(expected)) {
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl.get()), expected.c_str());
  } else {
    SSL_set_tlsext_host_name(ssl.get(), expected.c_str());
    SSL_set1_host(ssl.get(), expected.c_str());
  }
  SSL_set_verify(ssl.get(), SSL_VERIFY_PEER, nullptr);
  CertificatePtr certificate(nullptr, &X509_free);
  SSL_CTX_set_cert_verify_callback(context.get(), &VerifyAndKeep, &certificate);
  if (!tls.certificate_file.empty()) {
    SSL_use_certificate_chain_file(ssl.get(), tls.certificate_file.c_str());
    SSL_use_PrivateKey_file(ssl.get(), tls.key_file.c_str(), SSL_FILETYPE_PEM);
  }
  ERR_clear_error();
  const bool connected = SSL_connect(ssl.get()) == 1;
  const long verified = SSL_get_verify_result(ssl.get());
  if (certificate != nullptr && verified != X509_V_OK) {
    return CertificateFault(verified, certificate.get(), tls, expected);
  }
  if (connected) {
    // By TLS 1.3 the daemon looks at our certificate after that; all being well, it then greets.
    char greeting = 0;
    if (SSL_read(ssl.get(), &greeting, 1) == 1) return "";
  }
  const int reason = ERR_GET_REASON(ERR_peek_error());
  const char* const because = ERR_reason_error_string(ERR_peek_error());
  if (connected || IsAlert(reason)) {
    return ClientCertificateFault(tls, because == nullptr ? "" : because);
  }
  return reason == SSL_R_WRONG_VERSION_NUMBER ? "it does not speak TLS; leave --tls_ca out" : "";
}

}  // namespace

std::string DiagnoseTls(const ClientOptions& options, absl::Duration timeout) {
  const Address address = AddressIn(options.target);
  if (address.host.empty()) return "";
  const int fd = Connect(address, timeout);
  if (fd < 0) return "";
  // OpenSSL writes to a connection that may be closed.
  struct sigaction ignore = {};
  ignore.sa_handler = SIG_IGN;
  struct sigaction before = {};
  sigaction(SIGPIPE, &ignore, &before);
  std::string words = Diagnose(options, address, fd);
  ERR_clear_error();
  sigaction(SIGPIPE, &before, nullptr);
  close(fd);
  return words;
}

}  // namespace breaker::ctl
