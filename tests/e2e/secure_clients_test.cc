// The C++ client and breakerctl with a real breakerd that speaks TLS and asks who they are.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "breaker/client.h"
#include "tests/support/certificates.h"
#include "tests/support/daemon_process.h"
#include "tests/support/eventually.h"
#include "tests/support/identities_file.h"
#include "tests/support/status_matchers.h"
#include "tests/support/subprocess.h"
#include "tests/support/temp_dir.h"
#include "tests/support/text_file.h"

namespace breaker {
namespace {

using testing::CertificateAuthority;
using testing::DaemonProcess;
using testing::HashOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Subprocess;
using testing::WriteFile;

using Args = std::vector<std::string>;

const Key kKey = {"chat", "send"};

class SecureClientsTest : public ::testing::Test {
 protected:
  SecureClientsTest() {
    const auto issued = ca_.IssueForLoopback();
    WriteFile(dir_ / "tls.crt", issued.certificate);
    WriteFile(dir_ / "tls.key", issued.key);
    const auto client = ca_.Issue({.common_name = "x", .dns_names = {"ops.example"}});
    WriteFile(dir_ / "client.crt", client.certificate);
    WriteFile(dir_ / "client.key", client.key);
    Know("chat-token");
    daemon_ = std::make_unique<DaemonProcess>(
        Args{"--tls_cert=" + dir_ / "tls.crt", "--tls_key=" + dir_ / "tls.key",
             "--tls_client_ca=" + ca_file_, "--tls_client_auth=optional",
             "--identities=" + identities_, "--watch_heartbeat=200ms"});
  }

  // The workers' token is this one.
  void Know(const std::string& token) {
    WriteFile(identities_,
              absl::StrCat("identities:\n"
                           "  - name: chat-workers\n    role: worker\n    services: [chat]\n"
                           "    token_sha256: ",
                           HashOf(token), "\n  - name: board\n    role: viewer\n    token_sha256: ",
                           HashOf("board-token"), "\n  - name: ops\n    role: operator\n",
                           "    certificate: ops.example\n    token_sha256: ", HashOf("ops-token"),
                           "\n"));
  }

  ClientOptions Options() {
    return {.target = daemon_->target(),
            .tls = TlsOptions{.ca_file = ca_file_},
            .token_file = WriteFile(dir_ / "worker-token", "chat-token\n"),
            .rpc_timeout = absl::Seconds(5)};
  }
  static bool IsCached(Client& client) {
    absl::StatusOr<Permit> permit = client.Acquire(kKey);
    permit->Success();
    return !permit->daemon_unavailable() && client.GetStats(kKey)->lifetime.successes > 0;
  }

  // breakerctl with the token of `who`, "" = with none.
  std::unique_ptr<Subprocess> Ctl(const std::string& who, const Args& args) {
    Args argv = {BREAKERCTL_PATH, "--timeout=20s"};
    argv.insert(argv.end(), args.begin(), args.end());
    std::map<std::string, std::string> env = {{"BREAKERD_TARGET", daemon_->target()},
                                              {"BREAKERD_TLS_CA", ca_file_}};
    if (!who.empty()) env["BREAKERD_TOKEN"] = who + "-token";
    auto process = std::make_unique<Subprocess>(argv, Subprocess::Options{.env = env});
    process->Wait();
    return process;
  }

