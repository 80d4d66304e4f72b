// What a client sees at each limit.

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "breaker/v1/breaker.grpc.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/channel.h"
#include "tests/support/daemon_process.h"
#include "tests/support/eventually.h"
#include "tests/support/http_client.h"
#include "tests/support/messages.h"
#include "tests/support/prometheus_text.h"
#include "tests/support/raw_http2.h"
#include "tests/support/sanitizers.h"
#include "tests/support/watcher.h"

namespace breaker::testing {
namespace {

using ::testing::HasSubstr;

// An rpc that waits until it is asked something.
constexpr char kListStats[] = "/breaker.v1.CircuitBreaker/ListStats";

class LimitsTest : public ::testing::Test {
 protected:
  void Start(std::vector<std::string> flags = {}) {
    daemon_ = std::make_unique<DaemonProcess>(std::move(flags));
  }
  std::unique_ptr<v1::CircuitBreaker::Stub> NewStub() {
    return v1::CircuitBreaker::NewStub(NewChannel(daemon_->target()));
  }
  static grpc::Status Acquire(v1::CircuitBreaker::Stub& stub, const std::string& operation,
                              const std::string& worker = "w") {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    v1::AcquireRequest request;
    request.set_service("s");
    request.set_operation(operation);
    request.set_worker_id(worker);
    v1::AcquireResponse response;
    return stub.Acquire(&context, request, &response);
  }
  PrometheusText Metrics() {
    const std::string& http = daemon_->http();
    return PrometheusText(HttpGet(std::stoi(http.substr(http.rfind(':') + 1)), "/metrics").body);
  }
  void ExpectRefused(const grpc::Status& status, const std::string& words) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
    EXPECT_EQ(status.error_message(), words);
  }

