// A client that reaches the daemon by TLS, and says who it is, with real certificates.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "breaker/client.h"
#include "tests/support/certificates.h"
#include "tests/support/eventually.h"
#include "tests/support/scripted_breaker_service.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/text_file.h"
#include "tests/support/tls_server.h"

namespace breaker {
namespace {

using testing::CertificateAuthority;
using ::testing::Contains;
using ::testing::Each;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Key;
using ::testing::Pair;
using testing::ScriptedBreakerService;
using testing::TlsServer;
using ::testing::UnorderedElementsAre;
using testing::WriteFile;

const breaker::Key kKey = {"db", "query"};

class TlsTest : public ::testing::Test {
 protected:
  // In Mode::kRemote, to `service`, which is signed by ca_.
  ClientOptions Options(const ScriptedBreakerService& service) {
    return {.target = service.target(),
            .tls = TlsOptions{.ca_file = ca_file_},
            .rpc_timeout = absl::Seconds(5),
            .mode = Mode::kRemote};
  }
  // Shows the daemon a certificate of that CA.
  ClientOptions Showing(const ScriptedBreakerService& service, const CertificateAuthority& ca,
                        const std::string& name) {
    ClientOptions options = Options(service);
    Rotate(ca, name);
    options.tls->certificate_file = dir_ / "tls.crt";
    options.tls->key_file = dir_ / "tls.key";
    return options;
  }
  void Rotate(const CertificateAuthority& ca, const std::string& name) {
    const auto issued = ca.Issue({.common_name = name});
    WriteFile(dir_ / "tls.crt", issued.certificate);
    WriteFile(dir_ / "tls.key", issued.key);
  }
  static bool Answers(const ClientOptions& options) {
    Client client(options);
    const absl::StatusOr<Stats> stats = client.GetStats(kKey);
    if (!stats.ok()) {
      EXPECT_TRUE(absl::IsUnavailable(stats.status())) << stats.status();
      EXPECT_EQ(client.daemon_status(), stats.status());
    }
    return stats.ok();
  }
  // One that is told `name`.
  CertificateAuthority::Issued IssueFor(const std::string& name) {
    return ca_.Issue({.common_name = "x", .dns_names = {name}});
  }

