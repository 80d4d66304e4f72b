// The daemon's ports with TLS: what a client must show, what it is shown, and certificates that
// change while calls are made.

#include <grpcpp/grpcpp.h>
#include <stdlib.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "breaker/v1/breaker.grpc.pb.h"
#include "gmock/gmock.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "gtest/gtest.h"
#include "server/daemon.h"
#include "server/engine/clock.h"
#include "tests/support/certificates.h"
#include "tests/support/channel.h"
#include "tests/support/daemon_process.h"
#include "tests/support/eventually.h"
#include "tests/support/status_matchers.h"
#include "tests/support/subprocess.h"
#include "tests/support/temp_dir.h"

namespace breaker::testing {
namespace {

using ::testing::HasSubstr;

void Write(const std::string& path, const std::string& text) {
  std::ofstream(path + ".new") << text;
  ASSERT_EQ(rename((path + ".new").c_str(), path.c_str()), 0);
}

// c-ares, gRPC's other resolver, leaks ten bytes when a process ends, which AddressSanitizer
// reports.
[[maybe_unused]] const int kNativeResolver = setenv("GRPC_DNS_RESOLVER", "native", 1);

// What a client brings.
std::shared_ptr<grpc::ChannelCredentials> Trusting(const CertificateAuthority& ca,
                                                   const CertificateAuthority::Issued& own = {}) {
  return grpc::SslCredentials({ca.certificate(), own.key, own.certificate});
}

class TlsTest : public ::testing::Test {
 protected:
  TlsTest() { UseCertificate(ca_.IssueForLoopback()); }

  void UseCertificate(const CertificateAuthority::Issued& issued) {
    Write(dir_ / "tls.key", issued.key);
    Write(dir_ / "tls.crt", issued.certificate);
  }

  void Start(std::vector<std::string> flags = {}) {
    flags.push_back("--tls_cert=" + (dir_ / "tls.crt"));
    flags.push_back("--tls_key=" + (dir_ / "tls.key"));
    daemon_ = std::make_unique<DaemonProcess>(flags);
  }
  void StartWithClientCa(std::vector<std::string> flags = {}) {
    Write(dir_ / "ca.crt", client_ca_.certificate());
    flags.push_back("--tls_client_ca=" + (dir_ / "ca.crt"));
    Start(std::move(flags));
  }

  std::string Localhost() const {
    const std::vector<std::string> parts = absl::StrSplit(daemon_->target(), ':');
    return "localhost:" + parts.back();
  }

  // One call on a connection of its own.
  grpc::Status Call(const std::shared_ptr<grpc::ChannelCredentials>& credentials,
                    const std::string& target = "") {
    const auto stub = v1::CircuitBreaker::NewStub(
        NewChannel(target.empty() ? daemon_->target() : target, credentials));
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    v1::ListStatsResponse page;
    return stub->ListStats(&context, v1::ListStatsRequest(), &page);
  }

  // The common name of what a new connection is shown; "" if it cannot be made.
  std::string ShownName(const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
    const auto stub = v1::CircuitBreaker::NewStub(NewChannel(daemon_->target(), credentials));
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    v1::ListStatsResponse page;
    if (!stub->ListStats(&context, v1::ListStatsRequest(), &page).ok()) return "";
    const auto names = context.auth_context()->FindPropertyValues("x509_common_name");
    return names.empty() ? "" : std::string(names[0].data(), names[0].size());
  }

