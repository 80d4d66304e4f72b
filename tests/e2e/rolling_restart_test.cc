// The daemon is replaced as a StatefulSet does it, several times, while workers are at full speed:
// SIGTERM, the end, a new one on the same address and data. No worker's call fails because of it,
// none is refused that should not be, and none is let through that should not be.
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "breaker/client.h"
#include "breaker/v1/breaker.grpc.pb.h"
#include "tests/support/channel.h"
#include "tests/support/daemon_process.h"
#include "tests/support/eventually.h"

namespace breaker {
namespace {

using testing::DaemonProcess;

constexpr absl::Duration kRecoveryTimeout = absl::Seconds(10);

const Key kCounted = {"s", "counted"};
const Key kGuarded = {"s", "guarded"};
const Key kOpen = {"s", "open"};
// One call that fails opens it, for long.
const Policy kOpensAtOnce = {
    .failure_threshold = 1,
    .recovery_timeout = kRecoveryTimeout,
    .minimum_request_count = 1,
};

// One worker, with a client, hence a connection, and a thread of its own. It calls three
// dependencies in turn: two that are well, and one whose circuit is open.
class Worker {
 public:
  Worker(const std::string& target, int number)
      : client_({.target = target, .worker_id = "worker-" + std::to_string(number)}),
        thread_([this] { Work(); }) {}
  ~Worker() { Stop(); }

  // Ends its calls; what it has not told the daemon yet it still does.
  void Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }

  // Calls of kCounted that the daemon counts, and those that it does not: the worker decided by
  // itself, for there was no daemon.
  uint64_t counted() const { return counted_; }
  uint64_t alone() const { return alone_; }
  // Calls of kGuarded that gave what the function gave, and others.
  uint64_t guarded() const { return guarded_; }
  uint64_t failed() const { return failed_; }
  // Calls of a dependency that is well which were refused, and of the one that is not.
  uint64_t wrongly_refused() const { return wrongly_refused_; }
  uint64_t rightly_refused() const { return rightly_refused_; }
  // When a call of kOpen was let through first; never if it was not. A worker's first call is not
  // meant: on a busy machine it may have no answer in time, and know of no circuit.
  absl::Time let_through() const {
    const int64_t nanos = let_through_;
    return nanos == 0 ? absl::InfiniteFuture() : absl::FromUnixNanos(nanos);
  }

 private:
  void Work() {
    while (!stop_) {
      CallCounted();
      CallGuarded();
      CallOpen();
      std::this_thread::yield();
    }
  }

  void CallCounted() {
    auto permit = client_.Acquire(kCounted);
    if (!permit.ok() || !permit->allowed()) {
      ++wrongly_refused_;
      return;
    }
    ++(permit->daemon_unavailable() ? alone_ : counted_);
    permit->Success();
  }

  void CallGuarded() {
    const absl::StatusOr<int> answer = client_.Execute(kGuarded, [] { return 42; });
    if (answer.ok() && *answer == 42) {
      ++guarded_;
    } else {
      ++(IsRefusal(answer.status()) ? wrongly_refused_ : failed_);
    }
  }

  void CallOpen() {
    const absl::Status called = client_.Execute(
        kOpen,
        [this] {
          int64_t never = 0;
          if (rightly_refused_ == 0) return absl::OkStatus();
          let_through_.compare_exchange_strong(never, absl::ToUnixNanos(absl::Now()));
          return absl::OkStatus();
        },
        nullptr, kOpensAtOnce);
    if (IsRefusal(called)) {
      ++rightly_refused_;
    } else if (!called.ok()) {
      ++failed_;
    }
  }

  Client client_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> counted_{0};
  std::atomic<uint64_t> alone_{0};
  std::atomic<uint64_t> guarded_{0};
  std::atomic<uint64_t> failed_{0};
  std::atomic<uint64_t> wrongly_refused_{0};
  std::atomic<uint64_t> rightly_refused_{0};
  std::atomic<int64_t> let_through_{0};
  std::thread thread_;  // the last: uses all above
};

class RollingRestartTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kWorkers = 8;
  static constexpr int kRestarts = 5;

