// Many workers ask a HALF_OPEN breaker at the same instant: exactly as many probes go out as the
// policy allows.

#include <barrier>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/eventually.h"
#include "tests/support/messages.h"
#include "tests/support/sanitizers.h"
#include "tests/support/test_daemon.h"

namespace breaker::testing {
namespace {

using ::testing::IsEmpty;

constexpr int kThreads = 64;
constexpr int kChannels = 8;
// ThreadSanitizer finds what it finds in the first rounds, and takes seconds for each.
constexpr int kRounds = kThreadSanitizer ? 10 : 200;

TEST(HalfOpenRaceTest, ExactlyAsManyProbesAsAllowed) {
  const server::SystemClock clock;
  TestDaemon daemon(&clock);
  std::vector<std::unique_ptr<v1::CircuitBreaker::Stub>> stubs;
  for (int i = 0; i < kChannels; ++i) {
    stubs.push_back(v1::CircuitBreaker::NewStub(daemon.NewChannel()));
  }

  // Each round has a number of probes of its own; the threads meet before and after it.
  std::mutex mu;
  std::vector<uint64_t> probes;
  std::vector<std::string> others;  // what else was answered
  std::barrier gate(kThreads + 1);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      const auto request = Text<v1::AcquireRequest>("service: 's' operation: 'o'");
      for (int round = 0; round < kRounds; ++round) {
        grpc::ClientContext context;
        v1::AcquireResponse response;
        gate.arrive_and_wait();
        const grpc::Status status = stubs[i % kChannels]->Acquire(&context, request, &response);
        if (status.ok() && response.allowed() && response.probe()) {
          const std::lock_guard<std::mutex> lock(mu);
          probes.push_back(response.permit_id());
        } else if (!status.ok() || response.allowed()) {
          const std::lock_guard<std::mutex> lock(mu);
          others.push_back(status.error_message() + " " + response.ShortDebugString());
        }
        gate.arrive_and_wait();
      }
    });
  }

  for (int round = 0; round < kRounds; ++round) {
    const uint32_t allowed = 1 + round % 5;
    auto open = Text<v1::AcquireRequest>(
        "service: 's' operation: 'o' policy { failure_threshold: 1 minimum_request_count: 1 "
        "recovery_timeout { nanos: 1000000 } }");
    open.mutable_policy()->set_half_open_max_probes(allowed);
    if (round == 0) {
      auto fail = Text<v1::ReportRequest>("service: 's' operation: 'o' outcome: FAILURE");
      fail.set_permit_id(daemon.Acquire(open).permit_id());
      daemon.Report(fail);
    }
    ASSERT_TRUE(Eventually([&] { return daemon.GetStats("s", "o").state() == v1::HALF_OPEN; }));
    // Brings the number of probes of this round; the probe that it may get is given back.
    const v1::AcquireResponse brought = daemon.Acquire(open);
    ASSERT_TRUE(brought.probe());
    auto give_back = Text<v1::ReportRequest>("service: 's' operation: 'o' outcome: IGNORED");
    give_back.set_permit_id(brought.permit_id());
    daemon.Report(give_back);

    gate.arrive_and_wait();
    gate.arrive_and_wait();
    EXPECT_EQ(probes.size(), allowed) << "round " << round;
    EXPECT_THAT(others, IsEmpty()) << "round " << round;
    EXPECT_EQ(daemon.GetStats("s", "o").in_flight(), allowed);

    // The first failure opens the circuit again; the other probes are late.
    for (const uint64_t permit_id : probes) {
      auto report = Text<v1::ReportRequest>("service: 's' operation: 'o' outcome: FAILURE");
      report.set_permit_id(permit_id);
      daemon.Report(report);
    }
    probes.clear();
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace breaker::testing