  CertificateAuthority ca_{"CA of the daemon"};
  CertificateAuthority client_ca_{"CA of the clients"};
  TempDir dir_;
  std::unique_ptr<DaemonProcess> daemon_;
};

// ---------------------------------------------------------------------------------------------
// What the daemon shows

TEST_F(TlsTest, AClientThatTrustsTheCaIsServed) {
  Start();
  EXPECT_TRUE(Call(Trusting(ca_)).ok());
  EXPECT_TRUE(Call(Trusting(ca_), Localhost()).ok());
}

TEST_F(TlsTest, AClientOfAnotherCaRefuses) {
  Start();
  const grpc::Status status = Call(Trusting(CertificateAuthority("CA of somebody else")));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
}

TEST_F(TlsTest, PlainTextIsRefused) {
  Start();
  const grpc::Status status = Call(grpc::InsecureChannelCredentials());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
}

TEST_F(TlsTest, ACertificateThatIsOverIsRefusedAndSaidInTheLog) {
  UseCertificate(ca_.Issue({.common_name = "old",
                            .ip_addresses = {"127.0.0.1"},
                            .valid_from = -absl::Hours(2),
                            .valid_until = -absl::Hours(1)}));
  Start();
  EXPECT_EQ(Call(Trusting(ca_)).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(daemon_->log(), HasSubstr(" warning certificate_is_over "));
}

TEST_F(TlsTest, AnotherNameIsRefused) {
  UseCertificate(ca_.Issue({.common_name = "other", .dns_names = {"other.example.org"}}));
  Start();
  EXPECT_EQ(Call(Trusting(ca_), Localhost()).error_code(), grpc::StatusCode::UNAVAILABLE);
}

// ---------------------------------------------------------------------------------------------
// What clients show

TEST_F(TlsTest, WithAClientCaEverybodyShowsACertificateOfIt) {
  StartWithClientCa();
  EXPECT_TRUE(Call(Trusting(ca_, client_ca_.Issue({.common_name = "worker"}))).ok());
  EXPECT_EQ(Call(Trusting(ca_)).error_code(), grpc::StatusCode::UNAVAILABLE);
  const CertificateAuthority::Issued foreign = ca_.Issue({.common_name = "worker"});
  EXPECT_EQ(Call(Trusting(ca_, foreign)).error_code(), grpc::StatusCode::UNAVAILABLE);
  const CertificateAuthority::Issued over = client_ca_.Issue(
      {.common_name = "worker", .valid_from = -absl::Hours(2), .valid_until = -absl::Hours(1)});
  EXPECT_EQ(Call(Trusting(ca_, over)).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, WhereItIsOptionalOneWithoutIsServedAndAForeignOneIsNot) {
  StartWithClientCa({"--tls_client_auth=optional"});
  EXPECT_TRUE(Call(Trusting(ca_, client_ca_.Issue({.common_name = "worker"}))).ok());
  EXPECT_TRUE(Call(Trusting(ca_)).ok());
  const CertificateAuthority::Issued foreign = ca_.Issue({.common_name = "worker"});
  EXPECT_EQ(Call(Trusting(ca_, foreign)).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, NamesOfCertificatesAreIdentities) {
  Write(dir_ / "i.yaml", R"(
identities:
  - {name: by-uri, role: viewer, certificate: "spiffe://cluster/viewer"}
  - {name: by-dns, role: viewer, certificate: viewer.example.org}
  - {name: by-name, role: viewer, certificate: viewer}
)");
  StartWithClientCa({"--identities=" + (dir_ / "i.yaml"), "--tls_client_auth=optional"});
  const auto as = [&](const CertificateAuthority::Subject& subject) {
    return Call(Trusting(ca_, client_ca_.Issue(subject)));
  };
  EXPECT_TRUE(as({.common_name = "x", .uris = {"spiffe://cluster/viewer"}}).ok());
  EXPECT_TRUE(as({.common_name = "x", .dns_names = {"a", "viewer.example.org"}}).ok());
  EXPECT_TRUE(as({.common_name = "viewer"}).ok());
  const grpc::Status unknown = as({.common_name = "x", .uris = {"spiffe://cluster/other"}});
  EXPECT_EQ(unknown.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(unknown.error_message(),
            "the certificate has no name that is known, and no token came");
  EXPECT_EQ(Call(Trusting(ca_)).error_code(), grpc::StatusCode::UNAUTHENTICATED);
}

// ---------------------------------------------------------------------------------------------
// Certificates that change

TEST_F(TlsTest, ANewCertificateIsUsedWithoutAFailedCall) {
  UseCertificate(ca_.Issue({.common_name = "first", .ip_addresses = {"127.0.0.1"}}));
  Start();
  std::atomic<bool> stop{false};
  std::atomic<int64_t> calls{0};
  std::atomic<int64_t> failed{0};
  // One thread stays on its connection, the other makes a new one for each call.
  std::thread steady([&] {
    const auto stub = v1::CircuitBreaker::NewStub(NewChannel(daemon_->target(), Trusting(ca_)));
    while (!stop) {
      grpc::ClientContext context;
      v1::ListStatsResponse page;
      if (!stub->ListStats(&context, v1::ListStatsRequest(), &page).ok()) ++failed;
      ++calls;
    }
  });
  std::thread restless([&] {
    while (!stop) {
      if (!Call(Trusting(ca_)).ok()) ++failed;
      ++calls;
    }
  });
  for (const std::string name : {"second", "third", "fourth"}) {
    UseCertificate(ca_.Issue({.common_name = name, .ip_addresses = {"127.0.0.1"}}));
    EXPECT_TRUE(Eventually([&] { return ShownName(Trusting(ca_)) == name; })) << name;
  }
  stop = true;
  steady.join();
  restless.join();
  EXPECT_EQ(failed, 0);
  EXPECT_GT(calls, 10);
}

TEST_F(TlsTest, FilesThatAreWrongChangeNothing) {
  UseCertificate(ca_.Issue({.common_name = "first", .ip_addresses = {"127.0.0.1"}}));
  Start();

  Write(dir_ / "tls.crt", "-----BEGIN CERTIFICATE-----\nnot one\n-----END CERTIFICATE-----\n");
  ASSERT_TRUE(daemon_->WaitForLog("error certificate_not_loaded reason=\"--tls_cert: "));
  // gRPC looks at its files once a second.
  const absl::Time until = absl::Now() + absl::Seconds(2.5);
  while (absl::Now() < until) ASSERT_EQ(ShownName(Trusting(ca_)), "first");

  UseCertificate(ca_.Issue({.common_name = "second", .ip_addresses = {"127.0.0.1"}}));
  EXPECT_TRUE(Eventually([&] { return ShownName(Trusting(ca_)) == "second"; }));
}

TEST_F(TlsTest, ANewClientCaIsUsed) {
  StartWithClientCa();
  const CertificateAuthority next("next CA of the clients");
  const auto credentials = Trusting(ca_, next.Issue({.common_name = "worker"}));
  ASSERT_FALSE(Call(credentials).ok());

  Write(dir_ / "ca.crt", client_ca_.certificate() + next.certificate());

  EXPECT_TRUE(Eventually([&] { return Call(credentials).ok(); }));
  EXPECT_TRUE(Call(Trusting(ca_, client_ca_.Issue({.common_name = "worker"}))).ok());
}

// ---------------------------------------------------------------------------------------------
// Starting

TEST_F(TlsTest, DoesNotStartWithFilesThatAreWrong) {
  server::SystemClock clock;
  server::DaemonOptions options;
  options.listen = "127.0.0.1:0";
  options.http_listen = "";
  options.data_dir = dir_ / "data";
  const auto error = [&] {
    return std::string(server::Daemon::Start(options, &clock).status().message());
  };
  options.tls.cert = dir_ / "tls.crt";
  EXPECT_EQ(error(), "--tls_cert and --tls_key go together: one is missing");
  options.tls.key = dir_ / "none";
  EXPECT_THAT(error(), HasSubstr("none: cannot be read: No such file or directory"));
  options.tls.key = dir_ / "tls.crt";
  EXPECT_THAT(error(), HasSubstr("holds no private key in PEM, or one with a passphrase"));
  Write(dir_ / "other.key", ca_.Issue({.common_name = "other"}).key);
  options.tls.key = dir_ / "other.key";
  EXPECT_THAT(error(), HasSubstr("is not the key of the first certificate in "));
  options.tls.key = dir_ / "tls.key";
  options.tls.client_ca = dir_ / "tls.key";
  EXPECT_THAT(error(), HasSubstr("--tls_client_ca: "));
  options.tls = {};
  options.tls.client_ca = dir_ / "tls.crt";
  EXPECT_EQ(error(), "--tls_client_ca: is of no use without --tls_cert");
}

TEST_F(TlsTest, WithoutTlsAPortForOthersNeedsAWord) {
  server::SystemClock clock;
  server::DaemonOptions options;
  options.http_listen = "";
  options.data_dir = dir_ / "data";
  for (const char* listen : {"0.0.0.0:0", "[::]:0"}) {
    options.listen = listen;
    EXPECT_THAT(server::Daemon::Start(options, &clock),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         ::testing::StartsWith(absl::StrCat(
                             "--listen: ", listen, " can be reached from other machines"))));
  }
  options.listen = "127.0.0.1:0";
  options.http_listen = "0.0.0.0:0";
  EXPECT_THAT(server::Daemon::Start(options, &clock),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       ::testing::StartsWith("--http_listen: 0.0.0.0:0 can be reached")));
  options.http_insecure = true;
  options.http_admin_token_file = dir_ / "token";
  EXPECT_THAT(server::Daemon::Start(options, &clock),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("the token would cross the network for all to read")));
  options.http_admin_token_file = "";
  EXPECT_THAT(server::Daemon::Start(options, &clock), IsOk());

  for (const char* listen : {"localhost:0", "[::1]:0", "127.0.0.2:0"}) {
    options.http_listen = "";
    options.listen = listen;
    EXPECT_THAT(server::Daemon::Start(options, &clock), IsOk()) << listen;
  }
}

TEST_F(TlsTest, ItSaysThatItIsInsecure) {
  const DaemonProcess daemon({"--insecure", "--health_listen=127.0.0.1:0"});
  EXPECT_THAT(daemon.log(), ::testing::Not(HasSubstr("insecure")));  // nobody can reach it

  Subprocess process({BREAKERD_PATH, "--insecure", "--listen=0.0.0.0:0", "--http_listen=off",
                      "--data_dir=" + (dir_ / "data")});
  ASSERT_TRUE(process.WaitForErr(" listening "));
  EXPECT_THAT(process.err(), HasSubstr(" warning insecure flag=--listen address=0.0.0.0:0\n"));
}

// ---------------------------------------------------------------------------------------------
// The other ports

TEST_F(TlsTest, HealthAloneIsServedInPlainText) {
  StartWithClientCa({"--health_listen=127.0.0.1:0"});
  const std::string log = daemon_->log();
  const size_t at = log.find("health_listening address=") + sizeof("health_listening address=") - 1;
  const std::string target = log.substr(at, log.find('\n', at) - at);
  const auto channel = NewChannel(target);
  const auto check = [&](const std::string& service) {
    grpc::ClientContext context;
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    grpc::health::v1::HealthCheckResponse response;
    const grpc::Status status =
        grpc::health::v1::Health::NewStub(channel)->Check(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.status();
  };
  EXPECT_EQ(check(""), grpc::health::v1::HealthCheckResponse::SERVING);
  EXPECT_EQ(check("breaker.v1.CircuitBreaker"), grpc::health::v1::HealthCheckResponse::SERVING);
  EXPECT_EQ(Call(grpc::InsecureChannelCredentials(), target).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

}  // namespace
}  // namespace breaker::testing
