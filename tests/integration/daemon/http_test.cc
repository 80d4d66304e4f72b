// A whole daemon over HTTP: what it shows of what happens over gRPC.

#include <chrono>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "gtest/gtest.h"
#include "tests/support/eventually.h"
#include "tests/support/http_client.h"
#include "tests/support/messages.h"
#include "tests/support/prometheus_text.h"
#include "tests/support/simulated_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_daemon.h"
#include "tests/support/watcher.h"

namespace breaker::testing {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;

constexpr char kOpensAtOnce[] = "policy { failure_threshold: 1 minimum_request_count: 1 }";

class HttpTest : public ::testing::Test {
 protected:
  HttpAnswer Get(const std::string& target) { return HttpGet(daemon_.http_port(), target); }
  json GetJson(const std::string& target) {
    const HttpAnswer answer = Get(target);
    EXPECT_EQ(answer.status, 200) << answer.body;
    EXPECT_EQ(answer.header("content-type"), "application/json");
    EXPECT_EQ(answer.header("cache-control"), "no-store");
    return json::parse(answer.body, nullptr, /*allow_exceptions=*/false);
  }
  // The sentence of an error.
  std::string Error(int status, const std::string& target) {
    const HttpAnswer answer = Get(target);
    EXPECT_EQ(answer.status, status) << answer.body;
    return json::parse(answer.body, nullptr, false).value("error", "");
  }
  PrometheusText Metrics() { return PrometheusText(Get("/metrics").body); }

  v1::AcquireResponse Acquire(const std::string& operation, const std::string& policy = "") {
    return daemon_.Acquire(Text<v1::AcquireRequest>(
        absl::StrCat("service: 's' worker_id: 'w1' operation: '", operation, "' ", policy)));
  }
  void Report(const std::string& operation, const std::string& outcome) {
    daemon_.Report(Text<v1::ReportRequest>(absl::StrCat("service: 's' operation: '", operation,
                                                        "' worker_id: 'w1' outcome: ", outcome)));
  }
  void Open(const std::string& operation) {
    Acquire(operation, kOpensAtOnce);
    Report(operation, "FAILURE error: 'Timeout'");
  }

