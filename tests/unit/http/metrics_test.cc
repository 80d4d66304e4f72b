// What /metrics says of breakers and of the daemon: names, types, labels and values.

#include "server/http/metrics.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/rpc/rpc_metrics.h"
#include "tests/support/eventually.h"
#include "tests/support/faulty_store.h"
#include "tests/support/in_memory_store.h"
#include "tests/support/prometheus_text.h"
#include "tests/support/simulated_clock.h"
#include "tests/support/tally.h"

namespace breaker::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Pair;

class MetricsTest : public ::testing::Test {
 protected:
  MetricsTest() { writer_.Start(faulty_.Open()); }
  ~MetricsTest() override { writer_.Stop(); }  // which tells the publisher of what it stores

  PrometheusText Scrape(size_t max_breakers = 10'000) {
    return PrometheusText(Metrics(Metrics::Sources{&measured_, &registry_, &transitions_,
                                                   &publisher_, &writer_, &hub_, &clock_},
                                  max_breakers)
                              .Text());
  }

  // Opens at the first failure, for 30 s.
  static Policy Jumpy() {
    Policy policy;
    policy.failure_threshold = 1;
    policy.minimum_request_count = 1;
    return policy;
  }

  Decision Acquire(const Key& key, const Policy& policy = Policy()) {
    Changes changes;
    const Decision decision = *registry_.Acquire(key, "w", &policy, clock_.Now(), &changes);
    Publish(std::move(changes));
    return decision;
  }
  void Report(const Key& key, Outcome outcome, absl::string_view worker = "w",
              absl::Duration duration = absl::ZeroDuration(), uint64_t permit = 0) {
    Changes changes;
    ASSERT_TRUE(
        registry_.Report(key, {worker, permit, outcome, duration}, clock_.Now(), &changes).ok());
    Publish(std::move(changes));
  }
  void Open(const Key& key) {
    Acquire(key, Jumpy());
    Report(key, Outcome::kFailure);
  }
  void Force(const Key& key, Override::Mode mode) {
    Changes changes;
    ASSERT_TRUE(registry_.SetOverride(key, {mode, "", "", {}}, clock_.Now(), &changes).ok());
    Publish(std::move(changes));
  }
  void Delete(const Key& key) {
    Changes changes;
    ASSERT_TRUE(registry_.Delete(key, &changes).ok());
    Publish(std::move(changes));
  }
  // And waits until all have been told.
  void Publish(Changes changes) {
    Tally told;
    publisher_.Publish(std::move(changes), [&told] { told.Add(); });
    ASSERT_TRUE(told.Await(1));
  }

  SimulatedClock clock_;
  InMemoryStore store_;
  FaultyStore faulty_{&store_};
  Registry registry_{RegistryOptions()};
  StoreWriter writer_{&faulty_, &registry_, &clock_, StoreWriterOptions()};
  WatchHub hub_{absl::Seconds(1), &clock_};
  TransitionCounter transitions_;
  Publisher publisher_{&writer_, &hub_, {&transitions_}};
  prometheus::Registry measured_;
};

// ---------------------------------------------------------------------------------------------
// Breakers

TEST_F(MetricsTest, FamiliesOfBreakersHaveTheirNamesAndTypes) {
  Open({"s", "o"});
  const PrometheusText text = Scrape();
  EXPECT_THAT(text.types(), IsSupersetOf(std::vector<std::pair<const std::string, std::string>>{
                                {"breakerd_breaker_state", "gauge"},
                                {"breakerd_breaker_override", "gauge"},
                                {"breakerd_breaker_window_calls", "gauge"},
                                {"breakerd_breaker_window_slow_calls", "gauge"},
                                {"breakerd_breaker_failure_ratio", "gauge"},
                                {"breakerd_breaker_failure_ratio_threshold", "gauge"},
                                {"breakerd_breaker_consecutive_failures", "gauge"},
                                {"breakerd_breaker_failing_workers", "gauge"},
                                {"breakerd_breaker_in_flight", "gauge"},
                                {"breakerd_breaker_calls_total", "counter"},
                                {"breakerd_breaker_rejected_calls_total", "counter"},
                                {"breakerd_breaker_abandoned_permits_total", "counter"},
                                {"breakerd_breaker_stale_reports_total", "counter"},
                                {"breakerd_breaker_opened_total", "counter"},
                                {"breakerd_breaker_transitions_total", "counter"}}));
}

