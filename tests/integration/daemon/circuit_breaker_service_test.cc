// The wire contract against a whole daemon: what each rpc answers, and what it refuses.

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/messages.h"
#include "tests/support/sanitizers.h"
#include "tests/support/simulated_clock.h"
#include "tests/support/test_daemon.h"

namespace breaker::testing {
namespace {

using ::testing::HasSubstr;

class CircuitBreakerServiceTest : public ::testing::Test {
 protected:
  grpc::Status AcquireStatus(const std::string& request) {
    grpc::ClientContext context;
    v1::AcquireResponse response;
    return daemon_.stub().Acquire(&context, Text<v1::AcquireRequest>(request), &response);
  }
  grpc::Status ReportStatus(const std::string& request) {
    grpc::ClientContext context;
    v1::ReportResponse response;
    return daemon_.stub().Report(&context, Text<v1::ReportRequest>(request), &response);
  }
  grpc::Status ListStatus(const std::string& request) {
    grpc::ClientContext context;
    return daemon_.stub().ListStats(&context, Text<v1::ListStatsRequest>(request), &page_);
  }
  v1::AcquireResponse Acquire(const std::string& rest = "") {
    return daemon_.Acquire(Text<v1::AcquireRequest>("service: 's' operation: 'o' " + rest));
  }
  v1::ReportResponse Report(const std::string& rest) {
    return daemon_.Report(Text<v1::ReportRequest>("service: 's' operation: 'o' " + rest));
  }

  const server::SystemClock clock_;
  TestDaemon daemon_{&clock_};
  v1::ListStatsResponse page_;
};

TEST_F(CircuitBreakerServiceTest, AcquireGivesAPermitThatCountsOnce) {
  const v1::AcquireResponse acquired = Acquire("worker_id: 'w'");
  EXPECT_TRUE(acquired.allowed());
  EXPECT_EQ(acquired.state(), v1::CLOSED);
  EXPECT_EQ(acquired.generation(), 1);
  EXPECT_NE(acquired.permit_id(), 0);
  EXPECT_FALSE(acquired.has_retry_after());

  const std::string report = "outcome: SUCCESS permit_id: " + std::to_string(acquired.permit_id());
  EXPECT_EQ(Report(report).disposition(), v1::ReportResponse::COUNTED);
  EXPECT_EQ(Report(report).disposition(), v1::ReportResponse::UNKNOWN_PERMIT);
  EXPECT_EQ(daemon_.GetStats("s", "o").success_count(), 1);
}

TEST_F(CircuitBreakerServiceTest, OpenCircuitSaysWhenToAskAgainAndWhyItOpened) {
  Acquire("policy { failure_threshold: 2 minimum_request_count: 2 }");
  Report("outcome: FAILURE worker_id: 'a' error: 'Timeout'");
  EXPECT_EQ(Report("outcome: FAILURE worker_id: 'b' error: 'Timeout'").state(), v1::OPEN);

  const v1::AcquireResponse refused = Acquire();
  EXPECT_FALSE(refused.allowed());
  EXPECT_EQ(refused.state(), v1::OPEN);
  EXPECT_EQ(refused.generation(), 2);
  EXPECT_GT(refused.retry_after().seconds(), 20);
  EXPECT_LE(refused.retry_after().seconds(), 30);

  const v1::CircuitStats stats = daemon_.GetStats("s", "o");
  EXPECT_EQ(stats.state(), v1::OPEN);
  EXPECT_TRUE(stats.has_next_attempt_time());
  EXPECT_EQ(stats.failing_workers(), 2);
  EXPECT_EQ(stats.last_failure_error(), "Timeout");
  EXPECT_EQ(stats.lifetime().rejected(), 1);
  EXPECT_EQ(stats.lifetime().times_opened(), 1);
  EXPECT_EQ(stats.policy_source(), v1::CircuitStats::WORKER);
  ASSERT_EQ(stats.recent_transitions_size(), 1);
  EXPECT_EQ(stats.recent_transitions(0).cause(), v1::Transition::CONSECUTIVE_FAILURES);
  EXPECT_EQ(stats.recent_transitions(0).reason(),
            "2 consecutive failures (threshold 2) with 2 calls in 60s (minimum 2), "
            "2 workers failing");
}

TEST_F(CircuitBreakerServiceTest, EffectivePolicyHasEveryFieldFilledIn) {
  Acquire("policy { half_open_max_probes: 3 }");
  const v1::Policy policy = daemon_.GetStats("s", "o").policy();
  const auto* descriptor = v1::Policy::descriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    EXPECT_TRUE(policy.GetReflection()->HasField(policy, descriptor->field(i)))
        << descriptor->field(i)->name();
  }
  EXPECT_EQ(policy.half_open_max_probes(), 3);
  EXPECT_EQ(policy.failure_threshold(), 5);
  EXPECT_EQ(policy.max_recovery_timeout().seconds(), 300);
}

TEST_F(CircuitBreakerServiceTest, AskingForStatsCreatesNothing) {
  grpc::ClientContext context;
  v1::CircuitStats stats;
  const grpc::Status status = daemon_.stub().GetStats(
      &context, Text<v1::GetStatsRequest>("service: 's' operation: 'o'"), &stats);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "no breaker s/o");
  ASSERT_TRUE(ListStatus("").ok());
  EXPECT_EQ(page_.stats_size(), 0);
}

