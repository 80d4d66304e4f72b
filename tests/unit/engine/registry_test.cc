#include "server/engine/registry.h"

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/support/simulated_clock.h"
#include "tests/support/transitions_in.h"

namespace breaker::server {
namespace {

const Key kCharge("payments", "charge");

Policy OneStrike() {
  Policy policy;
  policy.failure_threshold = 1;
  policy.minimum_request_count = 1;
  policy.recovery_timeout = absl::Seconds(10);
  return policy;
}

// A registry, its clock, and the transitions that calls have caused so far.
struct Harness {
  explicit Harness(const RegistryOptions& options = {}) : registry(options) {}

  absl::StatusOr<Decision> Acquire(const Key& key, const Policy* policy = nullptr) {
    return registry.Acquire(key, "w1", policy, clock.Now(), &changes);
  }
  absl::StatusOr<ReportResult> Report(const Key& key, uint64_t permit_id, Outcome outcome) {
    return registry.Report(key, {"w1", permit_id, outcome}, clock.Now(), &changes);
  }
  void Open(const Key& key) {
    const Policy policy = OneStrike();
    Report(key, Acquire(key, &policy)->permit_id, Outcome::kFailure).IgnoreError();
  }
  absl::StatusOr<BreakerStats> Stats(const Key& key) {
    return registry.GetStats(key, clock.Now(), &changes);
  }
  void SetPolicy(const Key& key, const Policy& policy) {
    registry.SetPolicy(key, policy, clock.Now(), &changes);
  }
  void Tick() { registry.Tick(clock.Now(), &changes); }
  // The dirty keys, in order, each once.
  std::vector<Key> Dirty() {
    std::vector<Key> keys = registry.TakeDirty();
    std::sort(keys.begin(), keys.end());
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    return keys;
  }

