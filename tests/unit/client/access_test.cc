// What is said of wrong options for TLS and the token, and of a wrong environment.
#include "client/cpp/src/access.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <map>
#include <string>
#include <vector>

#include "breaker/client.h"
#include "client/cpp/src/token_source.h"
#include "tests/support/certificates.h"
#include "tests/support/eventually.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/text_file.h"

namespace breaker::internal {
namespace {

using ::testing::AllOf;
using testing::CertificateAuthority;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::WriteFile;

using Env = std::map<std::string, std::string>;

auto IsWrong(const std::string& why) {
  return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(why));
}

class AccessTest : public ::testing::Test {
 protected:
  void SetUp() override { SetEnvironment({}); }
  void TearDown() override { SetEnvironment({}); }

  static void SetEnvironment(const Env& env) {
    for (const char* const name :
         {"TARGET", "TLS_CA", "CLIENT_CERT", "CLIENT_KEY", "TLS_SERVER_NAME", "TOKEN", "TOKEN_FILE",
          "TOKEN_OVER_PLAINTEXT", "WORKER_ID"}) {
      const std::string variable = std::string("BREAKERD_") + name;
      const auto found = env.find(variable);
      if (found == env.end()) {
        unsetenv(variable.c_str());
      } else {
        setenv(variable.c_str(), found->second.c_str(), 1);
      }
    }
  }
  static absl::StatusOr<ClientOptions> From(const Env& env) {
    SetEnvironment(env);
    return ClientOptions::FromEnvironment();
  }
  absl::Status Create(const ClientOptions& options) { return Client::Create(options).status(); }

  TempDir dir_;
  const CertificateAuthority ca_;
  const CertificateAuthority::Issued issued_ = ca_.Issue({.common_name = "w1"});
  const std::string ca_file_ = WriteFile(dir_ / "ca.pem", ca_.certificate());
  const std::string certificate_file_ = WriteFile(dir_ / "tls.crt", issued_.certificate);
  const std::string key_file_ = WriteFile(dir_ / "tls.key", issued_.key);
  const std::string token_file_ = WriteFile(dir_ / "token", " s3cret\n");
  const std::string garbage_file_ = WriteFile(dir_ / "garbage", "not what is wanted\n");
  const std::string missing_ = dir_ / "missing";
};

TEST_F(AccessTest, OptionsThatAreRightMakeAClient) {
  EXPECT_THAT(Create({}), IsOk());
  EXPECT_THAT(Create({.tls = TlsOptions{}}), IsOk());
  EXPECT_THAT(Create({.tls = TlsOptions{.ca_file = ca_file_,
                                        .certificate_file = certificate_file_,
                                        .key_file = key_file_,
                                        .server_name = "breakerd"},
                      .token_file = token_file_}),
              IsOk());
  EXPECT_THAT(Create({.token = "s3cret", .token_over_plaintext = true}), IsOk());
}

TEST_F(AccessTest, ContradictionsAreNamed) {
  EXPECT_THAT(Create({.tls = TlsOptions{.certificate_file = certificate_file_}}),
              IsWrong("tls.certificate_file needs tls.key_file as well"));
  EXPECT_THAT(Create({.tls = TlsOptions{.key_file = key_file_}}),
              IsWrong("tls.key_file needs tls.certificate_file as well"));
  EXPECT_THAT(Create({.token = "s3cret", .token_file = token_file_, .token_over_plaintext = true}),
              IsWrong("token and token_file are both set"));
}

TEST_F(AccessTest, TokenWithoutTlsIsAnErrorUnlessSoTold) {
  EXPECT_THAT(Create({.token = "s3cret"}),
              AllOf(IsWrong("token would be sent in plaintext: set tls, or token_over_plaintext"),
                    Not(IsWrong("s3cret"))));
  EXPECT_THAT(Create({.token_file = token_file_}),
              IsWrong("token_file would be sent in plaintext"));
  EXPECT_THAT(Create({.tls = TlsOptions{}, .token = "s3cret"}), IsOk());
}

TEST_F(AccessTest, WhatCannotBeATokenIsNotShown) {
  for (const std::string& token : {std::string("two words"), std::string("caf\xc3\xa9"),
                                   std::string("line\nfeed"), std::string(4097, 'x')}) {
    EXPECT_THAT(Create({.tls = TlsOptions{}, .token = token}),
                AllOf(IsWrong("token is no token: 1 to 4096 visible"), Not(IsWrong(token))));
  }
  EXPECT_THAT(Create({.tls = TlsOptions{}, .token_file = garbage_file_}),
              AllOf(IsWrong("token_file: " + garbage_file_ + " holds no token"),
                    Not(IsWrong("not what is wanted"))));
}

TEST_F(AccessTest, FilesThatCannotBeUsedAreNamed) {
  const auto with = [](const std::string& ca, const std::string& certificate,
                       const std::string& key) {
    return ClientOptions{
        .tls = TlsOptions{.ca_file = ca, .certificate_file = certificate, .key_file = key}};
  };
  EXPECT_THAT(Create(with(missing_, "", "")),
              IsWrong("tls.ca_file: " + missing_ + ": No such file or directory"));
  EXPECT_THAT(Create(with(dir_.path(), "", "")),
              IsWrong("tls.ca_file: " + dir_.path() + ": Is a directory"));
  EXPECT_THAT(Create(with(garbage_file_, "", "")),
              IsWrong("tls.ca_file: " + garbage_file_ + " holds no PEM certificate"));
  EXPECT_THAT(Create(with("", key_file_, key_file_)),
              IsWrong("tls.certificate_file: " + key_file_ + " holds no PEM certificate"));
  EXPECT_THAT(Create(with("", certificate_file_, certificate_file_)),
              IsWrong("tls.key_file: " + certificate_file_ + " holds no PEM key"));
  const std::string other_key = WriteFile(dir_ / "other.key", ca_.Issue({.common_name = "w2"}).key);
  EXPECT_THAT(Create(with("", certificate_file_, other_key)),
              IsWrong("tls.key_file: the key in " + other_key + " is not that of the certificate"));
  EXPECT_THAT(Create({.tls = TlsOptions{}, .token_file = missing_}),
              IsWrong("token_file: " + missing_ + ": No such file or directory"));
}

TEST_F(AccessTest, ClientOfContradictoryOptionsSaysWhyItAsksNobody) {
  Client client({.token = "s3cret", .on_daemon_unavailable = OnDaemonUnavailable::kAllow});
  EXPECT_THAT(client.daemon_status(),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("breakerd is not asked: token would be sent in plaintext")));
  EXPECT_TRUE(client.Acquire({"s", "o"})->daemon_unavailable());
  EXPECT_EQ(client.Execute({"s", "o"}, [] { return 1; }).value(), 1);
  EXPECT_THAT(client.GetStats({"s", "o"}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("token would be sent")));
}