TEST_F(MetricsTest, StateIsOneForTheOneThatItIsInAndZeroForTheOthers) {
  Open({"s", "half_open"});
  clock_.Advance(absl::Seconds(30));
  Open({"s", "open"});
  Acquire({"s", "closed"});

  const PrometheusText text = Scrape();

  EXPECT_THAT(text.Samples("breakerd_breaker_state"),
              testing::UnorderedElementsAre(
                  Pair(R"({service="s",operation="open",state="OPEN"})", "1"),
                  Pair(R"({service="s",operation="open",state="HALF_OPEN"})", "0"),
                  Pair(R"({service="s",operation="open",state="CLOSED"})", "0"),
                  Pair(R"({service="s",operation="half_open",state="OPEN"})", "0"),
                  Pair(R"({service="s",operation="half_open",state="HALF_OPEN"})", "1"),
                  Pair(R"({service="s",operation="half_open",state="CLOSED"})", "0"),
                  Pair(R"({service="s",operation="closed",state="OPEN"})", "0"),
                  Pair(R"({service="s",operation="closed",state="HALF_OPEN"})", "0"),
                  Pair(R"({service="s",operation="closed",state="CLOSED"})", "1")));
  EXPECT_THAT(text.Samples("breakerd_breakers"),
              testing::UnorderedElementsAre(Pair(R"({state="OPEN"})", "1"),
                                            Pair(R"({state="HALF_OPEN"})", "1"),
                                            Pair(R"({state="CLOSED"})", "1")));
}

TEST_F(MetricsTest, CallsOfTheWindowAndWhatTheyCameTo) {
  const Key key("s", "o");
  Report(key, Outcome::kSuccess);
  Report(key, Outcome::kSuccess, "w", absl::Seconds(2));  // slow
  Report(key, Outcome::kFailure, "w1");
  Report(key, Outcome::kFailure, "w2", absl::Seconds(2));
  Report(key, Outcome::kFailure, "w2");
  Report(key, Outcome::kIgnored);
  Acquire(key);
  Acquire(key);

  const PrometheusText text = Scrape();

  const std::string labels = R"({service="s",operation="o"})";
  EXPECT_EQ(
      text.Value(R"(breakerd_breaker_window_calls{service="s",operation="o",outcome="success"})"),
      "2");
  EXPECT_EQ(
      text.Value(R"(breakerd_breaker_window_calls{service="s",operation="o",outcome="failure"})"),
      "3");
  EXPECT_EQ(text.Value("breakerd_breaker_window_slow_calls" + labels), "2");
  EXPECT_EQ(text.Value("breakerd_breaker_failure_ratio" + labels), "0.6");
  EXPECT_EQ(text.Value("breakerd_breaker_consecutive_failures" + labels), "3");
  EXPECT_EQ(text.Value("breakerd_breaker_failing_workers" + labels), "2");
  EXPECT_EQ(text.Value("breakerd_breaker_in_flight" + labels), "2");
  EXPECT_EQ(
      text.Value(R"(breakerd_breaker_calls_total{service="s",operation="o",outcome="success"})"),
      "2");
  EXPECT_EQ(
      text.Value(R"(breakerd_breaker_calls_total{service="s",operation="o",outcome="failure"})"),
      "3");
  EXPECT_EQ(
      text.Value(R"(breakerd_breaker_calls_total{service="s",operation="o",outcome="ignored"})"),
      "1");
}

TEST_F(MetricsTest, TheRatioOfNoCallsIsZero) {
  Acquire({"s", "o"});
  EXPECT_EQ(Scrape().Value(R"(breakerd_breaker_failure_ratio{service="s",operation="o"})"), "0");
}

TEST_F(MetricsTest, OverridesAreThereOnlyWhereThereIsOne) {
  Acquire({"s", "free"});
  Force({"s", "closed"}, Override::Mode::kForcedClosed);
  Force({"s", "open"}, Override::Mode::kForcedOpen);
  EXPECT_THAT(Scrape().Samples("breakerd_breaker_override"),
              testing::UnorderedElementsAre(
                  Pair(R"({service="s",operation="closed",mode="FORCED_CLOSED"})", "1"),
                  Pair(R"({service="s",operation="open",mode="FORCED_OPEN"})", "1")));
}