  TempDir dir_;
  const CertificateAuthority ca_;
  const CertificateAuthority other_ca_{"other CA"};
  const std::string ca_file_ = WriteFile(dir_ / "ca.pem", ca_.certificate());
  const std::string token_file_ = dir_ / "token";
};

TEST_F(TlsTest, DaemonOfTheRightCaIsAsked) {
  ScriptedBreakerService service(TlsServer(ca_.IssueForLoopback()));
  EXPECT_TRUE(Answers(Options(service)));
  EXPECT_THAT(service.authorizations(), Each(Pair(::testing::_, "")));
}

TEST_F(TlsTest, DaemonOfAnotherCaIsAway) {
  ScriptedBreakerService service(TlsServer(other_ca_.IssueForLoopback()));
  EXPECT_FALSE(Answers(Options(service)));
  EXPECT_THAT(service.authorizations(), IsEmpty());
}

TEST_F(TlsTest, DaemonWithAnExpiredCertificateIsAway) {
  ScriptedBreakerService service(TlsServer(ca_.Issue({.common_name = "breakerd",
                                                      .ip_addresses = {"127.0.0.1"},
                                                      .valid_from = -absl::Hours(2),
                                                      .valid_until = -absl::Hours(1)})));
  EXPECT_FALSE(Answers(Options(service)));
}

TEST_F(TlsTest, DaemonOfAnotherNameIsAwayUnlessThatIsExpected) {
  ScriptedBreakerService service(TlsServer(IssueFor("breakerd.prod")));
  ClientOptions options = Options(service);
  EXPECT_FALSE(Answers(options));
  options.tls->server_name = "breakerd.test";
  EXPECT_FALSE(Answers(options));
  options.tls->server_name = "breakerd.prod";
  EXPECT_TRUE(Answers(options));
}

TEST_F(TlsTest, ExpectedNameIsCheckedEvenIfTheHostIsRight) {
  ScriptedBreakerService service(TlsServer(ca_.IssueForLoopback()));
  ClientOptions options = Options(service);
  options.tls->server_name = "breakerd.prod";
  EXPECT_FALSE(Answers(options));
}

TEST_F(TlsTest, DaemonThatSpeaksPlaintextIsAwayAndSoTheOtherWayRound) {
  ScriptedBreakerService plain;
  EXPECT_FALSE(Answers(Options(plain)));
  ScriptedBreakerService service(TlsServer(ca_.IssueForLoopback()));
  ClientOptions options = Options(service);
  options.tls.reset();
  EXPECT_FALSE(Answers(options));
}

TEST_F(TlsTest, GuardedCallsGoOnWithoutADaemonThatIsNotTrusted) {
  ScriptedBreakerService service(TlsServer(other_ca_.IssueForLoopback()));
  ClientOptions options = Options(service);
  options.mode = Mode::kCached;
  Client client(options);
  EXPECT_EQ(client.Execute(kKey, [] { return 1; }).value(), 1);
  EXPECT_TRUE(client.Acquire(kKey)->daemon_unavailable());
  EXPECT_THAT(client.daemon_status(), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(service.acquires(), IsEmpty());
}

TEST_F(TlsTest, ClientsCertificateIsShown) {
  ScriptedBreakerService service(TlsServer(ca_.IssueForLoopback(), ca_.certificate()));
  EXPECT_TRUE(Answers(Showing(service, ca_, "w1")));
  EXPECT_EQ(service.peer_name(), "w1");
}

TEST_F(TlsTest, WithoutTheCertificateThatIsWantedTheDaemonIsAway) {
  ScriptedBreakerService service(TlsServer(ca_.IssueForLoopback(), ca_.certificate()));
  EXPECT_FALSE(Answers(Options(service)));
  EXPECT_FALSE(Answers(Showing(service, other_ca_, "w1")));
}

TEST_F(TlsTest, RotatedCertificateIsShownOnTheNextConnection) {
  ScriptedBreakerService service(TlsServer(ca_.IssueForLoopback(), ca_.certificate()));
  Client client(Showing(service, ca_, "w1"));
  ASSERT_THAT(client.GetStats(kKey), IsOk());
  Rotate(ca_, "w2");
  EXPECT_TRUE(Eventually([&] {
    service.Stop();
    service.Start();
    return Eventually([&] { return client.GetStats(kKey).ok(); }) && service.peer_name() == "w2";
  }));
}

TEST_F(TlsTest, RotatedCaIsTrustedOnTheNextConnection) {
  ScriptedBreakerService service(TlsServer(other_ca_.IssueForLoopback()));
  Client client(Options(service));
  ASSERT_FALSE(client.GetStats(kKey).ok());
  WriteFile(ca_file_, ca_.certificate() + other_ca_.certificate());
  EXPECT_TRUE(Eventually([&] { return client.GetStats(kKey).ok(); }));
}

TEST_F(TlsTest, FilesThatComeLateAreFound) {
  ScriptedBreakerService service(TlsServer(ca_.IssueForLoopback()));
  ClientOptions options = Options(service);
  options.tls->ca_file = dir_ / "late.pem";
  Client client(options);
  ASSERT_FALSE(client.GetStats(kKey).ok());
  WriteFile(dir_ / "late.pem", ca_.certificate());
  EXPECT_TRUE(Eventually([&] { return client.GetStats(kKey).ok(); }));
}

// ---------------------------------------------------------------------------------------------
// Tokens

class TokenTest : public TlsTest {
 protected:
  // Has the client make every rpc that there is, and lets it end.
  void MakeEveryRpc(ScriptedBreakerService& service, ClientOptions options) {
    options.mode = Mode::kCached;
    {
      Client client(options);
      ASSERT_TRUE(Eventually([&] {
        absl::StatusOr<Permit> permit = client.Acquire(kKey);
        permit->Success();
        return !service.batches().empty();
      }));
      EXPECT_THAT(client.Report(kKey, Outcome::kSuccess, absl::ZeroDuration()), IsOk());
      EXPECT_THAT(client.GetStats(kKey), IsOk());
      service.Fail({grpc::StatusCode::UNAVAILABLE, "away"});
      (void)client.GetStats(kKey);
      service.Fail(grpc::Status::OK);
      ASSERT_TRUE(Eventually([&] { return client.GetStats(kKey).ok(); }));  // A ping went.
    }
    const auto authorizations = service.authorizations();
    EXPECT_THAT(authorizations,
                UnorderedElementsAre(Key("Acquire"), Key("Report"), Key("ReportBatch"),
                                     Key("Watch"), Key("GetStats"), Key("ListStats")));
  }
};

TEST_F(TokenTest, GoesWithEveryRpcOverTls) {
  ScriptedBreakerService service(TlsServer(ca_.IssueForLoopback()));
  ClientOptions options = Options(service);
  options.token = "s3cret";
  MakeEveryRpc(service, options);
  EXPECT_THAT(service.authorizations(), Each(Pair(::testing::_, "Bearer s3cret")));
}

TEST_F(TokenTest, GoesWithEveryRpcOverPlaintextIfSoTold) {
  ScriptedBreakerService service;
  ClientOptions options = Options(service);
  options.tls.reset();
  options.token = "s3cret";
  options.token_over_plaintext = true;
  MakeEveryRpc(service, options);
  EXPECT_THAT(service.authorizations(), Each(Pair(::testing::_, "Bearer s3cret")));
}

TEST_F(TokenTest, GoesWithNoneOverPlaintextIfNotToldSo) {
  ScriptedBreakerService service;
  ClientOptions options = Options(service);
  options.tls.reset();
  options.token = "s3cret";
  EXPECT_THAT(Client::Create(options), StatusIs(absl::StatusCode::kInvalidArgument));
  Client client(options);
  EXPECT_TRUE(client.Acquire(kKey)->daemon_unavailable());
  EXPECT_THAT(client.GetStats(kKey), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(service.authorizations(), IsEmpty());
}

TEST_F(TokenTest, ChangedFileIsSentWithTheNextRpcs) {
  for (const bool tls : {true, false}) {
    ScriptedBreakerService service(tls ? TlsServer(ca_.IssueForLoopback())
                                       : grpc::InsecureServerCredentials());
    ClientOptions options = Options(service);
    if (!tls) options.tls.reset();
    options.token_over_plaintext = !tls;
    options.token_file = WriteFile(token_file_, "first\n");
    Client client(options);
    ASSERT_THAT(client.GetStats(kKey), IsOk());
    EXPECT_THAT(service.authorizations(), Contains(Pair("GetStats", "Bearer first")));
    WriteFile(token_file_, "second\n");
    EXPECT_TRUE(Eventually([&] {
      return client.GetStats(kKey).ok() &&
             service.authorizations().at("GetStats") == "Bearer second";
    }));
  }
}

}  // namespace
}  // namespace breaker