TEST_F(AccessTest, EmptyEnvironmentGivesTheDefaults) {
  const auto options = From({});
  ASSERT_THAT(options, IsOk());
  EXPECT_EQ(options->target, "127.0.0.1:50051");
  EXPECT_FALSE(options->tls.has_value());
  EXPECT_THAT(From({{"BREAKERD_TARGET", ""}, {"BREAKERD_TLS_CA", ""}, {"BREAKERD_TOKEN", ""}}),
              IsOk());
}

TEST_F(AccessTest, EnvironmentSetsAll) {
  auto options = From({{"BREAKERD_TARGET", "breakerd.prod:50051"},
                       {"BREAKERD_TLS_CA", ca_file_},
                       {"BREAKERD_CLIENT_CERT", certificate_file_},
                       {"BREAKERD_CLIENT_KEY", key_file_},
                       {"BREAKERD_TLS_SERVER_NAME", "breakerd"},
                       {"BREAKERD_TOKEN_FILE", token_file_},
                       {"BREAKERD_WORKER_ID", "w7"}});
  ASSERT_THAT(options, IsOk());
  EXPECT_EQ(options->target, "breakerd.prod:50051");
  EXPECT_EQ(options->worker_id, "w7");
  ASSERT_TRUE(options->tls.has_value());
  EXPECT_EQ(options->tls->ca_file, ca_file_);
  EXPECT_EQ(options->tls->certificate_file, certificate_file_);
  EXPECT_EQ(options->tls->key_file, key_file_);
  EXPECT_EQ(options->tls->server_name, "breakerd");
  EXPECT_EQ(options->token_file, token_file_);

  options = From({{"BREAKERD_TLS_CA", "system"}, {"BREAKERD_TOKEN", "s3cret"}});
  ASSERT_THAT(options, IsOk());
  EXPECT_EQ(options->tls->ca_file, "");
  EXPECT_EQ(options->token, "s3cret");

  options = From({{"BREAKERD_TOKEN", "s3cret"}, {"BREAKERD_TOKEN_OVER_PLAINTEXT", "1"}});
  ASSERT_THAT(options, IsOk());
  EXPECT_TRUE(options->token_over_plaintext);
}

