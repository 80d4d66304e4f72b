#include "server/policy_file.h"

#include <fstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace breaker::server {
namespace {

using ::testing::HasSubstr;

std::vector<v1::SetPolicyRequest> Parse(const std::string& text) {
  const auto policies = ParsePolicies(text, "p.yaml");
  EXPECT_TRUE(policies.ok()) << policies.status();
  return policies.ok() ? *policies : std::vector<v1::SetPolicyRequest>();
}

std::string ErrorOf(const std::string& text) {
  const auto policies = ParsePolicies(text, "p.yaml");
  EXPECT_EQ(policies.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(policies.status().message());
}

// An entry of s/o with this policy; its fields begin at line 5.
std::string WithPolicy(const std::string& fields) {
  return "policies:\n- service: s\n  operation: o\n  policy:\n" + fields;
}

TEST(PolicyFileTest, ReadsEveryTypeOfField) {
  const auto policies = Parse("# comment\n" + WithPolicy("    failure_threshold: 3  # why\n"
                                                         "    recovery_timeout: 1m30s\n"
                                                         "    expected_response_time: 500ms\n"
                                                         "    failure_rate_threshold: 0.5\n"
                                                         "    failure_counting: WINDOWED\n"
                                                         "    shadow: true\n"));
  ASSERT_EQ(policies.size(), 1u);
  EXPECT_EQ(policies[0].service(), "s");
  EXPECT_EQ(policies[0].operation(), "o");
  const v1::Policy& policy = policies[0].policy();
  EXPECT_EQ(policy.failure_threshold(), 3u);
  EXPECT_EQ(policy.recovery_timeout().seconds(), 90);
  EXPECT_EQ(policy.expected_response_time().nanos(), 500'000'000);
  EXPECT_EQ(policy.failure_rate_threshold(), 0.5);
  EXPECT_EQ(policy.failure_counting(), v1::Policy::WINDOWED);
  EXPECT_TRUE(policy.shadow());
  EXPECT_FALSE(policy.has_monitoring_window()) << "what is left out is left to the defaults";
}

TEST(PolicyFileTest, EntriesMayShareAPolicyAndStandForMany) {
  const auto policies = Parse(
      "policies:\n"
      "- {service: s, operation: a, policy: &quick {failure_threshold: 1}}\n"
      "- {service: s, operation: '*', policy: *quick}\n"
      "- {service: '*', operation: '*'}\n");
  ASSERT_EQ(policies.size(), 3u);
  EXPECT_EQ(policies[1].operation(), "*");
  EXPECT_EQ(policies[1].policy().failure_threshold(), 1u);
  EXPECT_TRUE(policies[2].has_policy()) << "none is one with every field at its default";
}

TEST(PolicyFileTest, NothingIsNoPolicy) {
  EXPECT_TRUE(Parse("").empty());
  EXPECT_TRUE(Parse("# only a comment\n").empty());
  EXPECT_TRUE(Parse("policies:\n").empty());
  EXPECT_TRUE(Parse("policies: []\n").empty());
}

TEST(PolicyFileTest, ErrorsNameLineFieldAndWhatIsAllowed) {
  EXPECT_EQ(ErrorOf(WithPolicy("    failure_threshold: 3\n    recovery_timeout: 30\n")),
            "p.yaml:6: policy.recovery_timeout: '30' is not a duration such as 30s or 500ms");
  EXPECT_EQ(ErrorOf(WithPolicy("    failure_rate_threshold: 1.5\n    shadow: true\n")),
            "p.yaml:5: policy.failure_rate_threshold: 1.5 is not in (0, 1]");
  EXPECT_THAT(ErrorOf(WithPolicy("    failure_treshold: 3\n")),
              HasSubstr("p.yaml:5: policy has no field 'failure_treshold'; it has failure_thresh"));
  EXPECT_EQ(ErrorOf(WithPolicy("    shadow: [true]\n")),
            "p.yaml:5: policy.shadow: is not a single value");
  EXPECT_EQ(ErrorOf(WithPolicy("    shadow: true\n    shadow: false\n")),
            "p.yaml:6: shadow: was given already, at line 5");
  EXPECT_EQ(ErrorOf(WithPolicy("    failure_threshold: 1\n    recovery_timeout: 999999999h\n")),
            "p.yaml:6: policy.recovery_timeout: '999999999h' is not in the range of a Duration");
}

TEST(PolicyFileTest, ErrorsOfTheShapeNameTheLineToo) {
  EXPECT_EQ(ErrorOf("policy: []\n"),
            "p.yaml:1: 'policy' is not a name in the file, which has policies");
  EXPECT_EQ(ErrorOf("policies: 3\n"), "p.yaml:1: policies: is not a list (- service: ...)");
  EXPECT_EQ(ErrorOf("policies:\n- service: s\n"),
            "p.yaml:2: operation: a length of 0 bytes is not in [1, 128]");
  EXPECT_EQ(ErrorOf("policies:\n- service: '*'\n  operation: o\n"),
            "p.yaml:2: operation: \"o\" is not \"*\", as it must be where service is");
  EXPECT_EQ(ErrorOf("policies:\n- {service: s, operation: o}\n- {service: s, operation: o}\n"),
            "p.yaml:3: s/o: has a policy already, at line 2");
  EXPECT_THAT(ErrorOf("policies:\n- just text\n"), HasSubstr("p.yaml:2: an entry of policies"));
  EXPECT_THAT(ErrorOf("policies:\n  - a: [\n"), HasSubstr("is not YAML"));
}

TEST(PolicyFileTest, WhatIsWrittenIsReadAgain) {
  auto policies =
      Parse(WithPolicy("    failure_threshold: 3\n    failure_rate_threshold: 0.1\n"
                       "    recovery_timeout: 1.5s\n    failure_counting: windowed\n"));
  v1::SetPolicyRequest odd;
  odd.set_service("*");
  odd.set_operation("*");
  odd.mutable_policy()->set_shadow(true);
  policies.push_back(odd);
  odd.set_service("yes: # ' \"");
  odd.set_operation("123");
  policies.push_back(odd);

  const auto again = Parse(FormatPolicies(policies));

  ASSERT_EQ(again.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(again[i].SerializeAsString(), policies[i].SerializeAsString());
  }
}

TEST(PolicyFileTest, AFileThatCannotBeReadIsNamed) {
  const TempDir dir;
  const std::string path = dir.path() + "/none.yaml";
  EXPECT_EQ(ReadPolicies(path).status(),
            absl::NotFoundError(path + ": cannot be read: No such file or directory"));
  EXPECT_FALSE(ReadPolicies(dir.path()).ok()) << "a directory";
  std::ofstream(path).close();
  EXPECT_TRUE(ReadPolicies(path).ok()) << "an empty file has no policy";
}

TEST(PolicyFileTest, TheFirstApplicationsFileIsRight) {
  const auto policies = ReadPolicies(POLICIES_DIR "/websocket-app.yaml");
  ASSERT_TRUE(policies.ok()) << policies.status();
  ASSERT_EQ(policies->size(), 6u);
  EXPECT_EQ((*policies)[0].operation(), "verifyJWT");
  EXPECT_EQ((*policies)[0].policy().expected_response_time().seconds(), 2);
  EXPECT_EQ((*policies)[1].policy().failure_threshold(), 5u);
  for (size_t i = 2; i < 6; ++i) {
    EXPECT_EQ((*policies)[i].service(), "dynamodb");
    EXPECT_EQ((*policies)[i].policy().expected_response_time().nanos(), 500'000'000);
    EXPECT_EQ((*policies)[i].policy().recovery_timeout().seconds(), 20);
  }
}

}  // namespace
}  // namespace breaker::server