TEST_F(CircuitBreakerServiceTest, BadInputNamesFieldValueAndWhatIsAllowed) {
  const std::string key = "service: 's' operation: 'o' ";
  const std::string long_name(129, 'x');
  const struct {
    std::string request;
    std::string message;
  } acquires[] = {
      {"operation: 'o'", "service: a length of 0 bytes is not in [1, 128]"},
      {"service: 's'", "operation: a length of 0 bytes is not in [1, 128]"},
      {"service: '" + long_name + "' operation: 'o'",
       "service: a length of 129 bytes is not in [1, 128]"},
      {"service: 's' operation: 'a\\tb'", "operation: \"a\\tb\" is not free of control characters"},
      {"service: 's\\302\\205' operation: 'o'", "is not free of control characters"},
      {key + "worker_id: '" + long_name + "'",
       "worker_id: a length of 129 bytes is not in [0, 128]"},
      {key + "policy { failure_rate_threshold: 1.5 }",
       "policy.failure_rate_threshold: 1.5 is not in (0, 1]"},
      {key + "policy { slow_call_rate_threshold: nan }",
       "policy.slow_call_rate_threshold: nan is not in (0, 1]"},
      {key + "policy { recovery_timeout { seconds: -1 } }",
       "policy.recovery_timeout: -1s is not in [1ms, 8760h]"},
      {key + "policy { recovery_timeout { seconds: 1 nanos: -5 } }",
       "policy.recovery_timeout: 1 s -5 ns is not a valid Duration"},
      {key + "policy { recovery_jitter: 1 }", "policy.recovery_jitter: 1 is not in [0, 1)"},
      {key + "policy { half_open_max_probes: 0 }",
       "policy.half_open_max_probes: 0 is not in [1, 1000]"},
      {key + "policy { recovery_backoff_multiplier: 0.5 }",
       "policy.recovery_backoff_multiplier: 0.5 is not in [1, 1000]"},
  };
  for (const auto& [request, message] : acquires) {
    const grpc::Status status = AcquireStatus(request);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << request;
    EXPECT_THAT(status.error_message(), HasSubstr(message));
  }
  const struct {
    std::string request;
    std::string message;
  } reports[] = {
      {key, "outcome: 0 is not SUCCESS (1), FAILURE (2) or IGNORED (3)"},
      {key + "outcome: SUCCESS duration { seconds: -1 }", "duration: -1s is not 0 or more"},
  };
  for (const auto& [request, message] : reports) {
    const grpc::Status status = ReportStatus(request);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << request;
    EXPECT_THAT(status.error_message(), HasSubstr(message));
  }
  EXPECT_EQ(ListStatus("page_size: 1001").error_message(), "page_size: 1001 is not in [0, 1000]");
  EXPECT_THAT(ListStatus("page_token: 'nonsense'").error_message(), HasSubstr("page_token: "));
  EXPECT_THAT(ListStatus("states: CIRCUIT_STATE_UNSPECIFIED").error_message(),
              HasSubstr("states: 0 is not CLOSED (1), OPEN (2) or HALF_OPEN (3)"));
  ASSERT_TRUE(ListStatus("").ok());
  EXPECT_EQ(page_.stats_size(), 0) << "a refused request created a breaker";
}

TEST_F(CircuitBreakerServiceTest, LongErrorLabelIsCutBetweenCharacters) {
  // 63 bytes and a character of two: it does not fit into 64.
  Report("outcome: FAILURE error: '" + std::string(63, 'x') + "\\303\\244'");
  EXPECT_EQ(daemon_.GetStats("s", "o").last_failure_error(), std::string(63, 'x'));
}

TEST_F(CircuitBreakerServiceTest, ReportForAPermitOfNoBreakerCreatesNone) {
  const v1::ReportResponse response = Report("outcome: FAILURE permit_id: 7");
  EXPECT_EQ(response.disposition(), v1::ReportResponse::UNKNOWN_PERMIT);
  EXPECT_EQ(response.state(), v1::CLOSED);
  EXPECT_EQ(response.generation(), 0);
  ASSERT_TRUE(ListStatus("").ok());
  EXPECT_EQ(page_.stats_size(), 0);
}