  std::unique_ptr<DaemonProcess> daemon_;
};

TEST_F(LimitsTest, OneConnectionTooManyIsToldSoOnEachRpcAndServedWhenThereIsRoom) {
  Start({"--max_connections=3"});
  const auto first = NewStub();
  ASSERT_TRUE(Acquire(*first, "o").ok());
  std::vector<RawHttp2> others;
  for (const char* host : {"127.0.0.2", "127.0.0.3"}) {
    ASSERT_TRUE(others.emplace_back(daemon_->target(), host).Agree()) << host;
  }

  const auto second = NewStub();
  const std::string words = "connections: 3 are open, which is --max_connections";
  ExpectRefused(Acquire(*second, "o"), words);
  grpc::ClientContext context;
  v1::WatchResponse response;
  const auto stream = second->Watch(&context);
  EXPECT_FALSE(stream->Read(&response));
  ExpectRefused(stream->Finish(), words);
  EXPECT_TRUE(Acquire(*first, "o").ok()) << "those who are in stay in";
  EXPECT_TRUE(daemon_->WaitForLog("limit_reached limit=connections")) << daemon_->log();
  EXPECT_GE(Metrics().Number("breakerd_limit_refusals_total{limit=\"connections\"}"), 1);
  EXPECT_EQ(Metrics().Value("breakerd_connections"), "3");

  others.clear();
  EXPECT_TRUE(Eventually([&] { return Acquire(*second, "o").ok(); }))
      << "its connection was ended, so that the next one may be in time";
}

TEST_F(LimitsTest, OneHostHasAsManyConnectionsAsAreLeftToAllOthers) {
  Start({"--max_connections=4"});
  auto first = NewStub();
  ASSERT_TRUE(Acquire(*first, "o").ok());
  const auto second = NewStub();
  ASSERT_TRUE(Acquire(*second, "o").ok());
  const std::string words =
      " has as many open as are left to all others of 4, which is --max_connections";
  const auto third = NewStub();
  ExpectRefused(Acquire(*third, "o"), absl::StrCat("connections: your host", words));
  EXPECT_TRUE(daemon_->WaitForLog(absl::StrCat("connections: 127.0.0.1", words))) << daemon_->log();

  const auto open = [&](const std::string& count) {
    return Eventually([&] { return Metrics().Value("breakerd_connections") == count; });
  };
  RawHttp2 other(daemon_->target(), "127.0.0.2");
  ASSERT_TRUE(other.Agree());
  EXPECT_TRUE(open("3")) << "there is room for others";
  RawHttp2 last(daemon_->target(), "127.0.0.3");
  ASSERT_TRUE(last.Agree());
  EXPECT_TRUE(open("4")) << "and for the next";

  first.reset();
  EXPECT_TRUE(open("3"));
  ExpectRefused(Acquire(*third, "o"), absl::StrCat("connections: your host", words));
  { const RawHttp2 gone(std::move(other)); }
  EXPECT_TRUE(Eventually([&] { return Acquire(*third, "o").ok(); })) << "1 of 1 + 1 + 2 free";
}

TEST_F(LimitsTest, ManyConnectionsTooManyAreClosed) {
  Start({"--max_connections=1"});
  const auto first = NewStub();
  ASSERT_TRUE(Acquire(*first, "o").ok());
  std::vector<std::unique_ptr<RawHttp2>> others;
  for (int i = 0; i < 100; ++i) {
    others.push_back(std::make_unique<RawHttp2>(daemon_->target()));
    ASSERT_TRUE(others.back()->ok());
  }
  // Those that are told why hear from a server first; the others' end is all that comes.
  int told = 0;
  for (const auto& other : others) told += other->Read().has_value() ? 1 : 0;
  EXPECT_GE(told, 1);
  EXPECT_LE(told, 70) << "32, and those that came when the first of these were gone";
  for (const auto& other : others) EXPECT_TRUE(other->AwaitEnd());
  EXPECT_TRUE(Acquire(*first, "o").ok());
}

TEST_F(LimitsTest, WatchesOfOneConnection) {
  Start({"--max_watches_per_connection=2"});
  const auto channel = NewChannel(daemon_->target());
  const auto request = Text<v1::WatchRequest>("subscribe { service: 's' operation: 'o' }");
  auto first = std::make_unique<Watcher>(channel, request);
  Watcher second(channel, request);
  ASSERT_TRUE(first->AwaitUpdates(1) && second.AwaitUpdates(1));
  const std::string words =
      "watches of this connection: 2 are open, which is --max_watches_per_connection";
  ExpectRefused(Watcher(channel, request).AwaitEnd(), words);
  EXPECT_TRUE(Watcher(NewChannel(daemon_->target()), request).AwaitUpdates(1));
  first.reset();
  EXPECT_TRUE(Eventually([&] {
    Watcher watcher(channel, request);
    return watcher.AwaitUpdatesOrEnd(1);
  }));
}

TEST_F(LimitsTest, SubscriptionsOfOneStream) {
  Start({"--max_subscriptions=2"});
  Watcher watcher(NewChannel(daemon_->target()),
                  Text<v1::WatchRequest>("subscribe { service: 's' operation: 'a' } "
                                         "subscribe { service: 's' operation: 'b' }"));
  ASSERT_TRUE(watcher.AwaitUpdates(2));
  watcher.Send(Text<v1::WatchRequest>("subscribe { service: 's' operation: 'a' }"));
  ASSERT_TRUE(watcher.AwaitUpdates(3)) << "again, which is none more";
  watcher.Send(Text<v1::WatchRequest>("subscribe { service: 's' operation: 'c' }"));
  ExpectRefused(watcher.AwaitEnd(),
                "subscriptions of this stream: it has 2, which is --max_subscriptions");
  grpc::ClientContext context;
  v1::CircuitStats stats;
  EXPECT_EQ(
      NewStub()
          ->GetStats(&context, Text<v1::GetStatsRequest>("service: 's' operation: 'c'"), &stats)
          .error_code(),
      grpc::StatusCode::NOT_FOUND)
      << "and creates no breaker";
}

TEST_F(LimitsTest, NewBreakersOfOneWorkerAMinute) {
  Start({"--max_new_breakers_per_minute=2"});
  const auto stub = NewStub();
  ASSERT_TRUE(Acquire(*stub, "a").ok());
  ASSERT_TRUE(Acquire(*stub, "b").ok());
  const std::string words =
      "cannot create breaker s/c: worker \"w\" has created 2 within a minute, which is "
      "--max_new_breakers_per_minute";
  ExpectRefused(Acquire(*stub, "c"), words);
  EXPECT_TRUE(Acquire(*stub, "a").ok()) << "one that is there";
  EXPECT_TRUE(Acquire(*stub, "c", "another worker").ok());

  Watcher watcher(
      NewChannel(daemon_->target()),
      Text<v1::WatchRequest>("worker_id: 'w' subscribe { service: 's' operation: 'd' }"));
  EXPECT_THAT(watcher.AwaitEnd().error_message(), HasSubstr("cannot create breaker s/d: worker"));
  grpc::ClientContext context;
  v1::ReportResponse reported;
  EXPECT_THAT(stub->Report(&context,
                           Text<v1::ReportRequest>(
                               "service: 's' operation: 'd' worker_id: 'w' outcome: SUCCESS"),
                           &reported)
                  .error_message(),
              HasSubstr("cannot create breaker s/d: worker"));
  grpc::ClientContext batch_context;
  v1::ReportBatchResponse counted;
  EXPECT_TRUE(stub->ReportBatch(&batch_context,
                                Text<v1::ReportBatchRequest>(
                                    "worker_id: 'w' session_id: 1 sequence: 1 "
                                    "outcomes { service: 's' operation: 'a' outcome: SUCCESS "
                                    "count: 3 } "
                                    "outcomes { service: 's' operation: 'd' outcome: SUCCESS "
                                    "count: 5 }"),
                                &counted)
                  .ok());
  EXPECT_EQ(counted.counted(), 3) << "those of a breaker that cannot be created are left out";
  EXPECT_GE(Metrics().Number("breakerd_limit_refusals_total{limit=\"new_breakers_per_minute\"}"),
            4);
}

TEST_F(LimitsTest, ASourceWithManyWorkersDoesNotFillTheDaemon) {
  Start({"--max_breakers=100"});
  const auto stub = NewStub();
  grpc::Status status;
  int created = 0;
  for (; created < 100; ++created) {
    status = Acquire(*stub, absl::StrCat(created), absl::StrCat("worker-", created));
    if (!status.ok()) break;
  }
  EXPECT_EQ(created, 50);
  ExpectRefused(status,
                "cannot create breaker s/50: 50 are of 127.0.0.1, which is as many as are left to "
                "all others of --max_breakers (100)");
}

TEST_F(LimitsTest, StreamsOfAConnectionThatNeverAgreesToTheirNumber) {
  Start();
  const auto other = NewStub();
  RawHttp2 connection(daemon_->target());
  connection.Greet();
  for (uint32_t i = 0; i < 2000 && connection.ok(); ++i) connection.OpenRpc(1 + 2 * i, kListStats);
  EXPECT_TRUE(connection.AwaitEnd());
  EXPECT_TRUE(daemon_->WaitForLog("streams: a connection of 127.0.0.1 had more than 512"))
      << daemon_->log();
  EXPECT_TRUE(Acquire(*other, "o").ok());
}

TEST_F(LimitsTest, StreamsOfOneConnection) {
  Start();
  RawHttp2 connection(daemon_->target());
  ASSERT_TRUE(connection.Agree());
  constexpr uint32_t kMaxStreams = 256;
  for (uint32_t i = 0; i < kMaxStreams; ++i) connection.OpenRpc(2 * i + 1, kListStats);
  ASSERT_TRUE(connection.ok());
  EXPECT_FALSE(connection.AwaitEnd(absl::Milliseconds(500))) << "so many it may have";
  for (uint32_t i = kMaxStreams; i < kMaxStreams + 10; ++i)
    connection.OpenRpc(2 * i + 1, kListStats);
  EXPECT_TRUE(connection.AwaitEnd());
}

TEST_F(LimitsTest, SizeOfAMessage) {
  if (kThreadSanitizer) GTEST_SKIP() << kTakesMinutes;
  Start();
  const auto stub = NewStub();
  const grpc::Status status = Acquire(*stub, std::string(4 << 20, 'x'));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("larger than max (4194"));
}

