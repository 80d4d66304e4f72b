// breakerctl with TLS and tokens, against a scripted daemon: what goes through, and what it says of
// what does not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/certificates.h"
#include "tests/support/scripted_breaker_service.h"
#include "tests/support/subprocess.h"
#include "tests/support/temp_dir.h"
#include "tests/support/text_file.h"
#include "tests/support/tls_server.h"

namespace breaker {
namespace {

using ::testing::AllOf;
using testing::CertificateAuthority;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;
using testing::ScriptedBreakerService;
using testing::Subprocess;
using testing::TlsServer;
using testing::WriteFile;

using Args = std::vector<std::string>;
using Env = std::map<std::string, std::string>;

constexpr char kToken[] = "s3cret-of-the-test";

class BreakerctlAccessTest : public ::testing::Test {
 protected:
  std::unique_ptr<Subprocess> Run(const ScriptedBreakerService& service, const Args& args,
                                  Env env = {}) {
    Args argv = {BREAKERCTL_PATH, "--timeout=10s"};
    argv.insert(argv.end(), args.begin(), args.end());
    env["BREAKERD_TARGET"] = service.target();
    auto process = std::make_unique<Subprocess>(argv, Subprocess::Options{.env = env});
    process->Wait();
    return process;
  }

  // What `list` with these flags says of why it failed.
  std::string Complaint(const ScriptedBreakerService& service, Args args, int exit_status,
                        const Env& env = {}) {
    args.push_back("list");
    const auto process = Run(service, args, env);
    EXPECT_EQ(process->Wait(), exit_status) << process->err();
    EXPECT_THAT(process->out(), IsEmpty());
    return process->err();
  }

  std::string Unavailable(const ScriptedBreakerService& service, const std::string& why) {
    return "breakerctl: breakerd at " + service.target() + " is unavailable: " + why + "\n";
  }