  // kOpen is open when the workers start, since this time or a little later.
  RollingRestartTest() : opened_(absl::Now()) {
    Client client({.target = daemon_.target(), .rpc_timeout = absl::Seconds(20)});
    const absl::Status failed = client.Execute(
        kOpen, [] { return absl::UnavailableError("down"); }, nullptr, kOpensAtOnce);
    EXPECT_FALSE(IsRefusal(failed));
    EXPECT_TRUE(Eventually([&] { return Stats(kOpen).state() == v1::OPEN; }));
    for (size_t i = 0; i < kWorkers; ++i) {
      workers_.push_back(std::make_unique<Worker>(daemon_.target(), static_cast<int>(i)));
    }
  }

  v1::CircuitStats Stats(const Key& key) const {
    const auto stub = v1::CircuitBreaker::NewStub(NewChannel(daemon_.target()));
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    v1::GetStatsRequest request;
    request.set_service(key.service);
    request.set_operation(key.operation);
    v1::CircuitStats stats;
    const grpc::Status status = stub->GetStats(&context, request, &stats);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return stats;
  }

  uint64_t Sum(uint64_t (Worker::*count)() const) const {
    uint64_t sum = 0;
    for (const auto& worker : workers_) sum += (worker.get()->*count)();
    return sum;
  }

  // Waits until every worker has made so many more of these calls.
  bool AllMake(uint64_t more, uint64_t (Worker::*count)() const) const {
    std::vector<uint64_t> goals;
    for (const auto& worker : workers_) goals.push_back((worker.get()->*count)() + more);
    return Eventually([&] {
      for (size_t i = 0; i < workers_.size(); ++i) {
        if ((workers_[i].get()->*count)() < goals[i]) return false;
      }
      return true;
    });
  }

  absl::Time let_through() const {
    absl::Time first = absl::InfiniteFuture();
    for (const auto& worker : workers_) first = std::min(first, worker->let_through());
    return first;
  }

  DaemonProcess daemon_;
  const absl::Time opened_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

TEST_F(RollingRestartTest, NoCallFailsAndNoneIsWronglyRefusedOrLetThrough) {
  ASSERT_TRUE(AllMake(1000, &Worker::counted));
  ASSERT_TRUE(AllMake(1000, &Worker::rightly_refused));
  for (int restart = 0; restart < kRestarts; ++restart) {
    SCOPED_TRACE(restart);
    const absl::Time before = absl::Now();
    EXPECT_EQ(daemon_.Terminate(), 0);
    EXPECT_LT(absl::Now() - before, absl::Seconds(10)) << "longer than --drain_timeout";
    // A new pod may be there at once, or when the image is on the node: meanwhile each decides
    // alone.
    if (restart % 2 == 1) {
      ASSERT_TRUE(AllMake(100, &Worker::alone));
    }
    daemon_.Restart();
    ASSERT_TRUE(AllMake(1000, &Worker::counted));
  }
  EXPECT_GT(Sum(&Worker::alone), 0);
  EXPECT_GT(Sum(&Worker::guarded), 0);
  EXPECT_GT(Sum(&Worker::rightly_refused), 0);
  // The circuit that was open stays so for all of its time, and recovers then.
  EXPECT_TRUE(
      Eventually([&] { return let_through() < absl::InfiniteFuture(); }, 2 * kRecoveryTimeout));
  EXPECT_GE(let_through(), opened_ + kRecoveryTimeout);
  EXPECT_TRUE(Eventually([&] { return Stats(kOpen).state() == v1::CLOSED; }));

  for (const auto& worker : workers_) worker->Stop();
  const uint64_t counted = Sum(&Worker::counted);
  EXPECT_EQ(Sum(&Worker::failed), 0);
  EXPECT_EQ(Sum(&Worker::wrongly_refused), 0);
  // Each call is counted exactly once, when all are connected again. But a worker whose stream ends
  // asks the daemon itself, until that is gone: what then becomes of the one call that it has out
  // cannot be told any more (see Permit).
  constexpr uint64_t kUntold = kWorkers * kRestarts;
  EXPECT_TRUE(
      Eventually([&] { return Stats(kCounted).lifetime().successes() + kUntold >= counted; }));
  workers_.clear();
  const v1::CircuitStats stats = Stats(kCounted);
  EXPECT_LE(stats.lifetime().successes(), counted);
  EXPECT_EQ(stats.lifetime().failures(), 0);
  EXPECT_EQ(stats.lifetime().stale(), 0);
  EXPECT_EQ(stats.lifetime().abandoned(), 0);
  EXPECT_EQ(stats.state(), v1::CLOSED);
  EXPECT_EQ(Stats(kOpen).lifetime().failures(), 1);
}

}  // namespace
}  // namespace breaker