TEST_F(LimitsTest, SizeOfHeaders) {
  Start();
  const auto stub = NewStub();
  const auto acquire = [&](size_t bytes) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", std::string(bytes, 'x'));
    v1::AcquireResponse response;
    return stub->Acquire(&context, Text<v1::AcquireRequest>("service: 's' operation: 'o'"),
                         &response);
  };
  EXPECT_TRUE(acquire(4 << 10).ok());
  const grpc::Status status = acquire(8 << 10);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
  EXPECT_THAT(status.error_message(), HasSubstr("metadata size exceeds"));
}

TEST_F(LimitsTest, PingsWithoutEnd) {
  Start();
  RawHttp2 connection(daemon_->target());
  connection.Greet();
  for (int i = 0; i < 10; ++i) connection.Send(RawHttp2::kPing, 0, 0, "12345678");
  std::string said;
  while (const auto frame = connection.Read()) {
    if (frame->type == RawHttp2::kGoAway) said = frame->payload.substr(8);
  }
  EXPECT_EQ(said, "too_many_pings");
  EXPECT_TRUE(connection.AwaitEnd());
}

TEST_F(LimitsTest, AConnectionThatNeverSpeaksIsClosed) {
  Start();
  RawHttp2 silent(daemon_->target());
  RawHttp2 slow(daemon_->target());
  RawHttp2 idle(daemon_->target());
  idle.Greet();
  const absl::Time start = absl::Now();
  EXPECT_TRUE(silent.AwaitEnd());
  EXPECT_TRUE(slow.AwaitEnd());
  EXPECT_GE(absl::Now() - start, absl::Seconds(5)) << "a slow one has time to begin";
  EXPECT_FALSE(idle.ended()) << "one that spoke may be silent";
}

}  // namespace
}  // namespace breaker::testing