  TempDir dir_;
  CertificateAuthority ca_;
  CertificateAuthority other_ca_{"other CA"};
  const std::string ca_file_ = WriteFile(dir_ / "ca.pem", ca_.certificate());
  const std::string token_file_ = WriteFile(dir_ / "token", std::string(kToken) + "\n");
};

TEST_F(BreakerctlAccessTest, TlsByFlagsAndByEnvironment) {
  ScriptedBreakerService service(TlsServer(ca_.IssueForLoopback()));
  auto list = Run(service, {"--tls_ca", ca_file_, "list"});
  EXPECT_EQ(list->Wait(), 0) << list->err();
  EXPECT_THAT(list->err(), IsEmpty());
  list = Run(service, {"list"}, {{"BREAKERD_TLS_CA", ca_file_}});
  EXPECT_EQ(list->Wait(), 0) << list->err();
}

TEST_F(BreakerctlAccessTest, SystemMeansTheSystemsRoots) {
  ScriptedBreakerService service(TlsServer(ca_.IssueForLoopback()));
  const auto list =
      Run(service, {"--tls_ca=system", "list"}, {{"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", ca_file_}});
  EXPECT_EQ(list->Wait(), 0) << list->err();
  EXPECT_THAT(Complaint(service, {"--tls_ca=system"}, 69),
              HasSubstr("is not signed by whom this system trusts; --tls_ca FILE names another"));
}

TEST_F(BreakerctlAccessTest, DaemonThatSpeaksTlsIsRecognised) {
  ScriptedBreakerService service(TlsServer(ca_.IssueForLoopback()));
  EXPECT_EQ(Complaint(service, {}, 69), Unavailable(service, "it speaks TLS; give --tls_ca"));
}

TEST_F(BreakerctlAccessTest, DaemonThatSpeaksNoTlsIsRecognised) {
  ScriptedBreakerService service;
  EXPECT_EQ(Complaint(service, {"--tls_ca", ca_file_}, 69),
            Unavailable(service, "it does not speak TLS; leave --tls_ca out"));
}

TEST_F(BreakerctlAccessTest, CertificateOfAnotherCaIsRefused) {
  ScriptedBreakerService service(TlsServer(other_ca_.IssueForLoopback()));
  EXPECT_THAT(Complaint(service, {"--tls_ca", ca_file_}, 69),
              HasSubstr("its certificate is not signed by --tls_ca " + ca_file_));
}

TEST_F(BreakerctlAccessTest, ExpiredCertificateIsRefused) {
  ScriptedBreakerService service(TlsServer(ca_.Issue({.common_name = "breakerd",
                                                      .ip_addresses = {"127.0.0.1"},
                                                      .valid_from = -absl::Hours(2),
                                                      .valid_until = -absl::Hours(1)})));
  EXPECT_THAT(Complaint(service, {"--tls_ca", ca_file_}, 69),
              HasSubstr("its certificate has expired, at 20"));
}

TEST_F(BreakerctlAccessTest, CertificateOfAnotherNameIsRefusedUnlessItIsExpected) {
  ScriptedBreakerService service(
      TlsServer(ca_.Issue({.common_name = "x", .dns_names = {"breakerd.prod", "breakerd"}})));
  EXPECT_EQ(Complaint(service, {"--tls_ca", ca_file_}, 69),
            Unavailable(service,
                        "its certificate is not for 127.0.0.1, but for breakerd.prod, breakerd; "
                        "--tls_server_name says which name to expect"));
  const auto list =
      Run(service, {"--tls_ca", ca_file_, "--tls_server_name", "breakerd.prod", "list"});
  EXPECT_EQ(list->Wait(), 0) << list->err();
}

TEST_F(BreakerctlAccessTest, CertificateIsShownWhereOneIsWanted) {
  ScriptedBreakerService service(TlsServer(ca_.IssueForLoopback(), ca_.certificate()));
  const auto show = [&](const CertificateAuthority& ca) {
    const auto issued = ca.Issue({.common_name = "ana"});
    return Args{"--tls_ca",   ca_file_,
                "--tls_cert", WriteFile(dir_ / "client.pem", issued.certificate),
                "--tls_key",  WriteFile(dir_ / "client.key", issued.key)};
  };
  Args list = show(ca_);
  list.push_back("list");
  const auto process = Run(service, list);
  EXPECT_EQ(process->Wait(), 0) << process->err();
  EXPECT_EQ(service.peer_name(), "ana");
  EXPECT_THAT(Complaint(service, {"--tls_ca", ca_file_}, 69),
              HasSubstr("it wants a certificate of us; give --tls_cert and --tls_key"));
  EXPECT_THAT(Complaint(service, show(other_ca_), 69),
              HasSubstr("it does not accept the certificate in --tls_cert " + dir_.path()));
}

TEST_F(BreakerctlAccessTest, TokenOfAFileOrTheEnvironmentGoesOverTls) {
  ScriptedBreakerService service(TlsServer(ca_.IssueForLoopback()));
  service.RequireToken(kToken);
  for (const Env& env :
       {Env{{"BREAKERD_TOKEN_FILE", token_file_}}, Env{{"BREAKERD_TOKEN", kToken}}}) {
    const auto list = Run(service, {"--tls_ca", ca_file_, "list"}, env);
    EXPECT_EQ(list->Wait(), 0) << list->err();
  }
  const auto list = Run(service, {"--tls_ca", ca_file_, "--token_file", token_file_, "list"},
                        {{"BREAKERD_TOKEN", "another"}});
  EXPECT_EQ(list->Wait(), 0) << list->err();
}

TEST_F(BreakerctlAccessTest, TokenGoesOverPlaintextOnlyIfSoTold) {
  ScriptedBreakerService service;
  const std::string refusal =
      "--token_file would be sent in plaintext: set --tls_ca, or --token_over_plaintext";
  EXPECT_THAT(Complaint(service, {"--token_file", token_file_}, 2), HasSubstr(refusal));
  EXPECT_THAT(
      Complaint(service, {}, 2, {{"BREAKERD_TOKEN", kToken}}),
      AllOf(HasSubstr("BREAKERD_TOKEN would be sent in plaintext"), Not(HasSubstr(kToken))));
  EXPECT_EQ(service.list_calls(), 0);
  service.RequireToken(kToken);
  for (const Env& env : {Env{}, Env{{"BREAKERD_TOKEN_OVER_PLAINTEXT", "1"}}}) {
    Args args = {"--token_file", token_file_, "list"};
    if (env.empty()) args.insert(args.begin(), "--token_over_plaintext");
    const auto list = Run(service, args, env);
    EXPECT_EQ(list->Wait(), 0) << list->err();
  }
}

TEST_F(BreakerctlAccessTest, EveryCommandSaysWhoIsNotKnown) {
  ScriptedBreakerService service;
  service.RequireToken(kToken);
  for (const Args& args :
       {Args{"list"}, Args{"stats", "s/o"}, Args{"watch"}, Args{"open", "s/*"}}) {
    const auto process = Run(service, args);
    EXPECT_EQ(process->Wait(), 77) << args.front();
    EXPECT_EQ(process->err(), "breakerctl: breakerd at " + service.target() +
                                  " does not know who asks: no such token; give --token_file FILE "
                                  "or BREAKERD_TOKEN, or --tls_cert and --tls_key\n");
  }
  const std::string wrong = WriteFile(dir_ / "wrong", "wrong-token");
  EXPECT_THAT(Complaint(service, {"--token_over_plaintext", "--token_file", wrong}, 77),
              AllOf(HasSubstr("does not know who asks: no such token; check the token in " + wrong),
                    Not(HasSubstr("wrong-token"))));
  EXPECT_THAT(
      Complaint(service, {"--token_over_plaintext"}, 77, {{"BREAKERD_TOKEN", "wrong-token"}}),
      AllOf(HasSubstr("; check BREAKERD_TOKEN"), Not(HasSubstr("wrong-token"))));
}

TEST_F(BreakerctlAccessTest, WhatIsNotPermittedIsSaid) {
  ScriptedBreakerService service;
  service.Fail({grpc::StatusCode::PERMISSION_DENIED, "ana is a viewer"});
  EXPECT_EQ(Complaint(service, {}, 77), "breakerctl: breakerd at " + service.target() +
                                            " does not permit it: ana is a viewer\n");
}

TEST_F(BreakerctlAccessTest, ExecRunsUnguardedAndSaysWhy) {
  ScriptedBreakerService service;
  service.RequireToken(kToken);
  auto exec = Run(service, {"exec", "s/o", "--", "echo", "done"});
  EXPECT_EQ(exec->Wait(), 0);
  EXPECT_EQ(exec->out(), "done\n");
  EXPECT_THAT(exec->err(), AllOf(HasSubstr("breakerctl: warning: breakerd at "),
                                 HasSubstr(" does not know who asks: no such token; "),
                                 HasSubstr("; the command runs unguarded\n")));
  exec = Run(service, {"exec", "s/o", "--on_daemon_unavailable=deny", "--", "echo", "done"});
  EXPECT_EQ(exec->Wait(), 75);
  EXPECT_THAT(exec->out(), IsEmpty());
  service.RequireToken("");
  service.Fail({grpc::StatusCode::PERMISSION_DENIED, "ana is a viewer"});
  exec = Run(service, {"exec", "s/o", "--", "echo", "done"});
  EXPECT_EQ(exec->Wait(), 0);
  EXPECT_THAT(exec->err(), HasSubstr(" does not permit it: ana is a viewer; the command runs"));
}

TEST_F(BreakerctlAccessTest, ExecDoesNotFailForTheWantOfAFile) {
  ScriptedBreakerService service(TlsServer(ca_.IssueForLoopback()));
  const std::string missing = dir_ / "missing.pem";
  const auto exec = Run(service, {"--tls_ca", missing, "exec", "s/o", "--", "echo", "done"});
  EXPECT_EQ(exec->Wait(), 0);
  EXPECT_EQ(exec->out(), "done\n");
  EXPECT_EQ(exec->err(), "breakerctl: warning: --tls_ca: " + missing +
                             ": No such file or directory; the command runs unguarded\n");
}

TEST_F(BreakerctlAccessTest, ExecBringsTheTokenWithTheReportToo) {
  ScriptedBreakerService service(TlsServer(ca_.IssueForLoopback()));
  service.RequireToken(kToken);
  const auto exec = Run(service, {"--tls_ca", ca_file_, "exec", "s/o", "--", "true"},
                        {{"BREAKERD_TOKEN", kToken}});
  EXPECT_EQ(exec->Wait(), 0);
  EXPECT_THAT(exec->err(), IsEmpty());
  EXPECT_THAT(service.authorizations(), Each(Pair(::testing::_, std::string("Bearer ") + kToken)));
  EXPECT_EQ(service.reports().size(), 1U);
}

TEST_F(BreakerctlAccessTest, WrongFlagsAreNamed) {
  ScriptedBreakerService service;
  const std::string garbage = WriteFile(dir_ / "garbage", "two words\n");
  EXPECT_THAT(Complaint(service, {"--tls_cert", ca_file_}, 2),
              HasSubstr("--tls_cert needs --tls_ca FILE, or --tls_ca system"));
  EXPECT_THAT(Complaint(service, {"--tls_ca", ca_file_, "--tls_key", ca_file_}, 2),
              HasSubstr("--tls_key needs --tls_cert as well"));
  EXPECT_THAT(Complaint(service, {"--tls_ca", garbage}, 2),
              HasSubstr("--tls_ca: " + garbage + " holds no PEM certificate"));
  EXPECT_THAT(Complaint(service, {"--token_over_plaintext", "--token_file", garbage}, 2),
              AllOf(HasSubstr("--token_file: " + garbage + " holds no token: "),
                    Not(HasSubstr("two words"))));
}

TEST_F(BreakerctlAccessTest, CompletionKnowsTheFlagsAndTheirFiles) {
  const auto completed = [&](const std::string& line) {
    const std::string script =
        "PATH=" + std::string(BREAKERCTL_PATH).substr(0, std::string(BREAKERCTL_PATH).rfind('/')) +
        ":$PATH; source <(breakerctl completion bash); COMP_WORDS=(" + line +
        "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _breakerctl; "
        "echo \"${COMPREPLY[*]}\"";
    Subprocess bash({"bash", "-c", script});
    EXPECT_EQ(bash.Wait(), 0) << bash.err();
    return bash.out();
  };
  EXPECT_EQ(completed("breakerctl --tl"), "--tls_ca --tls_cert --tls_key --tls_server_name\n");
  EXPECT_EQ(completed("breakerctl --tok"), "--token_file --token_over_plaintext\n");
  EXPECT_EQ(completed("breakerctl --tls_ca " + dir_.path() + "/c"), ca_file_ + "\n");
  EXPECT_EQ(completed("breakerctl list --token_file " + dir_.path() + "/t"), token_file_ + "\n");
}

}  // namespace
}  // namespace breaker