  SimulatedClock clock;
  Registry registry;
  Changes changes;
};

RegistryOptions IdleAfter(absl::Duration ttl) {
  RegistryOptions options;
  options.idle_ttl = ttl;
  return options;
}

TEST(RegistryTest, AcquireCreatesAndAskingDoesNot) {
  Harness h;
  EXPECT_EQ(h.Stats(kCharge).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(h.Stats(kCharge).status().message(), "no breaker payments/charge");
  EXPECT_EQ(h.registry.size(), 0u);

  EXPECT_TRUE(h.Acquire(kCharge)->allowed);

  EXPECT_EQ(h.registry.size(), 1u);
  EXPECT_EQ(h.Stats(kCharge)->key, kCharge);
  EXPECT_EQ(h.Stats(kCharge)->generation, 1u);
}

TEST(RegistryTest, AReportWithAPermitOfABreakerThatDoesNotExistIsUnknownAndCreatesNothing) {
  Harness h;

  const ReportResult result = *h.Report(kCharge, 99, Outcome::kFailure);

  EXPECT_EQ(result.disposition, Disposition::kUnknownPermit);
  EXPECT_EQ(result.state, State::kClosed);
  EXPECT_EQ(result.generation, 0u);
  EXPECT_EQ(h.registry.size(), 0u);
}

TEST(RegistryTest, AReportWithoutAPermitCreatesTheBreaker) {
  Harness h;

  EXPECT_EQ(h.Report(kCharge, 0, Outcome::kFailure)->disposition, Disposition::kCounted);

  EXPECT_EQ(h.Stats(kCharge)->window.failures, 1u);
}

TEST(RegistryTest, BreakersAreApart) {
  Harness h;
  h.Open(kCharge);

  EXPECT_FALSE(h.Acquire(kCharge)->allowed);
  EXPECT_TRUE(h.Acquire(Key("payments", "refund"))->allowed);
  EXPECT_TRUE(h.Acquire(Key("orders", "charge"))->allowed);
}

TEST(RegistryTest, APermitIsUnknownToAnotherBreaker) {
  Harness h;
  const uint64_t permit = h.Acquire(kCharge)->permit_id;
  h.Acquire(Key("orders", "place")).IgnoreError();

  EXPECT_EQ(h.Report(Key("orders", "place"), permit, Outcome::kFailure)->disposition,
            Disposition::kUnknownPermit);
}

TEST(RegistryTest, MaxBreakersBoundsEveryWayToCreateOne) {
  RegistryOptions options;
  options.max_breakers = 1;
  Harness h(options);
  h.Acquire(kCharge).IgnoreError();
  const Key other("orders", "place");

  const absl::Status status = h.Acquire(other).status();

  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(),
            "cannot create breaker orders/place: all 1 of --max_breakers are in use");
  EXPECT_EQ(h.Report(other, 0, Outcome::kSuccess).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(h.registry.SetOverride(other, Override(), h.clock.Now(), &h.changes).status().code(),
            absl::StatusCode::kResourceExhausted);
  BreakerSnapshot saved;
  saved.key = other;
  EXPECT_EQ(h.registry.Restore(saved, h.clock.Now()).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(h.Acquire(kCharge)->allowed);
  EXPECT_TRUE(h.registry.Delete(kCharge, &h.changes).ok());
  EXPECT_TRUE(h.Acquire(other).ok());
}

TEST(RegistryTest, MaxPermitsBoundsAllBreakersTogether) {
  RegistryOptions options;
  options.max_permits = 2;
  Harness h(options);
  h.Acquire(kCharge).IgnoreError();
  const Key other("orders", "place");
  EXPECT_NE(h.Acquire(other)->permit_id, 0u);

  EXPECT_TRUE(h.Acquire(other)->allowed);
  EXPECT_EQ(h.Acquire(other)->permit_id, 0u);
  EXPECT_EQ(h.registry.permits_out(), 2);
  EXPECT_TRUE(h.registry.Delete(kCharge, &h.changes).ok());  // its permit comes back

  EXPECT_EQ(h.registry.permits_out(), 1);
  EXPECT_NE(h.Acquire(other)->permit_id, 0u);
}

TEST(RegistryTest, CallsReturnTheTransitionsThatTheyCause) {
  Harness h;
  h.Open(kCharge);
  ASSERT_EQ(TransitionsIn(h.changes).size(), 1u);
  EXPECT_EQ(TransitionsIn(h.changes)[0].key, kCharge);
  EXPECT_EQ(TransitionsIn(h.changes)[0].transition.to, State::kOpen);
  EXPECT_EQ(TransitionsIn(h.changes)[0].transition.generation, 2u);
  h.changes.clear();
  h.clock.Advance(absl::Seconds(10));

  const Decision probe = *h.Acquire(kCharge);
  h.Report(kCharge, probe.permit_id, Outcome::kSuccess).IgnoreError();

  ASSERT_EQ(TransitionsIn(h.changes).size(), 2u);
  EXPECT_EQ(TransitionsIn(h.changes)[0].transition.to, State::kHalfOpen);
  EXPECT_EQ(TransitionsIn(h.changes)[1].transition.to, State::kClosed);
}

TEST(RegistryTest, TickHalfOpensWithoutTraffic) {
  Harness h;
  h.Open(kCharge);
  h.changes.clear();

  h.clock.Advance(absl::Seconds(10) - absl::Nanoseconds(1));
  h.Tick();
  EXPECT_TRUE(TransitionsIn(h.changes).empty());
  h.clock.Advance(absl::Nanoseconds(1));
  h.Tick();

  ASSERT_EQ(TransitionsIn(h.changes).size(), 1u);
  EXPECT_EQ(TransitionsIn(h.changes)[0].transition.to, State::kHalfOpen);
}

TEST(RegistryTest, TickServesManyBreakersAtOnce) {
  Harness h;
  for (int i = 0; i < 1000; ++i) h.Open(Key("s", absl::StrCat(i)));
  h.changes.clear();
  h.clock.Advance(absl::Seconds(10));

  h.Tick();

  EXPECT_EQ(TransitionsIn(h.changes).size(), 1000u);
}

TEST(RegistryTest, TickAbandonsPermits) {
  Harness h;
  h.Acquire(kCharge).IgnoreError();
  h.clock.Advance(absl::Seconds(20));
  h.Acquire(kCharge).IgnoreError();
  h.clock.Advance(absl::Seconds(10));

  h.Tick();
  EXPECT_EQ(h.registry.permits_out(), 1);
  h.clock.Advance(absl::Seconds(20));
  h.Tick();

  EXPECT_EQ(h.registry.permits_out(), 0);
}

TEST(RegistryTest, TickEndsOverrides) {
  Harness h;
  Override override;
  override.expires_at = h.clock.Now().wall + absl::Seconds(60);
  h.registry.SetOverride(kCharge, override, h.clock.Now(), &h.changes).IgnoreError();
  h.changes.clear();
  h.clock.Advance(absl::Seconds(60));

  h.Tick();

  ASSERT_EQ(TransitionsIn(h.changes).size(), 1u);
  EXPECT_EQ(TransitionsIn(h.changes)[0].transition.cause, Cause::kOverrideCleared);
}

TEST(RegistryTest, AnIdleBreakerIsEvictedAtItsTime) {
  Harness h(IdleAfter(absl::Minutes(10)));
  h.Report(kCharge, 0, Outcome::kSuccess).IgnoreError();
  h.clock.Advance(absl::Minutes(5));
  h.Report(kCharge, 0, Outcome::kSuccess).IgnoreError();

  h.clock.Advance(absl::Minutes(10) - absl::Nanoseconds(1));
  h.Tick();
  EXPECT_EQ(h.registry.size(), 1u);
  h.clock.Advance(absl::Nanoseconds(1));
  h.Tick();

  EXPECT_EQ(h.registry.size(), 0u);
  EXPECT_EQ(h.Dirty(), std::vector<Key>{kCharge});
  EXPECT_FALSE(h.registry.Save(kCharge, h.clock.Now()).has_value());
}

TEST(RegistryTest, ReadingStatsDoesNotKeepABreaker) {
  Harness h(IdleAfter(absl::Minutes(10)));
  h.Report(kCharge, 0, Outcome::kSuccess).IgnoreError();
  h.clock.Advance(absl::Minutes(5));
  h.Stats(kCharge).IgnoreError();
  h.clock.Advance(absl::Minutes(5));

  h.Tick();

  EXPECT_EQ(h.registry.size(), 0u);
}

TEST(RegistryTest, ABreakerThatIsOfUseIsNotEvicted) {
  Harness h(IdleAfter(absl::Seconds(5)));
  const Key forced("a", "forced"), open("b", "open"), waiting("c", "waiting");
  h.registry.SetOverride(forced, Override(), h.clock.Now(), &h.changes).IgnoreError();
  h.Open(open);
  const uint64_t permit = h.Acquire(waiting)->permit_id;

  h.clock.Advance(absl::Seconds(9));
  h.Tick();
  EXPECT_EQ(h.registry.size(), 3u);
  h.clock.Advance(absl::Seconds(11));
  h.Tick();
  EXPECT_EQ(h.Stats(open)->state, State::kHalfOpen);
  h.Report(waiting, permit, Outcome::kSuccess).IgnoreError();
  h.clock.Advance(absl::Seconds(5));
  h.Tick();

  EXPECT_EQ(h.registry.size(), 2u);
  EXPECT_EQ(h.Stats(waiting).status().code(), absl::StatusCode::kNotFound);
}

TEST(RegistryTest, AnAbandonedPermitLetsAnIdleBreakerGo) {
  Harness h(IdleAfter(absl::Seconds(5)));
  h.Acquire(kCharge).IgnoreError();
  h.clock.Advance(absl::Seconds(30));

  h.Tick();

  EXPECT_EQ(h.registry.size(), 0u);
}

TEST(RegistryTest, TheEndOfAnOverrideCountsAsUse) {
  Harness h(IdleAfter(absl::Seconds(5)));
  h.registry.SetOverride(kCharge, Override(), h.clock.Now(), &h.changes).IgnoreError();
  h.clock.Advance(absl::Hours(1));
  h.registry.ClearOverride(kCharge, h.clock.Now(), &h.changes).IgnoreError();

  h.Tick();
  EXPECT_EQ(h.registry.size(), 1u);
  h.clock.Advance(absl::Seconds(5));
  h.Tick();

  EXPECT_EQ(h.registry.size(), 0u);
}

TEST(RegistryForEachTest, VisitsEveryWantedBreakerOnceWithAsManyTransitionsAsAsked) {
  RegistryOptions options;
  options.max_breakers = 20'000;  // many more places than breakers in a shard
  Harness h(options);
  constexpr int kBreakers = 2000;
  for (int i = 0; i < kBreakers; ++i) {
    const Key key("s", absl::StrCat(i));
    i % 10 == 0 ? h.Open(key) : (void)h.Acquire(key);
  }
  h.clock.Advance(absl::Seconds(10));  // the open ones are due
  std::map<Key, int> visits;
  h.registry.ForEach([](const Breaker& breaker) { return breaker.lifetime().failures > 0; },
                     /*transitions=*/1, h.clock.Now(), &h.changes,
                     [&](BreakerStats stats) {
                       EXPECT_EQ(stats.state, State::kHalfOpen);
                       ASSERT_EQ(stats.recent_transitions.size(), 1);
                       EXPECT_EQ(stats.recent_transitions[0].to, State::kHalfOpen);
                       ++visits[stats.key];
                       // No lock is held.
                       EXPECT_TRUE(h.Stats(stats.key).ok());
                     });
  EXPECT_EQ(visits.size(), kBreakers / 10);
  for (const auto& [key, count] : visits) EXPECT_EQ(count, 1) << key.operation;
}

}  // namespace
}  // namespace breaker::server
