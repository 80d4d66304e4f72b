// What operators ask of a whole daemon: that it takes effect at once, is told to those who watch,
// outlives a restart, and that bad requests are refused in words.

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/messages.h"
#include "tests/support/simulated_clock.h"
#include "tests/support/test_daemon.h"
#include "tests/support/watcher.h"

namespace breaker::testing {
namespace {

using ::testing::HasSubstr;

class AdminServiceTest : public ::testing::Test {
 protected:
  grpc::Status SetPolicy(const std::string& request) {
    grpc::ClientContext context;
    return daemon_.admin().SetPolicy(&context, Text<v1::SetPolicyRequest>(request), &entry_);
  }
  grpc::Status DeletePolicy(const std::string& request) {
    grpc::ClientContext context;
    google::protobuf::Empty empty;
    return daemon_.admin().DeletePolicy(&context, Text<v1::DeletePolicyRequest>(request), &empty);
  }
  v1::ListPoliciesResponse Policies() {
    grpc::ClientContext context;
    v1::ListPoliciesResponse policies;
    EXPECT_TRUE(daemon_.admin().ListPolicies(&context, {}, &policies).ok());
    return policies;
  }
  grpc::Status SetOverride(const std::string& request) {
    grpc::ClientContext context;
    return daemon_.admin().SetOverride(&context, Text<v1::SetOverrideRequest>(request), &stats_);
  }
  grpc::Status ClearOverride(const std::string& request) {
    grpc::ClientContext context;
    return daemon_.admin().ClearOverride(&context, Text<v1::ClearOverrideRequest>(request),
                                         &stats_);
  }
  grpc::Status Reset(const std::string& request) {
    grpc::ClientContext context;
    return daemon_.admin().Reset(&context, Text<v1::ResetRequest>(request), &stats_);
  }
  grpc::Status Delete(const std::string& request) {
    grpc::ClientContext context;
    google::protobuf::Empty empty;
    return daemon_.admin().Delete(&context, Text<v1::DeleteRequest>(request), &empty);
  }

  v1::AcquireResponse Acquire(const std::string& rest = "") {
    return daemon_.Acquire(Text<v1::AcquireRequest>(kKey + rest));
  }
  void Fail() { daemon_.Report(Text<v1::ReportRequest>(kKey + " outcome: FAILURE")); }

  const std::string kKey = "service: 's' operation: 'o' ";