  server::SimulatedClock clock_;
  TestDaemon daemon_{&clock_};
};

// ---------------------------------------------------------------------------------------------
// Metrics

TEST_F(HttpTest, MetricsAreInPrometheusTextFormat) {
  Open("o");
  const HttpAnswer answer = Get("/metrics");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_THAT(PrometheusText(answer.body).Faults(), IsEmpty());
}

TEST_F(HttpTest, WhatADaemonMeasuresIsThereFromTheStart) {
  EXPECT_THAT(Metrics().types(),
              IsSupersetOf(std::vector<std::pair<const std::string, std::string>>{
                  {"breakerd_build_info", "gauge"},
                  {"breakerd_rpc_duration_seconds", "histogram"},
                  {"breakerd_breakers", "gauge"},
                  {"breakerd_breakers_exported", "gauge"},
                  {"breakerd_permits_out", "gauge"},
                  {"breakerd_watch_streams", "gauge"},
                  {"breakerd_report_batch_runs", "histogram"},
                  {"breakerd_store_write_duration_seconds", "histogram"},
                  {"breakerd_store_batch_records", "histogram"},
                  {"breakerd_store_errors_total", "counter"},
                  {"breakerd_store_degraded", "gauge"},
                  {"breakerd_store_unsaved_records", "gauge"},
                  {"breakerd_load_duration_seconds", "gauge"},
                  {"process_start_time_seconds", "gauge"},
                  {"process_resident_memory_bytes", "gauge"},
                  {"process_cpu_seconds_total", "counter"}}));
}

TEST_F(HttpTest, CallsShowByMethodAndErrorsByCode) {
  Acquire("o");
  Acquire("o");
  Report("o", "SUCCESS");
  daemon_.GetStats("s", "o");
  {
    grpc::ClientContext context;
    v1::PolicyEntry entry;
    EXPECT_FALSE(daemon_.admin()
                     .SetPolicy(&context, Text<v1::SetPolicyRequest>("service: 's'"), &entry)
                     .ok());
  }
  {
    grpc::ClientContext context;
    v1::CircuitStats stats;
    EXPECT_FALSE(
        daemon_.admin()
            .Reset(&context, Text<v1::ResetRequest>("service: 's' operation: 'none'"), &stats)
            .ok());
  }

  const PrometheusText metrics = Metrics();

  const auto calls = [&](const std::string& method) {
    return metrics.Value(
        absl::StrCat(R"(breakerd_rpc_duration_seconds_count{method=")", method, R"("})"));
  };
  EXPECT_EQ(calls("Acquire"), "2");
  EXPECT_EQ(calls("Report"), "1");
  EXPECT_EQ(calls("GetStats"), "1");
  EXPECT_EQ(calls("SetPolicy"), "1");
  EXPECT_EQ(calls("Reset"), "1");
  EXPECT_EQ(calls("ListStats"), "0");
  EXPECT_THAT(metrics.Samples("breakerd_rpc_errors_total"),
              ::testing::UnorderedElementsAre(
                  ::testing::Pair(R"({code="INVALID_ARGUMENT",method="SetPolicy"})", "1"),
                  ::testing::Pair(R"({code="NOT_FOUND",method="Reset"})", "1")));
  EXPECT_EQ(metrics.Value("breakerd_permits_out"), "2");
  EXPECT_EQ(
      metrics.Value(R"(breakerd_breaker_calls_total{service="s",operation="o",outcome="success"})"),
      "1");
}

TEST_F(HttpTest, BatchesShowWithTheirRuns) {
  grpc::ClientContext context;
  v1::ReportBatchResponse response;
  ASSERT_TRUE(
      daemon_.stub()
          .ReportBatch(&context,
                       Text<v1::ReportBatchRequest>(
                           "worker_id: 'w1' session_id: 7 sequence: 1 "
                           "outcomes { service: 's' operation: 'o' outcome: SUCCESS count: 5 } "
                           "outcomes { service: 's' operation: 'p' outcome: FAILURE count: 2 }"),
                       &response)
          .ok());
  const PrometheusText metrics = Metrics();
  EXPECT_EQ(metrics.Value("breakerd_report_batch_runs_count"), "1");
  EXPECT_EQ(metrics.Value("breakerd_report_batch_runs_sum"), "2");
  EXPECT_EQ(metrics.Value(R"(breakerd_rpc_duration_seconds_count{method="ReportBatch"})"), "1");
  EXPECT_EQ(metrics.Value(
                R"(breakerd_breaker_window_calls{service="s",operation="o",outcome="success"})"),
            "5");
}

TEST_F(HttpTest, WritesOfTheStoreShow) {
  const double before = Metrics().Number("breakerd_store_batch_records_count");
  Open("o");  // stored before it is answered
  const PrometheusText metrics = Metrics();
  EXPECT_GT(metrics.Number("breakerd_store_batch_records_count"), before);
  EXPECT_GE(metrics.Number("breakerd_store_batch_records_sum"), 1);
  EXPECT_EQ(metrics.Number("breakerd_store_write_duration_seconds_count"),
            metrics.Number("breakerd_store_batch_records_count"));
  EXPECT_EQ(metrics.Value("breakerd_store_degraded"), "0");
}

TEST_F(HttpTest, WatchStreamsShowForAsLongAsTheyAreOpen) {
  EXPECT_EQ(Metrics().Value("breakerd_watch_streams"), "0");
  {
    Watcher first(daemon_.NewChannel(), Text<v1::WatchRequest>("all: true"));
    Watcher second(daemon_.NewChannel(), Text<v1::WatchRequest>("all: true"));
    EXPECT_TRUE(Eventually([&] { return Metrics().Value("breakerd_watch_streams") == "2"; }));
  }
  EXPECT_TRUE(Eventually([&] { return Metrics().Value("breakerd_watch_streams") == "0"; }));
}

TEST_F(HttpTest, TransitionsShowUntilTheBreakerIsDeleted) {
  Open("o");
  const std::string sample =
      R"(breakerd_breaker_transitions_total{service="s",operation="o",to="OPEN",)"
      R"(cause="CONSECUTIVE_FAILURES"})";
  EXPECT_EQ(Metrics().Value(sample), "1");
  grpc::ClientContext context;
  google::protobuf::Empty empty;
  ASSERT_TRUE(daemon_.admin()
                  .Delete(&context, Text<v1::DeleteRequest>("service: 's' operation: 'o'"), &empty)
                  .ok());
  EXPECT_THAT(Metrics().Samples("breakerd_breaker_transitions_total"), IsEmpty());
  EXPECT_THAT(Metrics().Samples("breakerd_breaker_state"), IsEmpty());
}

// ---------------------------------------------------------------------------------------------
// The board's data

TEST_F(HttpTest, BreakersAreThereWorstFirstWithWhatTheBoardNeeds) {
  Acquire("quiet");
  Open("open");

  const json breakers = GetJson("/api/breakers");

  EXPECT_EQ(breakers["time"], 1'700'000'000'000);
  EXPECT_EQ(breakers["version"], BREAKER_VERSION);
  EXPECT_EQ(breakers["admin"], false);
  EXPECT_EQ(breakers["store_failing"], false);
  EXPECT_EQ(breakers["chart_interval_seconds"], 5);
  EXPECT_EQ(breakers["total"], 2);
  EXPECT_EQ(breakers["matched"], 2);
  EXPECT_EQ(breakers["counts"], json::parse(R"({"CLOSED": 1, "OPEN": 1, "HALF_OPEN": 0})"));
  ASSERT_EQ(breakers["breakers"].size(), 2u);
  const json& open = breakers["breakers"][0];
  EXPECT_EQ(open["service"], "s");
  EXPECT_EQ(open["operation"], "open");
  EXPECT_EQ(open["state"], "OPEN");
  EXPECT_EQ(open["generation"], 2);
  EXPECT_EQ(open["calls"], 1);
  EXPECT_EQ(open["failures"], 1);
  EXPECT_EQ(open["failure_rate"], 1.0);
  EXPECT_EQ(open["consecutive_failures"], 1);
  EXPECT_EQ(open["failing_workers"], 1);
  EXPECT_EQ(open["next_attempt_time"], 1'700'000'030'000);
  EXPECT_EQ(open["override"], nullptr);
  EXPECT_EQ(open["last_transition"]["cause"], "CONSECUTIVE_FAILURES");
  EXPECT_EQ(open["opening"], open["last_transition"]);
  EXPECT_EQ(open["last_failure"], json::parse(R"({"time": 1700000000000, "error": "Timeout"})"));
  const json& quiet = breakers["breakers"][1];
  EXPECT_EQ(quiet["state"], "CLOSED");
  EXPECT_EQ(quiet["in_flight"], 1);
  EXPECT_EQ(quiet["next_attempt_time"], nullptr);
  EXPECT_EQ(quiet["last_transition"], nullptr);
  EXPECT_EQ(quiet["opening"], nullptr);
  EXPECT_EQ(quiet["last_failure"], nullptr);
  EXPECT_EQ(quiet["ramp_fraction"], 1.0);
  EXPECT_EQ(quiet["shadow"], false);
}

TEST_F(HttpTest, BreakersCanBeSearchedAndLimited) {
  for (const char* operation : {"storeUser", "loadUser", "ping"}) Acquire(operation);
  Open("storeOther");

  const json found = GetJson("/api/breakers?search=S%2FSTORE");
  EXPECT_EQ(found["matched"], 2);
  EXPECT_EQ(found["total"], 4);
  EXPECT_EQ(found["breakers"].size(), 2u);

  const json one = GetJson("/api/breakers?limit=1");
  ASSERT_EQ(one["breakers"].size(), 1u);
  EXPECT_EQ(one["breakers"][0]["operation"], "storeOther");
  EXPECT_EQ(one["matched"], 4);
}

TEST_F(HttpTest, ALimitThatIsNoneIsRefusedInWords) {
  for (const char* limit : {"0", "5001", "-1", "ten", "1e3"}) {
    EXPECT_EQ(Error(400, absl::StrCat("/api/breakers?limit=", limit)),
              absl::StrCat("limit: ", limit, " is not a whole number in [1, 5000]"));
  }
  EXPECT_EQ(Error(400, "/api/history?limit=1001"),
            "limit: 1001 is not a whole number in [1, 1000]");
  GetJson("/api/breakers?limit=5000");
  GetJson("/api/history?limit=1000");
}

TEST_F(HttpTest, ABreakerHasAllThatIsKnownOfIt) {
  Open("open a/b");
  daemon_.Report(
      Text<v1::ReportRequest>("service: 's' operation: 'other' worker_id: 'w9' outcome: SUCCESS"));

  const json breaker = GetJson("/api/breaker?service=s&operation=open+a%2Fb");

  EXPECT_EQ(breaker["operation"], "open a/b");
  EXPECT_EQ(breaker["state"], "OPEN");
  EXPECT_EQ(breaker["success"], 0);
  EXPECT_EQ(breaker["last_success_time"], nullptr);
  EXPECT_EQ(breaker["lifetime"]["failures"], 1);
  EXPECT_EQ(breaker["lifetime"]["times_opened"], 1);
  EXPECT_EQ(breaker["failing_worker_ids"],
            json::parse(R"([{"worker_id": "w1", "time": 1700000000000}])"));
  EXPECT_EQ(breaker["policy_source"], "WORKER");
  EXPECT_EQ(breaker["policy"][0], json::parse(R"({"field": "failure_threshold", "value": "1"})"));
  EXPECT_EQ(breaker["policy"].size(), 18u) << "every field of the contract";
  ASSERT_EQ(breaker["transitions"].size(), 1u);
  EXPECT_THAT(breaker["transitions"][0]["reason"].get<std::string>(), HasSubstr("threshold 1"));

  EXPECT_EQ(GetJson("/api/breaker?service=s&operation=other")["last_success_time"],
            1'700'000'000'000);
}

TEST_F(HttpTest, ABreakerThatIsNotThereIsNotFound) {
  EXPECT_EQ(Error(404, "/api/breaker?service=s&operation=none"), "no breaker s/none");
  EXPECT_THAT(Error(400, "/api/breaker?operation=o"), HasSubstr("service: "));
  EXPECT_THAT(Error(400, "/api/breaker?service=s"), HasSubstr("operation: "));
  EXPECT_THAT(Error(400, "/api/breaker?service=s&operation=%01"), HasSubstr("operation: "));
  EXPECT_EQ(GetJson("/api/breakers")["total"], 0) << "asking creates none";
}

TEST_F(HttpTest, HistoryIsThatOfAllBreakersEvenAfterARestart) {
  Open("first");
  clock_.Advance(absl::Seconds(1));
  Open("second");
  const auto operations = [&](const std::string& target) {
    std::vector<std::string> names;
    const json history = GetJson(target);
    for (const json& entry : history["transitions"]) {
      names.push_back(entry.value("operation", ""));
    }
    return names;
  };
  EXPECT_TRUE(Eventually([&] { return operations("/api/history").size() == 2; }));
  EXPECT_THAT(operations("/api/history"), ::testing::ElementsAre("second", "first"));
  EXPECT_THAT(operations("/api/history?search=FIRST"), ::testing::ElementsAre("first"));
  EXPECT_THAT(operations("/api/history?limit=1"), ::testing::ElementsAre("second"));

  daemon_.Restart();
  EXPECT_THAT(operations("/api/history"), ::testing::ElementsAre("second", "first"));
}

TEST_F(HttpTest, NewsOfATransitionComesAtOnce) {
  HttpEvents events(daemon_.http_port(), "/api/events");
  ASSERT_EQ(events.head().status, 200);
  EXPECT_EQ(events.head().header("content-type"), "text/event-stream");
  Open("o");
  const auto event = events.NextNamed("transition");
  ASSERT_TRUE(event.has_value());
  const json data = json::parse(event->data);
  EXPECT_EQ(data["operation"], "o");
  EXPECT_EQ(data["to"], "OPEN");
  EXPECT_EQ(data["row"]["state"], "OPEN");
}

TEST_F(HttpTest, BrowsersPastTheBoundAreToldAndAPlaceIsFreeAgain) {
  std::vector<std::unique_ptr<HttpEvents>> open;
  for (size_t i = 0; i < server::EventStreams::kMaxStreams; ++i) {
    open.push_back(std::make_unique<HttpEvents>(daemon_.http_port(), "/api/events"));
    ASSERT_EQ(open.back()->head().status, 200);
  }
  EXPECT_THAT(Error(503, "/api/events"), HasSubstr("64 browsers"));
  GetJson("/api/breakers");

  open.pop_back();
  // The daemon sees that it is gone when it next has something to say.
  EXPECT_TRUE(Eventually([&, i = 0]() mutable {
    Open(absl::StrCat("o", ++i));
    return HttpEvents(daemon_.http_port(), "/api/events").head().status == 200;
  }));
}

TEST_F(HttpTest, TheBoardItselfIsServed) {
  const HttpAnswer page = Get("/");
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.header("content-type"), "text/html; charset=utf-8");
  EXPECT_THAT(page.body, HasSubstr("board.js"));
  const HttpAnswer script = Get("/board.js");
  EXPECT_EQ(script.status, 200);
  EXPECT_EQ(script.header("content-type"), "text/javascript; charset=utf-8");
  EXPECT_EQ(Get("/board.css").header("content-type"), "text/css; charset=utf-8");
}