TEST_F(CircuitBreakerServiceTest, ListPagesThroughAllInOrder) {
  for (const char* key : {"service: 'b' operation: '1'", "service: 'a' operation: '2'",
                          "service: 'a' operation: '1'", "service: 'c' operation: '1'"}) {
    daemon_.Acquire(Text<v1::AcquireRequest>(key));
  }
  std::vector<std::string> seen;
  std::string token;
  int pages = 0;
  do {
    page_.Clear();
    ASSERT_TRUE(ListStatus("page_size: 3 page_token: '" + token + "'").ok());
    for (const v1::CircuitStats& stats : page_.stats()) {
      seen.push_back(stats.service() + "/" + stats.operation());
    }
    token = page_.next_page_token();
    ++pages;
  } while (!token.empty());
  EXPECT_THAT(seen, ::testing::ElementsAre("a/1", "a/2", "b/1", "c/1"));
  EXPECT_EQ(pages, 2);
}

TEST_F(CircuitBreakerServiceTest, ListFiltersByServiceAndState) {
  daemon_.Acquire(Text<v1::AcquireRequest>("service: 'other' operation: 'o'"));
  Acquire("policy { failure_threshold: 1 minimum_request_count: 1 }");
  Report("outcome: FAILURE");
  ASSERT_TRUE(ListStatus("states: OPEN states: HALF_OPEN").ok());
  ASSERT_EQ(page_.stats_size(), 1);
  EXPECT_EQ(page_.stats(0).service(), "s");
  page_.Clear();
  ASSERT_TRUE(ListStatus("service: 'other'").ok());
  ASSERT_EQ(page_.stats_size(), 1);
  EXPECT_EQ(page_.stats(0).state(), v1::CLOSED);
}

TEST(CircuitBreakerServiceLimitsTest, BigPageEndsEarlyRatherThanOutgrowAClient) {
  if (kThreadSanitizer) GTEST_SKIP() << kTakesMinutes;
  constexpr int kBreakers = 120;
  server::SimulatedClock clock;
  TestDaemon daemon(&clock);
  // Each leaves a transition with its words behind.
  v1::SetOverrideRequest request = Text<v1::SetOverrideRequest>("service: 's' mode: FORCED_OPEN");
  request.set_reason(std::string(256, 'r'));
  request.set_actor(std::string(256, 'a'));
  for (int i = 0; i < kBreakers; ++i) {
    request.set_operation(std::to_string(i));
    for (int n = 0; n < 16; ++n) {
      grpc::ClientContext context;
      v1::CircuitStats stats;
      ASSERT_TRUE(daemon.admin().SetOverride(&context, request, &stats).ok());
    }
  }
  int seen = 0;
  int pages = 0;
  v1::ListStatsRequest list;
  list.set_page_size(1000);
  do {
    grpc::ClientContext context;
    v1::ListStatsResponse page;
    ASSERT_TRUE(daemon.stub().ListStats(&context, list, &page).ok());
    EXPECT_LT(page.ByteSizeLong(), 2u << 20);
    seen += page.stats_size();
    ++pages;
    list.set_page_token(page.next_page_token());
  } while (!list.page_token().empty());
  EXPECT_EQ(seen, kBreakers);
  EXPECT_GT(pages, 1);
}

TEST(CircuitBreakerServiceLimitsTest, TooManyBreakersAreRefusedByName) {
  const server::SystemClock clock;
  server::DaemonOptions options;
  options.max_breakers = 1;
  TestDaemon daemon(&clock, options);
  daemon.Acquire(Text<v1::AcquireRequest>("service: 's' operation: 'first'"));
  grpc::ClientContext context;
  v1::AcquireResponse response;
  const grpc::Status status = daemon.stub().Acquire(
      &context, Text<v1::AcquireRequest>("service: 's' operation: 'second'"), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(),
            "cannot create breaker s/second: all 1 of --max_breakers are in use");
  EXPECT_TRUE(
      daemon.Acquire(Text<v1::AcquireRequest>("service: 's' operation: 'first'")).allowed());
}

TEST(CircuitBreakerServiceLimitsTest, PastThePermitBoundCallsAreAllowedWithoutOne) {
  const server::SystemClock clock;
  server::DaemonOptions options;
  options.max_permits = 1;
  TestDaemon daemon(&clock, options);
  const auto request = Text<v1::AcquireRequest>("service: 's' operation: 'o'");
  EXPECT_NE(daemon.Acquire(request).permit_id(), 0);
  const v1::AcquireResponse second = daemon.Acquire(request);
  EXPECT_TRUE(second.allowed());
  EXPECT_EQ(second.permit_id(), 0);
  EXPECT_EQ(daemon.GetStats("s", "o").in_flight(), 1);
}

}  // namespace
}  // namespace breaker::testing
