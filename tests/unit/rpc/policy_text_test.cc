#include "server/rpc/policy_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace breaker::server {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

v1::Policy Parse(absl::string_view text) {
  v1::Policy policy;
  const absl::Status status = ParsePolicy(text, policy);
  EXPECT_TRUE(status.ok()) << status;
  return policy;
}

std::string ParseError(absl::string_view text) {
  v1::Policy policy;
  return std::string(ParsePolicy(text, policy).message());
}

TEST(PolicyTextTest, ReadsEveryTypeOfField) {
  const v1::Policy policy = Parse(
      "failure_threshold=3,recovery_timeout=1m500ms,failure_counting=WINDOWED,"
      "failure_rate_threshold=0.25,slow_calls_are_failures=true");
  EXPECT_EQ(policy.failure_threshold(), 3);
  EXPECT_EQ(policy.recovery_timeout().seconds(), 60);
  EXPECT_EQ(policy.recovery_timeout().nanos(), 500'000'000);
  EXPECT_EQ(policy.failure_counting(), v1::Policy::WINDOWED);
  EXPECT_EQ(policy.failure_rate_threshold(), 0.25);
  EXPECT_TRUE(policy.slow_calls_are_failures());
  EXPECT_FALSE(policy.has_shadow());
}

TEST(PolicyTextTest, KeepsAnExplicitZero) {
  EXPECT_TRUE(Parse("failure_threshold=0").has_failure_threshold());
}

TEST(PolicyTextTest, NamesTheFieldsWhenOneIsUnknown) {
  EXPECT_THAT(ParseError("failure_treshold=3"),
              AllOf(HasSubstr("'failure_treshold'"), HasSubstr("failure_threshold"),
                    HasSubstr("recovery_timeout"), HasSubstr("shadow")));
}

TEST(PolicyTextTest, SaysWhatIsAllowed) {
  EXPECT_EQ(ParseError("failure_threshold=-1"),
            "policy.failure_threshold: '-1' is not a whole number from 0 to 4294967295");
  EXPECT_EQ(ParseError("recovery_timeout=30"),
            "policy.recovery_timeout: '30' is not a duration such as 30s or 500ms");
  EXPECT_EQ(ParseError("failure_counting=FAILURE_COUNTING_UNSPECIFIED"),
            "policy.failure_counting: 'FAILURE_COUNTING_UNSPECIFIED' is not one of CONSECUTIVE, "
            "WINDOWED");
  EXPECT_EQ(ParseError("recovery_jitter=much"), "policy.recovery_jitter: 'much' is not a number");
  EXPECT_EQ(ParseError("shadow=maybe"), "policy.shadow: 'maybe' is not true or false");
  EXPECT_EQ(ParseError("shadow"), "policy.shadow: '' is not true or false");
}

TEST(PolicyTextTest, WritesWhatItReads) {
  EXPECT_THAT(PolicyFields(Parse("shadow=true,recovery_timeout=1500ms,recovery_jitter=0.1,"
                                 "failure_counting=windowed,failure_threshold=0")),
              ElementsAre(Pair("failure_threshold", "0"), Pair("recovery_timeout", "1.5s"),
                          Pair("failure_counting", "WINDOWED"), Pair("recovery_jitter", "0.1"),
                          Pair("shadow", "true")));
}

}  // namespace
}  // namespace breaker::server
