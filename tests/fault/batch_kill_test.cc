// kill -9 at any moment under a worker that sends batches: each of its outcomes counts exactly
// once.

#include <grpcpp/grpcpp.h>

#include <deque>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include "breaker/v1/breaker.grpc.pb.h"
#include "gtest/gtest.h"
#include "tests/support/channel.h"
#include "tests/support/daemon_process.h"
#include "tests/support/messages.h"

namespace breaker::testing {
namespace {

// Sends batches, and keeps each until the daemon says that it is stored. Sends all that it keeps
// again when it is told that some are missing.
class Worker {
 public:
  explicit Worker(const std::string& target) : target_(target) { Connect(); }

  // To a daemon that was killed meanwhile. If the worker has noticed, all that it keeps goes again.
  void Reconnect(bool noticed) {
    Connect();
    if (noticed) SendKept();
  }

  void SendNext(v1::ReportBatchRequest batch) {
    batch.set_worker_id("w1");
    batch.set_session_id(7);
    batch.set_sequence(++sequence_);
    batch.set_previous_sequence(kept_.empty() ? 0 : kept_.back().sequence());
    kept_.push_back(batch);
    if (!Send(batch)) SendKept();
  }

  uint64_t sent() const { return sequence_; }
  v1::CircuitStats GetStats(const std::string& operation) {
    grpc::ClientContext context;
    v1::CircuitStats stats;
    const grpc::Status status = stub_->GetStats(
        &context, Text<v1::GetStatsRequest>("service: 's' operation: '" + operation + "'"), &stats);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return stats;
  }

 private:
  void Connect() { stub_ = v1::CircuitBreaker::NewStub(NewChannel(target_)); }

  // In order.
  void SendKept() {
    uint64_t previous = 0;
    for (v1::ReportBatchRequest batch : std::deque(kept_)) {
      batch.set_previous_sequence(std::exchange(previous, batch.sequence()));
      EXPECT_TRUE(Send(batch));
    }
  }

  // Whether none was missing before it.
  bool Send(const v1::ReportBatchRequest& batch) {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    v1::ReportBatchResponse response;
    const grpc::Status status = stub_->ReportBatch(&context, batch, &response);
    if (status.error_code() == grpc::StatusCode::ABORTED) return false;
    EXPECT_TRUE(status.ok()) << status.error_message();
    while (!kept_.empty() && kept_.front().sequence() <= response.stored_sequence()) {
      kept_.pop_front();
    }
    return true;
  }

  const std::string target_;
  std::unique_ptr<v1::CircuitBreaker::Stub> stub_;
  uint64_t sequence_ = 0;
  std::deque<v1::ReportBatchRequest> kept_;
};

TEST(BatchKillTest, EachOutcomeCountsExactlyOnce) {
  constexpr int kKills = 25;
  // "jumpy" changes its state all the time, and so is stored in the middle of batches; the others
  // are stored by snapshots, which come as often as can be.
  const v1::ReportBatchRequest batch = Text<v1::ReportBatchRequest>(
      "outcomes { service: 's' operation: 'a' outcome: SUCCESS count: 3 }"
      "outcomes { service: 's' operation: 'jumpy' outcome: FAILURE count: 1 }"
      "outcomes { service: 's' operation: 'b' outcome: SUCCESS count: 1 }"
      "outcomes { service: 's' operation: 'a' outcome: IGNORED count: 2 }"
      "outcomes { service: 's' operation: 'jumpy' outcome: FAILURE count: 1 }");
  DaemonProcess daemon({"--snapshot_interval=10ms"});
  Worker worker(daemon.target());
  {
    const auto stub = v1::CircuitBreaker::NewStub(NewChannel(daemon.target()));
    grpc::ClientContext context;
    v1::AcquireResponse response;
    ASSERT_TRUE(stub->Acquire(&context,
                              Text<v1::AcquireRequest>(
                                  "service: 's' operation: 'jumpy' policy { failure_threshold: 1 "
                                  "minimum_request_count: 1 recovery_timeout { nanos: 1000000 } "
                                  "permit_timeout { nanos: 1000000 } }"),
                              &response)
                    .ok());
  }

  std::mt19937 random(std::random_device{}());
  for (int kill = 0; kill < kKills; ++kill) {
    const int batches = 1 + static_cast<int>(random() % 60);
    for (int i = 0; i < batches; ++i) {
      worker.SendNext(batch);
    }
    daemon.Kill();
    daemon.Restart();
    worker.Reconnect(/*noticed=*/kill % 2 == 0);
  }
  worker.SendNext(batch);  // It notices the last kill too.

  const v1::LifetimeCounts a = worker.GetStats("a").lifetime();
  EXPECT_EQ(a.successes(), 3 * worker.sent());
  EXPECT_EQ(a.ignored(), 2 * worker.sent());
  EXPECT_EQ(worker.GetStats("b").lifetime().successes(), worker.sent());
  const v1::LifetimeCounts jumpy = worker.GetStats("jumpy").lifetime();
  EXPECT_EQ(jumpy.failures() + jumpy.stale(), 2 * worker.sent());
}

}  // namespace
}  // namespace breaker::testing