  TempDir dir_;
  const CertificateAuthority ca_;
  const std::string ca_file_ = WriteFile(dir_ / "ca.crt", ca_.certificate());
  const std::string identities_ = dir_ / "identities.yaml";
  std::unique_ptr<DaemonProcess> daemon_;
};

TEST_F(SecureClientsTest, WorkerIsServedAndItsOutcomesCount) {
  absl::StatusOr<std::unique_ptr<Client>> client = Client::Create(Options());
  ASSERT_THAT(client, IsOk());
  ASSERT_TRUE(Eventually([&] { return IsCached(**client); }));
  for (int i = 0; i < 5; ++i) (*client)->Acquire(kKey)->Failure("Timeout");
  EXPECT_TRUE(Eventually([&] { return (*client)->GetStats(kKey)->state == State::kOpen; }));
  EXPECT_THAT((*client)->daemon_status(), IsOk());
  const auto stats = Ctl("board", {"stats", "chat/send"});
  EXPECT_THAT(stats->out(), HasSubstr("chat/send is OPEN")) << stats->err();
}

TEST_F(SecureClientsTest, ServiceOfAnotherTeamIsLeftToTheRuleAndSaid) {
  Client client(Options());
  ASSERT_TRUE(Eventually([&] { return IsCached(client); }));
  const absl::StatusOr<Permit> permit = client.Acquire({"payments", "charge"});
  ASSERT_THAT(permit, IsOk());
  EXPECT_TRUE(permit->allowed());
  EXPECT_TRUE(permit->daemon_unavailable());
  EXPECT_THAT(client.daemon_status(), StatusIs(absl::StatusCode::kPermissionDenied,
                                               HasSubstr("\"payments\" is not for chat-workers")));
  EXPECT_FALSE(client.Acquire(kKey)->daemon_unavailable());
}

TEST_F(SecureClientsTest, RevokedTokenBreaksNoCallAndTheNewOneBringsTheDaemonBack) {
  Client client(Options());
  ASSERT_TRUE(Eventually([&] { return IsCached(client); }));
  Know("new-token");
  ASSERT_TRUE(Eventually([&] {
    const absl::StatusOr<int> result = client.Execute(kKey, [] { return 1; });
    EXPECT_THAT(result, IsOk());
    return absl::IsUnauthenticated(client.daemon_status());
  }));
  EXPECT_TRUE(Eventually([&] { return client.Acquire(kKey)->daemon_unavailable(); }));
  WriteFile(dir_ / "worker-token", "new-token\n");
  EXPECT_TRUE(Eventually([&] { return !client.Acquire(kKey)->daemon_unavailable(); }));
  EXPECT_TRUE(Eventually([&] { return client.daemon_status().ok() && IsCached(client); }));
  EXPECT_EQ(client.cache_stats().dropped_outcomes, 0U);
}

TEST_F(SecureClientsTest, BreakerctlDoesWhatItsRoleMay) {
  EXPECT_EQ(Ctl("chat", {"exec", "chat/send", "--", "true"})->err(), "");
  EXPECT_EQ(Ctl("ops", {"open", "chat/send", "--reason=test"})->Wait(), 0);
  EXPECT_EQ(Ctl("ops", {"policy", "set", "chat/send", "failure_threshold=3"})->Wait(), 0);
  EXPECT_THAT(Ctl("board", {"list"})->out(), HasSubstr("chat/send  OPEN"));

  const auto denied = Ctl("board", {"close", "chat/send"});
  EXPECT_EQ(denied->Wait(), 77);
  EXPECT_EQ(denied->err(), absl::StrCat("breakerctl: breakerd at ", daemon_->target(),
                                        " does not permit it: SetOverride is not for board, whose "
                                        "role is viewer\n"));
  const auto unknown = Ctl("", {"list"});
  EXPECT_EQ(unknown->Wait(), 77);
  EXPECT_THAT(unknown->err(), HasSubstr(" does not know who asks: "));
  EXPECT_THAT(unknown->err(), HasSubstr("; give --token_file FILE or BREAKERD_TOKEN"));
}

TEST_F(SecureClientsTest, CertificateSaysWhoAsksToo) {
  const Args show = {"--tls_cert=" + dir_ / "client.crt", "--tls_key=" + dir_ / "client.key"};
  Args reset = show;
  reset.insert(reset.end(), {"reset", "chat/send"});
  EXPECT_EQ(Ctl("chat", {"exec", "chat/send", "--", "true"})->err(), "");
  const auto process = Ctl("", reset);
  EXPECT_EQ(process->Wait(), 0) << process->err();
  EXPECT_TRUE(daemon_->WaitForLog("ops"));
}

TEST_F(SecureClientsTest, EveryKindOfRpcBringsTheToken) {
  EXPECT_EQ(Ctl("chat", {"exec", "chat/send", "--", "true"})->err(), "");
  const auto backup = Ctl("ops", {"backup", dir_ / "backup"});
  EXPECT_EQ(backup->Wait(), 0) << backup->err();

  DaemonProcess plain(Args{"--identities=" + identities_});
  const Args over_plaintext = {BREAKERCTL_PATH, "--timeout=20s", "--target=" + plain.target(),
                               "--token_over_plaintext"};
  for (const Args& args : {Args{"policy", "set", "chat/send", "failure_threshold=3"}, Args{"list"},
                           Args{"backup", dir_ / "plain"}}) {
    Args argv = over_plaintext;
    argv.insert(argv.end(), args.begin(), args.end());
    Subprocess process(argv, {.env = {{"BREAKERD_TOKEN", "ops-token"}}});
    EXPECT_EQ(process.Wait(), 0) << args.front() << ": " << process.err();
  }
}

TEST_F(SecureClientsTest, NoTokenIsInALog) {
  Client client(Options());
  ASSERT_TRUE(Eventually([&] { return IsCached(client); }));
  (void)Ctl("wrong", {"list"});
  EXPECT_THAT(daemon_->log(), Not(HasSubstr("-token")));
}

}  // namespace
}  // namespace breaker
