#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "benchmark/benchmark.h"
#include "server/engine/registry.h"
#include "server/engine/shard.h"
#include "tests/bench/process_usage.h"
#include "tests/bench/row.h"

// What a call costs the engine: Acquire and Report, each reading the machine's clocks as the daemon
// does.
namespace breaker::server {
namespace {

constexpr char kBytes[] = "bytes/breaker";

// "service-123" and "operation-45": ten services' worth of operations to a hundred breakers.
std::vector<Key> Keys(size_t count) {
  std::vector<Key> keys;
  keys.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    keys.emplace_back(absl::StrCat("service-", i / 100), absl::StrCat("operation-", i % 100));
  }
  return keys;
}

// A registry full of breakers, each of which has been called once.
class Fleet {
 public:
  explicit Fleet(size_t count) : keys_(Keys(count)) {
    const int64_t before = bench::ResidentBytes(getpid());
    RegistryOptions options;
    options.max_breakers = count;
    registry_ = std::make_unique<Registry>(options);
    for (const Key& key : keys_) Call(key);
    registry_->TakeDirty();
    bytes_per_breaker_ =
        static_cast<double>(bench::ResidentBytes(getpid()) - before) / static_cast<double>(count);
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
  if (fleet.keys().size() >= 1'000'000) state.counters[kBytes] = fleet.bytes_per_breaker();
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

// "1000000" as "1,000,000".
std::string Grouped(std::string digits) {
  for (size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, ",");
  return digits;
}

// Rows of what the benchmarks above measured.
class Rows : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }

  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) runs_.emplace_back(run.benchmark_name(), run);
  }

  void Finalize() override {
    const double clock = 2 * Nanoseconds("ReadClock");
    const double lookup = Nanoseconds("SlotThenBreaker");
    for (const auto& [name, run] : runs_) {
      const double pair = run.GetAdjustedRealTime();
      bench::Row row = {.measured = pair,
                        .unit = "ns",
                        .against = "two clock readings",
                        .against_value = clock,
                        .ratio = bench::RatioOf({pair}, {clock})};
      if (absl::StartsWith(name, "AcquireAndReport/")) {
        row.figure =
            absl::StrCat("1 thread, ", Grouped(name.substr(name.find('/') + 1)), " breakers");
        row.target = "< 500 ns";
      } else if (absl::StartsWith(name, "TwoThreads/")) {
        row.figure = absl::StrCat("2 threads, ",
                                  absl::StrContains(name, "same:1") ? "the same" : "one each");
      } else {
        continue;
      }
      row.figure = "engine Acquire + Report, " + row.figure;
      const auto bytes = run.counters.find(kBytes);
      if (bytes == run.counters.end()) {
        bench::Emit(row);
      } else {
        row.against = "two dependent reads";
        row.against_value = lookup;
        row.ratio = bench::RatioOf({pair}, {lookup});
        bench::Emit(row);
        bench::Emit({.figure = "resident memory an idle breaker, at 1,000,000",
                     .measured = bytes->second,
                     .unit = "bytes",
                     .target = "<= 1024 bytes"});
      }
    }
  }

 private:
  double Nanoseconds(const std::string& benchmark) const {
    for (const auto& [name, run] : runs_) {
      if (name == benchmark) return run.GetAdjustedRealTime();
    }
    return 0;
  }

  std::vector<std::pair<std::string, Run>> runs_;
};

}  // namespace
}  // namespace breaker::server

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  breaker::server::Rows rows;
  benchmark::RunSpecifiedBenchmarks(&rows);
  return 0;
}