  server::SimulatedClock clock_;
  TestDaemon daemon_{&clock_};
  v1::PolicyEntry entry_;
  v1::CircuitStats stats_;
};

// ---------------------------------------------------------------------------------------------
// Policies

TEST_F(AdminServiceTest, PolicyIsInEffectAtOnceOnAllThatItMatches) {
  Acquire("policy { failure_threshold: 9 }");

  ASSERT_TRUE(SetPolicy("service: 's' operation: '*' "
                        "policy { failure_threshold: 1 minimum_request_count: 1 }")
                  .ok());
  EXPECT_EQ(entry_.operation(), "*");
  EXPECT_EQ(entry_.origin(), v1::PolicyEntry::API);
  EXPECT_EQ(entry_.updated_at().seconds(), 1'700'000'000);
  EXPECT_EQ(entry_.policy().failure_threshold(), 1);
  EXPECT_EQ(entry_.policy().recovery_timeout().seconds(), 30) << "every field is filled in";

  EXPECT_EQ(daemon_.GetStats("s", "o").policy_source(), v1::CircuitStats::OPERATOR);
  Fail();
  EXPECT_EQ(daemon_.GetStats("s", "o").state(), v1::OPEN);
}

TEST_F(AdminServiceTest, WithoutItTheWorkersPolicyAppliesAgain) {
  Acquire("policy { failure_threshold: 9 }");
  ASSERT_TRUE(SetPolicy(kKey + "policy { failure_threshold: 1 }").ok());

  EXPECT_TRUE(DeletePolicy(kKey).ok());

  EXPECT_EQ(daemon_.GetStats("s", "o").policy().failure_threshold(), 9);
  EXPECT_EQ(daemon_.GetStats("s", "o").policy_source(), v1::CircuitStats::WORKER);
  EXPECT_EQ(Policies().policies_size(), 0);
}

TEST_F(AdminServiceTest, PoliciesAreListedInOrder) {
  ASSERT_TRUE(SetPolicy("service: 's' operation: 'o' policy {}").ok());
  ASSERT_TRUE(SetPolicy("service: 's' operation: '*' policy {}").ok());
  ASSERT_TRUE(SetPolicy("service: '*' operation: '*' policy {}").ok());

  const v1::ListPoliciesResponse policies = Policies();

  ASSERT_EQ(policies.policies_size(), 3);
  EXPECT_EQ(policies.policies(0).service(), "*");
  EXPECT_EQ(policies.policies(1).operation(), "*");
  EXPECT_EQ(policies.policies(2).operation(), "o");
}

TEST_F(AdminServiceTest, PoliciesOutliveARestart) {
  Acquire();
  ASSERT_TRUE(SetPolicy(kKey + "policy { failure_threshold: 3 }").ok());
  ASSERT_TRUE(SetPolicy("service: 's' operation: '*' policy {}").ok());
  ASSERT_TRUE(DeletePolicy("service: 's' operation: '*'").ok());
  clock_.Advance(absl::Seconds(100));

  daemon_.Restart();

  const v1::ListPoliciesResponse policies = Policies();
  ASSERT_EQ(policies.policies_size(), 1);
  EXPECT_EQ(policies.policies(0).operation(), "o");
  EXPECT_EQ(policies.policies(0).updated_at().seconds(), 1'700'000'000);
  EXPECT_EQ(daemon_.GetStats("s", "o").policy().failure_threshold(), 3);
}

TEST_F(AdminServiceTest, WatchersHearOfAPolicy) {
  Watcher watcher(daemon_.NewChannel(),
                  Text<v1::WatchRequest>("subscribe { service: 's' operation: 'o' }"));
  ASSERT_TRUE(watcher.AwaitUpdates(1));

  ASSERT_TRUE(SetPolicy("service: '*' operation: '*' policy { failure_threshold: 3 }").ok());
  ASSERT_TRUE(watcher.AwaitUpdates(2));

  EXPECT_EQ(watcher.updates()[1].policy().failure_threshold(), 3);
  EXPECT_EQ(watcher.updates()[1].state(), v1::CLOSED);
}

TEST_F(AdminServiceTest, BadPoliciesAreRefusedByField) {
  EXPECT_EQ(SetPolicy("service: 's' operation: 'o' "
                      "policy { failure_rate_threshold: 1.5 }")
                .error_message(),
            "policy.failure_rate_threshold: 1.5 is not in (0, 1]");
  const grpc::Status missing = SetPolicy("service: 's' operation: 'o'");
  EXPECT_EQ(missing.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(missing.error_message(), HasSubstr("policy: is not set"));
  EXPECT_EQ(SetPolicy("service: '*' operation: 'o' policy {}").error_message(),
            "operation: \"o\" is not \"*\", as it must be where service is");
  EXPECT_THAT(SetPolicy("operation: 'o' policy {}").error_message(), HasSubstr("service: "));
  EXPECT_EQ(Policies().policies_size(), 0);
}

TEST_F(AdminServiceTest, DeletingAPolicyThatIsNotThereIsNotFound) {
  const grpc::Status status = DeletePolicy(kKey);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "no policy is set for s/o by SetPolicy");
}

// ---------------------------------------------------------------------------------------------
// Overrides

TEST_F(AdminServiceTest, ForcedOpenEndsByItselfEvenAcrossARestart) {
  ASSERT_TRUE(SetOverride(kKey + "mode: FORCED_OPEN reason: 'migration' actor: 'ana' "
                                 "ttl { seconds: 20 }")
                  .ok());
  EXPECT_EQ(stats_.state(), v1::OPEN);
  EXPECT_EQ(stats_.override().expires_at().seconds(), 1'700'000'020);
  EXPECT_FALSE(Acquire().allowed());

  clock_.Advance(absl::Seconds(10));
  daemon_.Restart();
  EXPECT_FALSE(Acquire().allowed());
  clock_.Advance(absl::Seconds(10));
  EXPECT_TRUE(Acquire().allowed());

  const v1::CircuitStats stats = daemon_.GetStats("s", "o");
  EXPECT_FALSE(stats.has_override());
  ASSERT_EQ(stats.recent_transitions_size(), 2);
  EXPECT_EQ(stats.recent_transitions(0).cause(), v1::Transition::OVERRIDE_CLEARED);
  EXPECT_THAT(stats.recent_transitions(0).reason(), HasSubstr("expired"));
  EXPECT_EQ(stats.recent_transitions(1).cause(), v1::Transition::OVERRIDE_SET);
  EXPECT_THAT(stats.recent_transitions(1).reason(), HasSubstr("by ana"));
  EXPECT_THAT(stats.recent_transitions(1).reason(), HasSubstr("migration"));
}

TEST_F(AdminServiceTest, ForcedClosedAllowsWhatOtherwiseOpens) {
  ASSERT_TRUE(SetPolicy(kKey + "policy { failure_threshold: 1 minimum_request_count: 1 }").ok());
  ASSERT_TRUE(SetOverride(kKey + "mode: FORCED_CLOSED").ok());
  Fail();
  EXPECT_TRUE(Acquire().allowed());

  ASSERT_TRUE(ClearOverride(kKey).ok());
  EXPECT_FALSE(stats_.has_override());
  Fail();
  EXPECT_FALSE(Acquire().allowed());
}

TEST_F(AdminServiceTest, WatchersHearOfAnOverride) {
  Watcher watcher(daemon_.NewChannel(), Text<v1::WatchRequest>("all: true"));
  ASSERT_TRUE(SetOverride(kKey + "mode: FORCED_OPEN actor: 'ana'").ok());

  ASSERT_TRUE(watcher.Await([](const auto& updates) {
    return !updates.empty() && updates.back().override().actor() == "ana";
  }));
  EXPECT_EQ(watcher.updates().back().state(), v1::OPEN);
}

TEST_F(AdminServiceTest, BadOverridesAreRefusedByFieldAndCreateNoBreaker) {
  EXPECT_EQ(SetOverride(kKey).error_message(),
            "mode: 0 is not FORCED_OPEN (1) or FORCED_CLOSED (2)");
  EXPECT_EQ(SetOverride(kKey + "mode: FORCED_OPEN ttl { seconds: 0 }").error_message(),
            "ttl: 0 is not in (0, 8760h]");
  EXPECT_EQ(SetOverride("service: 's' operation: '*' mode: FORCED_OPEN").error_message(),
            "operation: \"*\" is not the name of one breaker");
  EXPECT_THAT(SetOverride(kKey + "mode: FORCED_OPEN reason: '" + std::string(257, 'x') + "'")
                  .error_message(),
              HasSubstr("reason: a length of 257 bytes is not in [0, 256]"));

  grpc::ClientContext context;
  v1::ListStatsResponse page;
  ASSERT_TRUE(daemon_.stub().ListStats(&context, {}, &page).ok());
  EXPECT_EQ(page.stats_size(), 0);
}

TEST_F(AdminServiceTest, ClearingWhatIsNotOverriddenIsNotFound) {
  EXPECT_EQ(ClearOverride(kKey).error_message(), "no breaker s/o");
  Acquire();
  EXPECT_EQ(ClearOverride(kKey).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ClearOverride(kKey).error_message(), "breaker s/o has no override");
}

// ---------------------------------------------------------------------------------------------
// Starting anew

TEST_F(AdminServiceTest, ResetCloses) {
  Acquire("policy { failure_threshold: 1 minimum_request_count: 1 }");
  Fail();

  ASSERT_TRUE(Reset(kKey).ok());

  EXPECT_EQ(stats_.state(), v1::CLOSED);
  EXPECT_EQ(stats_.failure_count(), 0);
  EXPECT_EQ(stats_.recent_transitions(0).cause(), v1::Transition::RESET);
  EXPECT_EQ(Reset("service: 's' operation: 'other'").error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(AdminServiceTest, ADeletedBreakerIsGoneForWatchersAndAfterARestart) {
  Acquire();
  Fail();
  Watcher watcher(daemon_.NewChannel(), Text<v1::WatchRequest>("all: true"));
  ASSERT_TRUE(watcher.AwaitUpdates(1));

  ASSERT_TRUE(Delete(kKey).ok());

  ASSERT_TRUE(watcher.AwaitUpdates(2));
  EXPECT_TRUE(watcher.updates().back().removed());
  EXPECT_EQ(Delete(kKey).error_message(), "no breaker s/o");
  daemon_.Restart();
  EXPECT_EQ(Reset(kKey).error_code(), grpc::StatusCode::NOT_FOUND);
}

}  // namespace
}  // namespace breaker::testing
