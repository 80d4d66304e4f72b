#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "server/engine/registry.h"
#include "tests/support/simulated_clock.h"
#include "tests/support/transitions_in.h"

namespace breaker::server {
namespace {

constexpr KeyView kCharge{"payments", "charge"};

// Runs work(0) ... work(count - 1) on as many threads, which start together.
void InParallel(int count, const std::function<void(int)>& work) {
  std::atomic<int> ready{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      ready.fetch_add(1);
      while (ready.load() < count) std::this_thread::yield();
      work(i);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(RegistryConcurrencyTest, ExactlyTheAllowedNumberOfProbesIsGranted) {
  constexpr int kThreads = 8;
  constexpr int kRounds = 200;
  SimulatedClock clock;
  Registry registry{RegistryOptions()};
  Changes setup;
  Policy policy;
  policy.failure_threshold = 1;
  policy.minimum_request_count = 1;
  policy.half_open_max_probes = 3;
  policy.half_open_success_threshold = 3;
  registry.SetPolicy(Key(kCharge), policy, clock.Now(), &setup);

  for (int round = 0; round < kRounds; ++round) {
    ASSERT_TRUE(registry.Report(kCharge, {"w", 0, Outcome::kFailure}, clock.Now(), &setup).ok());
    clock.Advance(policy.recovery_timeout);
    std::vector<Decision> decisions(kThreads);
    std::atomic<int> transitions{0};

    InParallel(kThreads, [&](int i) {
      Changes caused;
      decisions[i] = *registry.Acquire(kCharge, "w1", nullptr, clock.Now(), &caused);
      transitions.fetch_add(static_cast<int>(TransitionsIn(caused).size()));
    });

    int probes = 0;
    for (const Decision& decision : decisions) {
      EXPECT_EQ(decision.allowed, decision.probe);
      if (!decision.probe) continue;
      ++probes;
      ASSERT_EQ(
          registry
              .Report(kCharge, {"w", decision.permit_id, Outcome::kSuccess}, clock.Now(), &setup)
              ->disposition,
          Disposition::kCounted);
    }
    ASSERT_EQ(probes, 3) << "round " << round;
    ASSERT_EQ(transitions.load(), 1) << "round " << round;  // to HALF_OPEN, by one of them
    ASSERT_EQ(registry.GetStats(kCharge, clock.Now(), &setup)->state, State::kClosed);
  }
  EXPECT_EQ(registry.permits_out(), 0);
}

TEST(RegistryConcurrencyTest, NoCountIsLost) {
  constexpr int kThreads = 8;
  constexpr int kCalls = 3000;
  SimulatedClock clock;
  Registry registry{RegistryOptions()};
  Changes setup;
  Policy policy;
  policy.failure_threshold = 0;
  registry.SetPolicy(Key("*", "*"), policy, clock.Now(), &setup);

  InParallel(kThreads, [&](int i) {
    Changes caused;
    const std::string worker = absl::StrCat("w", i);
    for (int call = 0; call < kCalls; ++call) {
      // Every other call to a breaker that all share, the others to one of this thread's own.
      const std::string own = absl::StrCat("own", i);
      const KeyView key = call % 2 == 0 ? kCharge : KeyView{"payments", own};
      const Decision decision = *registry.Acquire(key, "w1", nullptr, clock.Now(), &caused);
      const Outcome outcome = call % 3 == 0 ? Outcome::kFailure : Outcome::kSuccess;
      ASSERT_EQ(registry.Report(key, {worker, decision.permit_id, outcome}, clock.Now(), &caused)
                    ->disposition,
                Disposition::kCounted);
    }
    ASSERT_TRUE(TransitionsIn(caused).empty());
  });

  const BreakerStats shared = *registry.GetStats(kCharge, clock.Now(), &setup);
  EXPECT_EQ(shared.lifetime.failures, uint64_t{kThreads * kCalls / 6});
  EXPECT_EQ(shared.lifetime.successes, uint64_t{kThreads * kCalls / 3});
  EXPECT_EQ(shared.window.total(), uint64_t{kThreads * kCalls / 2});
  EXPECT_EQ(shared.failing_workers, uint32_t{kThreads});
  EXPECT_EQ(registry.size(), size_t{kThreads + 1});
  EXPECT_EQ(registry.permits_out(), 0);
}

TEST(RegistryConcurrencyTest, ABreakerIsCreatedOnceAndTheBoundHolds) {
  constexpr int kThreads = 8;
  SimulatedClock clock;
  RegistryOptions options;
  options.max_breakers = 100;
  Registry registry{options};
  std::atomic<int> refused{0};

  InParallel(kThreads, [&](int) {
    Changes caused;
    for (int i = 0; i < 200; ++i) {
      const std::string operation = absl::StrCat("operation", i);
      if (!registry.Acquire({"s", operation}, "w1", nullptr, clock.Now(), &caused).ok()) ++refused;
    }
  });

  EXPECT_EQ(registry.size(), 100u);
  EXPECT_GE(refused.load(), 100);
}

// Everything at once: for ThreadSanitizer to look at, and for what must hold afterwards.
TEST(RegistryConcurrencyTest, EveryCallAtOnceLeavesNothingBehind) {
  SimulatedClock clock;
  RegistryOptions options;
  options.idle_ttl = absl::Seconds(5);
  Registry registry{options};
  std::atomic<bool> stop{false};
  const auto key = [](int i) { return Key(absl::StrCat("s", i % 3), absl::StrCat("o", i % 7)); };

  std::thread time([&] {
    Changes caused;
    for (int i = 0; i < 400; ++i) {
      clock.Advance(absl::Milliseconds(100));
      registry.Tick(clock.Now(), &caused);
      for (const Key& dirty : registry.TakeDirty()) registry.Save(dirty, clock.Now());
    }
    stop = true;
  });
  std::thread operators([&] {
    Changes caused;
    Policy policy;
    for (int i = 0; !stop; ++i) {
      policy.recovery_timeout = absl::Seconds(1 + i % 5);
      registry.SetPolicy(Key(absl::StrCat("s", i % 3), "*"), policy, clock.Now(), &caused);
      (void)registry.SetOverride(key(i), Override{}, clock.Now(), &caused);
      (void)registry.ClearOverride(key(i), clock.Now(), &caused);
      (void)registry.Reset(key(i + 1), clock.Now(), &caused);
      (void)registry.Delete(key(i + 2), &caused);
      registry.ListStats(
          "", [](const Key&, State) { return true; }, 5, std::nullopt, clock.Now(), &caused);
      caused.clear();
    }
  });
  InParallel(3, [&](int i) {
    Changes caused;
    for (int call = i; !stop; ++call) {
      const absl::StatusOr<Decision> decision =
          registry.Acquire(key(call), "w1", nullptr, clock.Now(), &caused);
      const Outcome outcome = call % 4 == 0 ? Outcome::kFailure : Outcome::kSuccess;
      (void)registry.Report(key(call), {"w", decision->permit_id, outcome}, clock.Now(), &caused);
      caused.clear();
    }
  });
  time.join();
  operators.join();

  Changes caused;
  Policy quick;
  registry.SetPolicy(Key("*", "*"), quick, clock.Now(), &caused);
  for (int i = 0; i < 21; ++i) (void)registry.Reset(key(i), clock.Now(), &caused);
  clock.Advance(absl::Hours(1));
  registry.Tick(clock.Now(), &caused);
  registry.Tick(clock.Now(), &caused);
  EXPECT_EQ(registry.size(), 0u);
  EXPECT_EQ(registry.permits_out(), 0);
}

}  // namespace
}  // namespace breaker::server
