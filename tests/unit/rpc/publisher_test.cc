// What a handler does, without gRPC and on threads of the test's own, beside the ticker and the
// store's writer: nothing that ThreadSanitizer cannot see into takes part.

#include "server/publisher.h"

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/store/store_writer.h"
#include "server/ticker.h"
#include "tests/support/in_memory_store.h"
#include "tests/support/tally.h"
#include "tests/support/transitions_in.h"

namespace breaker::server {
namespace {

class PublisherTest : public ::testing::Test {
 protected:
  PublisherTest() { writer_.Start(store_.Open()); }

  // Breakers trip at the first failure and may be probed a millisecond later.
  static Policy Jumpy() {
    Policy policy;
    policy.failure_threshold = 1;
    policy.minimum_request_count = 1;
    policy.recovery_timeout = absl::Milliseconds(1);
    return policy;
  }

  // A worker's call, from Acquire to its Report; how many transitions it caused. `answered` counts
  // the answers that waited for the store.
  size_t Call(const KeyView& key, Outcome outcome, Tally& answered) {
    const Policy policy = Jumpy();
    Changes changes;
    const Decision decision = *registry_.Acquire(key, "w1", &policy, clock_.Now(), &changes);
    if (decision.allowed) {
      CallReport report;
      report.permit_id = decision.permit_id;
      report.outcome = outcome;
      EXPECT_TRUE(registry_.Report(key, report, clock_.Now(), &changes).ok());
    }
    const size_t count = TransitionsIn(changes).size();
    if (count > 0) publisher_.Publish(std::move(changes), [&answered] { answered.Add(); });
    return count;
  }

  const SystemClock clock_;
  InMemoryStore store_;
  Registry registry_{RegistryOptions()};
  StoreWriter writer_{&store_, &registry_, &clock_, StoreWriterOptions()};
  WatchHub hub_{absl::Seconds(1), &clock_};
  Publisher publisher_{&writer_, &hub_};
};

TEST_F(PublisherTest, AnswersOnceTheTransitionIsStored) {
  Tally answered;
  EXPECT_EQ(Call({"s", "o"}, Outcome::kFailure, answered), 1);
  ASSERT_TRUE(answered.Await(1));
  ASSERT_EQ(store_.breakers().count(Key("s", "o")), 1);
  EXPECT_EQ(store_.breakers().at(Key("s", "o")).state, State::kOpen);
}

TEST_F(PublisherTest, ManyThreadsTickerAndWriterAtOnce) {
  constexpr int kThreads = 8;
  constexpr int kCalls = 5000;
  Ticker ticker(&registry_, &publisher_, &clock_);
  Tally answered;
  std::atomic<int> waiting{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kCalls; ++i) {
        const std::string operation = absl::StrCat("o", i % 3);
        const Outcome outcome = (i + t) % 2 == 0 ? Outcome::kFailure : Outcome::kSuccess;
        if (Call({"s", operation}, outcome, answered) > 0) ++waiting;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(waiting, 0);
  EXPECT_TRUE(answered.Await(waiting)) << "an answer was lost";
}

}  // namespace
}  // namespace breaker::server
