#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "benchmark/benchmark.h"
#include "server/engine/registry.h"
#include "server/engine/shard.h"

// What a call costs the engine: Acquire and Report, each reading the machine's clocks as the daemon
// does. Run with the release preset:
//   .build/release/tests/bench/engine_bench
namespace breaker::server {
namespace {

// "service-123" and "operation-45": ten services' worth of operations to a hundred breakers.
std::vector<Key> Keys(size_t count) {
  std::vector<Key> keys;
  keys.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    keys.emplace_back(absl::StrCat("service-", i / 100), absl::StrCat("operation-", i % 100));
  }
  return keys;
}

size_t ResidentBytes() {
  size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages >> pages;
  return pages * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

// A registry full of breakers, each of which has been called once.
class Fleet {
 public:
  explicit Fleet(size_t count) : keys_(Keys(count)) {
    const size_t before = ResidentBytes();
    RegistryOptions options;
    options.max_breakers = count;
    registry_ = std::make_unique<Registry>(options);
    for (const Key& key : keys_) Call(key);
    registry_->TakeDirty();
    bytes_per_breaker_ = static_cast<double>(ResidentBytes() - before) / count;
  }

  void Call(const Key& key) {
    const Decision decision = *registry_->Acquire(key, "w1", nullptr, clock_.Now(), &transitions());
    CallReport report;
    report.worker_id = "worker-7";
    report.permit_id = decision.permit_id;
    report.duration = absl::Milliseconds(5);
    benchmark::DoNotOptimize(
        registry_->Report(key, report, clock_.Now(), &transitions()).value().state);
  }

  const std::vector<Key>& keys() const { return keys_; }
  double bytes_per_breaker() const { return bytes_per_breaker_; }

 private:
  static Changes& transitions() {
    thread_local Changes transitions;
    return transitions;
  }

  SystemClock clock_;
  std::vector<Key> keys_;
  std::unique_ptr<Registry> registry_;
  double bytes_per_breaker_ = 0;
};

// Kept for the whole run, so that what it takes of memory was not some other fleet's before.
Fleet& FleetOf(size_t count) {
  static auto& fleets = *new std::map<size_t, Fleet>();
  return fleets.try_emplace(count, count).first->second;
}

void ReadClock(benchmark::State& state) {
  SystemClock clock;
  for (auto _ : state) benchmark::DoNotOptimize(clock.Now());
}
BENCHMARK(ReadClock);

// What no table of a million breakers can do without: a slot, then the first line of what it points
// to, in random order over as much memory as the breakers take. A pair on one of 1,000,000 breakers
// cannot cost less than this and a pair on a single breaker together.
void SlotThenBreaker(benchmark::State& state) {
  constexpr size_t kBreakers = 1'000'000;
  constexpr size_t kSlots = 1 << 21;
  constexpr size_t kStride = (sizeof(Entry) + 15) / 16 * 16 + 16;  // as malloc lays them out
  std::vector<char> breakers(kBreakers * kStride, 1);
  std::vector<char*> slots(kSlots);
  std::minstd_rand random(1);
  for (char*& slot : slots) slot = &breakers[random() % kBreakers * kStride];
  size_t at = 0;
  for (auto _ : state) {
    // The next slot depends on what was read, so that no two lookups overlap; nor do those of
    // calls.
    at = (at * 1'103'515'245 + 12'345 + static_cast<size_t>(*slots[at])) % kSlots;
  }
  benchmark::DoNotOptimize(at);
}
BENCHMARK(SlotThenBreaker);

// A pair on one of so many breakers, in random order.
void AcquireAndReport(benchmark::State& state) {
  Fleet& fleet = FleetOf(static_cast<size_t>(state.range(0)));
  // Shuffled beforehand: the keys come one after the other, as in a request that was just read;
  // what they name lies anywhere.
  std::vector<Key> keys = fleet.keys();
  std::shuffle(keys.begin(), keys.end(), std::minstd_rand(1));
  size_t next = 0;
  for (auto _ : state) {
    fleet.Call(keys[next]);
    if (++next == keys.size()) next = 0;
  }
  if (fleet.keys().size() >= 1'000'000) state.counters["bytes/breaker"] = fleet.bytes_per_breaker();
}
BENCHMARK(AcquireAndReport)->Arg(1)->Arg(1'000)->Arg(1'000'000);

// Pairs on two threads at once, on one breaker or on one each.
void TwoThreads(benchmark::State& state) {
  static Fleet& fleet = *new Fleet(100);
  const bool same = state.range(0) == 1;
  const Key& key = fleet.keys()[same ? 0 : static_cast<size_t>(state.thread_index())];
  for (auto _ : state) fleet.Call(key);
}
BENCHMARK(TwoThreads)->ArgName("same")->Arg(1)->Arg(0)->Threads(2)->UseRealTime();

}  // namespace
}  // namespace breaker::server

BENCHMARK_MAIN();