TEST_F(MetricsTest, ThresholdOfTheRatioIsThereOnlyWhereThePolicyHasOne) {
  Acquire({"s", "without"});
  Policy policy;
  policy.failure_rate_threshold = 0.3;
  Acquire({"s", "with"}, policy);
  EXPECT_THAT(Scrape().Samples("breakerd_breaker_failure_ratio_threshold"),
              ElementsAre(Pair(R"({service="s",operation="with"})", "0.3")));
}

TEST_F(MetricsTest, CountersOfALifeAreExactHoweverLong) {
  BreakerSnapshot snapshot;
  snapshot.key = Key("s", "o");
  snapshot.lifetime = {12'345'678'901, 1'000'000,      123'456'789'012'345,  7'000'000'000,
                       20'000'000'001, 30'000'000'002, 9'007'199'254'740'991};
  ASSERT_TRUE(registry_.Restore(snapshot, clock_.Now()).ok());

  const PrometheusText text = Scrape();

  const std::string labels = R"({service="s",operation="o"})";
  EXPECT_EQ(
      text.Value(R"(breakerd_breaker_calls_total{service="s",operation="o",outcome="success"})"),
      "12345678901");
  EXPECT_EQ(
      text.Value(R"(breakerd_breaker_calls_total{service="s",operation="o",outcome="failure"})"),
      "1000000");
  EXPECT_EQ(
      text.Value(R"(breakerd_breaker_calls_total{service="s",operation="o",outcome="ignored"})"),
      "7000000000");
  EXPECT_EQ(text.Value("breakerd_breaker_rejected_calls_total" + labels), "123456789012345");
  EXPECT_EQ(text.Value("breakerd_breaker_abandoned_permits_total" + labels), "20000000001");
  EXPECT_EQ(text.Value("breakerd_breaker_stale_reports_total" + labels), "30000000002");
  EXPECT_EQ(text.Value("breakerd_breaker_opened_total" + labels), "9007199254740991");
}

TEST_F(MetricsTest, NamesAreEscaped) {
  Acquire({R"(quo"te)", R"(back\slash)"});
  Acquire({"new\nline", "prüfen {a=\"b\"}"});
  EXPECT_THAT(Scrape().Samples("breakerd_breaker_in_flight"),
              testing::UnorderedElementsAre(
                  Pair(R"({service="quo\"te",operation="back\\slash"})", "1"),
                  Pair(R"({service="new\nline",operation="prüfen {a=\"b\"}"})", "1")));
}

TEST_F(MetricsTest, OfManyOnlyTheWorstAreListedAndAllAreCounted) {
  for (int i = 0; i < 300; ++i) Acquire({"s", absl::StrCat("quiet", i)});
  Report({"s", "failing"}, Outcome::kFailure);
  Open({"s", "open"});

  const PrometheusText text = Scrape(2);

  EXPECT_THAT(text.Samples("breakerd_breaker_failure_ratio"),
              ElementsAre(Pair(R"({service="s",operation="failing"})", "1"),
                          Pair(R"({service="s",operation="open"})", "1")));
  EXPECT_EQ(text.Value(R"(breakerd_breakers{state="CLOSED"})"), "301");
  EXPECT_EQ(text.Value(R"(breakerd_breakers{state="OPEN"})"), "1");
  EXPECT_EQ(text.Value("breakerd_breakers_exported"), "2");

  EXPECT_EQ(Scrape(0).Value("breakerd_breakers_exported"), "0");
  EXPECT_THAT(Scrape(0).Samples("breakerd_breaker_state"), IsEmpty());
}

TEST_F(MetricsTest, TimeTakesItsCourseWithoutAnyTraffic) {
  Open({"s", "o"});
  clock_.Advance(absl::Seconds(30));
  EXPECT_EQ(
      Scrape().Value(R"(breakerd_breaker_state{service="s",operation="o",state="HALF_OPEN"})"),
      "1");
  // And whoever else is to know is told, as of any other transition.
  EXPECT_TRUE(Eventually([&] { return transitions_.Of({"s", "o"}).size() == 2; }));
}

// ---------------------------------------------------------------------------------------------
// Transitions

TEST_F(MetricsTest, TransitionsAreCountedByWhereTheyLedAndWhy) {
  const Key key("s", "o");
  Open(key);
  for (int i = 0; i < 2; ++i) {
    clock_.Advance(absl::Seconds(30));
    const Decision probe = Acquire(key);
    ASSERT_TRUE(probe.probe);
    Report(key, Outcome::kFailure, "w", absl::ZeroDuration(), probe.permit_id);
  }
  Acquire({"s", "calm"});

  EXPECT_THAT(
      Scrape().Samples("breakerd_breaker_transitions_total"),
      testing::UnorderedElementsAre(
          Pair(R"({service="s",operation="o",to="OPEN",cause="CONSECUTIVE_FAILURES"})", "1"),
          Pair(R"({service="s",operation="o",to="HALF_OPEN",cause="RECOVERY_TIMEOUT_ELAPSED"})",
               "2"),
          Pair(R"({service="s",operation="o",to="OPEN",cause="PROBE_FAILED"})", "2")));
}

TEST_F(MetricsTest, TransitionsOfADeletedBreakerAreForgotten) {
  const Key key("s", "o");
  Open(key);
  Open({"s", "other"});
  Delete(key);
  EXPECT_THAT(transitions_.Of(key), IsEmpty());

  Acquire(key, Jumpy());
  EXPECT_THAT(
      Scrape().Samples("breakerd_breaker_transitions_total"),
      ElementsAre(
          Pair(R"({service="s",operation="other",to="OPEN",cause="CONSECUTIVE_FAILURES"})", "1")));
  Report(key, Outcome::kFailure);
  EXPECT_THAT(
      transitions_.Of(key),
      ElementsAre(Pair(TransitionCounter::Kind{State::kOpen, Cause::kConsecutiveFailures}, 1u)));
}

TEST_F(MetricsTest, TransitionsBeforeTheStartAreNotCounted) {
  BreakerSnapshot snapshot;
  snapshot.key = Key("s", "o");
  snapshot.transitions = {{State::kClosed, State::kOpen, clock_.Now().wall, Cause::kFailureRate,
                           "3 of 4 calls failed", 2}};
  ASSERT_TRUE(registry_.Restore(snapshot, clock_.Now()).ok());
  EXPECT_THAT(Scrape().Samples("breakerd_breaker_transitions_total"), IsEmpty());
}

// ---------------------------------------------------------------------------------------------
// The daemon

TEST_F(MetricsTest, FamiliesOfTheDaemonHaveTheirNamesAndTypes) {
  RpcMetrics rpc(&measured_, &clock_);
  RpcMetrics::Call(&rpc, Method::kAcquire).Ends(grpc::Status(grpc::INTERNAL, ""));
  const PrometheusText text = Scrape();
  EXPECT_THAT(text.types(), IsSupersetOf(std::vector<std::pair<const std::string, std::string>>{
                                {"breakerd_build_info", "gauge"},
                                {"breakerd_rpc_duration_seconds", "histogram"},
                                {"breakerd_rpc_errors_total", "counter"},
                                {"breakerd_breakers", "gauge"},
                                {"breakerd_breakers_exported", "gauge"},
                                {"breakerd_permits_out", "gauge"},
                                {"breakerd_watch_streams", "gauge"},
                                {"breakerd_report_batch_runs", "histogram"},
                                {"breakerd_store_errors_total", "counter"},
                                {"breakerd_store_degraded", "gauge"},
                                {"breakerd_store_unsaved_records", "gauge"},
                                {"breakerd_load_duration_seconds", "gauge"},
                                {"process_start_time_seconds", "gauge"},
                                {"process_resident_memory_bytes", "gauge"},
                                {"process_cpu_seconds_total", "counter"}}));
  EXPECT_THAT(text.Samples("breakerd_build_info"),
              ElementsAre(Pair("{version=\"" BREAKER_VERSION "\"}", "1")));
  EXPECT_EQ(text.Value("breakerd_load_duration_seconds"), "0") << "by a clock that stands still";
}

TEST_F(MetricsTest, EveryFamilyIsThereOnceAndEverySampleHasAType) {
  RpcMetrics rpc(&measured_, &clock_);
  Open({"s", "o"});
  Force({"s", "p"}, Override::Mode::kForcedClosed);
  EXPECT_THAT(Scrape().Faults(), IsEmpty());
}

TEST_F(MetricsTest, PermitsOutAreThoseOfAllBreakersEvenOfThoseThatAreNotListed) {
  Acquire({"s", "o"});
  Acquire({"s", "o"});
  Acquire({"s", "p"});
  EXPECT_EQ(Scrape(1).Value("breakerd_permits_out"), "3");
}

TEST_F(MetricsTest, AFailingStoreShows) {
  PrometheusText text = Scrape();
  EXPECT_EQ(text.Value("breakerd_store_degraded"), "0");
  EXPECT_EQ(text.Value("breakerd_store_errors_total"), "0");
  EXPECT_EQ(text.Value("breakerd_store_unsaved_records"), "0");

  faulty_.FailWrites(true);
  Open({"s", "o"});
  ASSERT_TRUE(Eventually([&] { return writer_.stats().degraded; }));

  text = Scrape();
  EXPECT_EQ(text.Value("breakerd_store_degraded"), "1");
  EXPECT_EQ(text.Value("breakerd_store_errors_total"), "1");
  EXPECT_EQ(text.Value("breakerd_store_unsaved_records"), "1");
}

TEST_F(MetricsTest, RpcsAreMeasuredByMethodAndErrorsByCode) {
  RpcMetrics rpc(&measured_, &clock_);
  const RpcMetrics::Call quick(&rpc, Method::kAcquire);
  const RpcMetrics::Call slow(&rpc, Method::kAcquire);
  const RpcMetrics::Call wrong(&rpc, Method::kSetPolicy);
  clock_.Advance(absl::Microseconds(7));
  quick.Ends(grpc::Status::OK);
  wrong.Ends(grpc::Status(grpc::INVALID_ARGUMENT, "policy: is not set"));
  clock_.Advance(absl::Milliseconds(2));
  slow.Ends(grpc::Status::OK);
  rpc.BatchHas(1);
  rpc.BatchHas(60);

  const PrometheusText text = Scrape();

  const auto acquires_within = [&](const std::string& le) {
    return text.Value(
        absl::StrCat(R"(breakerd_rpc_duration_seconds_bucket{method="Acquire",le=")", le, R"("})"));
  };
  EXPECT_EQ(acquires_within("5e-06"), "0");
  EXPECT_EQ(acquires_within("1e-05"), "1");
  EXPECT_EQ(acquires_within("0.001"), "1");
  EXPECT_EQ(acquires_within("0.0025"), "2");
  EXPECT_EQ(acquires_within("+Inf"), "2");
  EXPECT_EQ(text.Value(R"(breakerd_rpc_duration_seconds_count{method="Acquire"})"), "2");
  EXPECT_EQ(text.Value(R"(breakerd_rpc_duration_seconds_sum{method="Acquire"})"), "0.002014");
  EXPECT_THAT(text.Samples("breakerd_rpc_errors_total"),
              ElementsAre(Pair(R"({code="INVALID_ARGUMENT",method="SetPolicy"})", "1")));
  EXPECT_EQ(text.Value("breakerd_report_batch_runs_count"), "2");
  EXPECT_EQ(text.Value("breakerd_report_batch_runs_sum"), "61");
  EXPECT_EQ(text.Value(R"(breakerd_report_batch_runs_bucket{le="50"})"), "1");
  EXPECT_EQ(text.Value(R"(breakerd_report_batch_runs_bucket{le="100"})"), "2");
}

TEST_F(MetricsTest, EveryMethodIsThereFromTheStart) {
  RpcMetrics rpc(&measured_, &clock_);
  const PrometheusText text = Scrape();
  for (const char* method :
       {"Acquire", "Report", "ReportBatch", "GetStats", "ListStats", "SetPolicy", "DeletePolicy",
        "ListPolicies", "SetOverride", "ClearOverride", "Reset", "Delete"}) {
    EXPECT_EQ(text.Value(
                  absl::StrCat(R"(breakerd_rpc_duration_seconds_count{method=")", method, R"("})")),
              "0");
  }
}

TEST_F(MetricsTest, TheProcessTellsWhenItStartedAndWhatItUses) {
  const PrometheusText text = Scrape();
  const double now = absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch());
  EXPECT_GT(text.Number("process_start_time_seconds"), now - 3600);
  EXPECT_LT(text.Number("process_start_time_seconds"), now + 2);  // known to the second
  EXPECT_GT(text.Number("process_resident_memory_bytes"), 1e6);
  EXPECT_GT(text.Number("process_cpu_seconds_total"), 0);
  EXPECT_LT(text.Number("process_cpu_seconds_total"), 3600);
}

}  // namespace
}  // namespace breaker::server