TEST_F(AccessTest, WrongVariablesAreNamed) {
  EXPECT_THAT(From({{"BREAKERD_TARGET", "breakerd"}}),
              IsWrong("BREAKERD_TARGET is 'breakerd', which is not HOST:PORT"));
  EXPECT_THAT(From({{"BREAKERD_TARGET", "breakerd:99999"}}), IsWrong("BREAKERD_TARGET"));
  EXPECT_THAT(From({{"BREAKERD_WORKER_ID", std::string(129, 'x')}}),
              IsWrong("BREAKERD_WORKER_ID has 129 bytes; it may have 128"));
  EXPECT_THAT(From({{"BREAKERD_TLS_CA", missing_}}), IsWrong("BREAKERD_TLS_CA: " + missing_));
  EXPECT_THAT(
      From({{"BREAKERD_CLIENT_CERT", certificate_file_}, {"BREAKERD_CLIENT_KEY", key_file_}}),
      IsWrong("BREAKERD_CLIENT_CERT needs BREAKERD_TLS_CA"));
  EXPECT_THAT(From({{"BREAKERD_TLS_SERVER_NAME", "x"}}),
              IsWrong("BREAKERD_TLS_SERVER_NAME needs BREAKERD_TLS_CA"));
  EXPECT_THAT(From({{"BREAKERD_TLS_CA", "system"}, {"BREAKERD_CLIENT_KEY", key_file_}}),
              IsWrong("BREAKERD_CLIENT_KEY needs BREAKERD_CLIENT_CERT as well"));
  EXPECT_THAT(From({{"BREAKERD_TOKEN", "s3cret"}}),
              AllOf(IsWrong("BREAKERD_TOKEN would be sent in plaintext: set BREAKERD_TLS_CA, or "
                            "BREAKERD_TOKEN_OVER_PLAINTEXT=1"),
                    Not(IsWrong("s3cret"))));
  EXPECT_THAT(From({{"BREAKERD_TOKEN_FILE", token_file_}}),
              IsWrong("BREAKERD_TOKEN_FILE would be sent in plaintext"));
  EXPECT_THAT(From({{"BREAKERD_TLS_CA", "system"},
                    {"BREAKERD_TOKEN", "s3cret"},
                    {"BREAKERD_TOKEN_FILE", token_file_}}),
              IsWrong("BREAKERD_TOKEN and BREAKERD_TOKEN_FILE are both set"));
  EXPECT_THAT(From({{"BREAKERD_TLS_CA", "system"}, {"BREAKERD_TOKEN_FILE", missing_}}),
              IsWrong("BREAKERD_TOKEN_FILE: " + missing_));
  EXPECT_THAT(From({{"BREAKERD_TOKEN_OVER_PLAINTEXT", "yes"}}),
              IsWrong("BREAKERD_TOKEN_OVER_PLAINTEXT is 'yes'; it may be 1 or 0"));
}

TEST_F(AccessTest, TokenFileIsReadAgainAndItsLastGoodContentStays) {
  TokenSource source("", token_file_);
  EXPECT_EQ(source.Authorization(), "Bearer s3cret");
  WriteFile(token_file_, "next");
  EXPECT_TRUE(Eventually([&] { return source.Authorization() == "Bearer next"; }));
  WriteFile(token_file_, "");
  const absl::Time end = absl::Now() + absl::Milliseconds(1500);  // Read again meanwhile.
  while (absl::Now() < end) ASSERT_EQ(source.Authorization(), "Bearer next");
  WriteFile(token_file_, "last\n");
  EXPECT_TRUE(Eventually([&] { return source.Authorization() == "Bearer last"; }));
}

TEST_F(AccessTest, TokenFileThatComesLateIsFound) {
  TokenSource source("", missing_);
  EXPECT_EQ(source.Authorization(), "");
  WriteFile(missing_, "s3cret");
  EXPECT_TRUE(Eventually([&] { return source.Authorization() == "Bearer s3cret"; }));
}

}  // namespace
}  // namespace breaker::internal
