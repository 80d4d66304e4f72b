#include "server/identities.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/support/identities_file.h"
#include "tests/support/status_matchers.h"

namespace breaker::server {
namespace {

using breaker::testing::HashOf;

std::string Worker(absl::string_view name, absl::string_view token) {
  return absl::StrCat("  - {name: ", name, ", role: worker, token_sha256: ", HashOf(token), "}\n");
}

std::vector<IdentityPtr> Parse(const std::string& text) {
  const absl::StatusOr<std::vector<IdentityPtr>> identities = ParseIdentities(text, "i.yaml");
  EXPECT_THAT(identities, IsOk());
  return identities.ok() ? *identities : std::vector<IdentityPtr>();
}

std::string ErrorOf(const std::string& text) {
  const auto identities = ParseIdentities(text, "i.yaml");
  EXPECT_EQ(identities.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(identities.status().message());
}

TEST(IdentitiesFileTest, HasAllThatItNames) {
  const std::vector<IdentityPtr> identities =
      Parse(absl::StrCat(R"(
identities:
  - name: chat-workers
    role: worker
    token_sha256: [)",
                         HashOf("one"), ", ", HashOf("two"), R"(]
    certificate: [spiffe://cluster/chat, chat.example.org]
    services: [chat, push]
    workers: 16
  - name: ana@example.org
    role: operator
    certificate: ana
)"));

  ASSERT_EQ(identities.size(), 2u);
  EXPECT_EQ(identities[0]->name, "chat-workers");
  EXPECT_EQ(identities[0]->role, Role::kWorker);
  EXPECT_EQ(identities[0]->tokens, (std::vector{HashToken("one"), HashToken("two")}));
  EXPECT_EQ(identities[0]->certificates,
            (std::vector<std::string>{"spiffe://cluster/chat", "chat.example.org"}));
  EXPECT_EQ(identities[0]->services, (std::vector<std::string>{"chat", "push"}));
  EXPECT_EQ(identities[0]->quorum_share.workers, 16u);
  EXPECT_EQ(identities[1]->role, Role::kOperator);
  EXPECT_EQ(identities[1]->quorum_share.workers, 1u);
}

TEST(IdentitiesFileTest, AnEmptyFileHasNobody) {
  EXPECT_TRUE(Parse("").empty());
  EXPECT_TRUE(Parse("# nobody\nidentities:\n").empty());
}

// The hash that other programs make: printf %s abc | sha256sum.
TEST(IdentitiesFileTest, TheHashIsThatOfOtherPrograms) {
  EXPECT_EQ(HashOf("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(IdentitiesFileTest, SaysWhatIsWrongAndWhere) {
  const std::string hash = HashOf("t");
  EXPECT_EQ(ErrorOf("identities: 3\n"), "i.yaml:1: identities: is not a list (- name: ...)");
  EXPECT_EQ(ErrorOf("who: []\n"),
            "i.yaml:1: 'who' is not a name in the file, which has identities");
  EXPECT_EQ(ErrorOf("identities:\n  - role: worker\n    certificate: a\n"),
            "i.yaml:2: name: is missing");
  EXPECT_EQ(ErrorOf("identities:\n  - name: a\n    certificate: a\n"),
            "i.yaml:2: role: is missing");
  EXPECT_EQ(ErrorOf("identities:\n  - name: a/b\n"),
            "i.yaml:2: name: is not 1 to 64 letters, digits and any of '.', '_', '@', ':' and '-'");
  EXPECT_EQ(ErrorOf("identities:\n  - name: a\n    role: king\n"),
            "i.yaml:3: role: is not worker, viewer or operator");
  EXPECT_EQ(ErrorOf("identities:\n  - name: a\n    role: worker\n"),
            "i.yaml:2: a: has neither token_sha256 nor certificate, and so nobody could be it");
  EXPECT_EQ(ErrorOf("identities:\n  - name: a\n    token_sha256: secret\n"),
            "i.yaml:3: token_sha256: is not the SHA-256 of a token, 64 hexadecimal digits");
  EXPECT_EQ(ErrorOf("identities:\n  - name: a\n    workers: 0\n"),
            "i.yaml:3: workers: is not a whole number in [1, 100000]");
  EXPECT_EQ(ErrorOf("identities:\n  - name: a\n    services: {b: c}\n"),
            "i.yaml:3: services: is neither a value nor a list of them");
  EXPECT_EQ(ErrorOf("identities:\n  - name: a\n    services: ['']\n"),
            "i.yaml:3: services: is empty");
  EXPECT_EQ(ErrorOf(absl::StrCat("identities:\n", Worker("a", "t"), Worker("a", "u"))),
            "i.yaml:3: name: 'a' was given already, at line 2");
  EXPECT_EQ(ErrorOf(absl::StrCat("identities:\n", Worker("a", "t"), Worker("b", "t"))),
            absl::StrCat("i.yaml:3: token_sha256: ", hash.substr(0, 8),
                         "... was given already, at line 2"));
}

TEST(IdentitiesTest, FindsByTokenAndCertificate) {
  Identities identities;
  EXPECT_EQ(identities.FindByToken("one"), nullptr);

  identities.Replace(Parse(absl::StrCat("identities:\n", Worker("a", "one"),
                                        "  - {name: b, role: viewer, certificate: [x, y]}\n")));

  EXPECT_EQ(identities.FindByToken("one")->name, "a");
  EXPECT_EQ(identities.FindByCertificate("y")->name, "b");
  EXPECT_EQ(identities.FindByToken("two"), nullptr);
  EXPECT_EQ(identities.FindByToken(""), nullptr);
  EXPECT_EQ(identities.FindByCertificate("one"), nullptr);
}

TEST(IdentitiesTest, WhoIsNotTheSameAnyMoreIsRevoked) {
  Identities identities;
  EXPECT_TRUE(identities.Replace(Parse(absl::StrCat("identities:\n", Worker("stays", "1"),
                                                    Worker("changes", "2"), Worker("goes", "3")))));
  const IdentityPtr stays = identities.FindByToken("1");
  const IdentityPtr changes = identities.FindByToken("2");
  const IdentityPtr goes = identities.FindByToken("3");

  EXPECT_TRUE(identities.Replace(
      Parse(absl::StrCat("identities:\n", Worker("stays", "1"), Worker("changes", "4")))));

  EXPECT_EQ(identities.FindByToken("1"), stays);
  EXPECT_FALSE(stays->revoked);
  EXPECT_TRUE(changes->revoked);
  EXPECT_FALSE(identities.FindByToken("4")->revoked);
  EXPECT_TRUE(goes->revoked);
  EXPECT_EQ(identities.FindByToken("2"), nullptr);
  EXPECT_EQ(identities.FindByToken("3"), nullptr);
}

TEST(IdentitiesTest, TheSameAgainIsNoChange) {
  Identities identities;
  const std::string text = absl::StrCat("identities:\n", Worker("a", "1"));
  EXPECT_TRUE(identities.Replace(Parse(text)));
  EXPECT_FALSE(identities.Replace(Parse(text)));
  EXPECT_FALSE(identities.FindByToken("1")->revoked);
}

TEST(IdentityTest, NamesServicesByTheirBeginning) {
  Identity identity;
  EXPECT_TRUE(identity.MayName("anything"));

  identity.services = {"chat", "push-"};

  EXPECT_TRUE(identity.MayName("chat"));
  EXPECT_TRUE(identity.MayName("chat-db"));
  EXPECT_TRUE(identity.MayName("push-apns"));
  EXPECT_FALSE(identity.MayName("push"));
  EXPECT_FALSE(identity.MayName("my-chat"));
  EXPECT_FALSE(identity.MayName("*"));
}

}  // namespace
}  // namespace breaker::server