// ---------------------------------------------------------------------------------------------
// Start and end

TEST(HttpLifecycleTest, HealthTurnsTo503WhileTheDaemonDrainsAndStreamsEnd) {
  server::SimulatedClock clock;
  server::DaemonOptions options;
  options.drain_timeout = absl::Seconds(60);
  TestDaemon daemon(&clock, options);
  const int port = daemon.http_port();
  const HttpAnswer healthy = HttpGet(port, "/healthz");
  EXPECT_EQ(healthy.status, 200);
  EXPECT_EQ(healthy.body, "ok\n");
  HttpEvents events(port, "/api/events");
  ASSERT_EQ(events.head().status, 200);

  // A call under way holds the drain.
  grpc::ClientContext context;
  const auto call = grpc::health::v1::Health::NewStub(daemon.NewChannel())
                        ->Watch(&context, grpc::health::v1::HealthCheckRequest());
  grpc::health::v1::HealthCheckResponse response;
  ASSERT_TRUE(call->Read(&response));
  std::future<void> ended = std::async(std::launch::async, [&] { daemon.Shutdown(); });

  EXPECT_TRUE(Eventually([&] { return HttpGet(port, "/healthz").status == 503; }));
  EXPECT_EQ(HttpGet(port, "/healthz").body, "stopping\n");
  EXPECT_TRUE(events.AwaitEnd());
  EXPECT_EQ(HttpGet(port, "/api/events").status, 503);
  EXPECT_EQ(HttpGet(port, "/metrics").status, 200) << "the last figures can still be had";
  EXPECT_EQ(ended.wait_for(std::chrono::seconds(0)), std::future_status::timeout);

  context.TryCancel();
  ended.get();
  EXPECT_EQ(HttpGet(port, "/healthz").status, 0) << "the port is closed";
}

TEST(HttpLifecycleTest, WithoutHttpADaemonWorksAsWell) {
  server::SimulatedClock clock;
  server::DaemonOptions options;
  options.http_listen = "";
  TestDaemon daemon(&clock, options);
  daemon.Acquire(
      Text<v1::AcquireRequest>(std::string("service: 's' operation: 'o' ") + kOpensAtOnce));
  daemon.Report(Text<v1::ReportRequest>("service: 's' operation: 'o' outcome: FAILURE"));
  daemon.Restart();
  EXPECT_EQ(daemon.GetStats("s", "o").state(), v1::OPEN);
}

class HttpStartTest : public ::testing::Test {
 protected:
  HttpStartTest() {
    options_.data_dir = dir_.path() + "/data";
    options_.listen = "127.0.0.1:0";
    options_.http_listen = "127.0.0.1:0";
  }

  TempDir dir_;
  server::SimulatedClock clock_;
  server::DaemonOptions options_;
};

TEST_F(HttpStartTest, AnHttpPortInUseIsSaidInOneSentence) {
  TestDaemon first(&clock_);
  options_.http_listen = absl::StrCat("127.0.0.1:", first.http_port());
  EXPECT_THAT(server::Daemon::Start(options_, &clock_),
              StatusIs(absl::StatusCode::kUnavailable,
                       AllOf(HasSubstr(options_.http_listen), HasSubstr("--http_listen"))));
}

TEST_F(HttpStartTest, ATokenFileThatIsMissingOrTooShortIsNamedWithItsFlag) {
  options_.http_admin_token_file = dir_ / "token";
  for (const std::string content :
       {"", "0123456789abcde\n", "\n0123456789abcdef\n", "   0123456789abcde    \n", "missing"}) {
    std::filesystem::remove(options_.http_admin_token_file);
    if (content != "missing") std::ofstream(options_.http_admin_token_file) << content;
    EXPECT_THAT(server::Daemon::Start(options_, &clock_),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("--http_admin_token_file"),
                               HasSubstr(options_.http_admin_token_file))))
        << content;
  }
  std::ofstream(options_.http_admin_token_file) << "0123456789abcdef";
  EXPECT_THAT(server::Daemon::Start(options_, &clock_), IsOk());
}

}  // namespace
}  // namespace breaker::testing
