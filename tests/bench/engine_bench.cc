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

// Each figure is the median of so many runs; of a second, in which every breaker of a million is
// called more than once.
constexpr int kRuns = 5;
void Repeat(benchmark::internal::Benchmark* benchmark) {
  benchmark->MinTime(1)->Repetitions(kRuns);
}

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
    thread_local Changes changes;
    changes.clear();
    // As the daemon does, which checks the request in between.
    const HashedKey hashed = registry_->Prefetch(key);
    const Decision decision =
        *registry_->Acquire(hashed, "worker-7", nullptr, clock_.Now(), &changes);
    CallReport report;
    report.worker_id = "worker-7";
    report.permit_id = decision.permit_id;
    report.duration = absl::Milliseconds(5);
    benchmark::DoNotOptimize(registry_->Report(key, report, clock_.Now(), &changes).value().state);
  }

  const std::vector<Key>& keys() const { return keys_; }
  double bytes_per_breaker() const { return bytes_per_breaker_; }

 private:
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
BENCHMARK(ReadClock)->Apply(Repeat);

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
BENCHMARK(SlotThenBreaker)->Apply(Repeat);

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
BENCHMARK(AcquireAndReport)->Apply(Repeat)->Arg(1)->Arg(1'000)->Arg(1'000'000);

// Pairs on two threads at once, on one breaker or on one each.
void TwoThreads(benchmark::State& state) {
  static Fleet& fleet = *new Fleet(100);
  const bool same = state.range(0) == 1;
  const Key& key = fleet.keys()[same ? 0 : static_cast<size_t>(state.thread_index())];
  for (auto _ : state) fleet.Call(key);
}
BENCHMARK(TwoThreads)->Apply(Repeat)->ArgName("same")->Arg(1)->Arg(0)->Threads(2)->UseRealTime();

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
    for (const Run& run : runs) {
      if (run.run_type != Run::RT_Iteration) continue;  // an aggregate
      // "AcquireAndReport/1000"
      const std::string name = absl::StrCat(
          run.run_name.function_name, run.run_name.args.empty() ? "" : "/", run.run_name.args);
      if (!nanoseconds_.contains(name)) order_.push_back(name);
      nanoseconds_[name].push_back(run.GetAdjustedRealTime());
      const auto bytes = run.counters.find(kBytes);
      if (bytes != run.counters.end()) bytes_ = bytes->second;
    }
  }

  void Finalize() override {
    const std::vector<double> clock = Twice(nanoseconds_["ReadClock"]);
    const std::vector<double>& reads = nanoseconds_["SlotThenBreaker"];
    for (const std::string& name : order_) {
      const std::vector<double>& pair = nanoseconds_[name];
      bench::Row row = {.measured = bench::Median(pair),
                        .unit = "ns",
                        .against = "two clock readings",
                        .against_value = bench::Median(clock),
                        .ratio = bench::RatioOf(pair, clock)};
      const std::string which = name.substr(name.find('/') + 1);
      if (absl::StartsWith(name, "AcquireAndReport/")) {
        row.figure = absl::StrCat("1 thread, ", Grouped(which), " breakers");
        row.target = "< 500 ns";
      } else if (absl::StartsWith(name, "TwoThreads/")) {
        row.figure = absl::StrCat("2 threads, ", which == "same:1" ? "the same" : "one each");
      } else {
        continue;
      }
      row.figure = "engine Acquire + Report, " + row.figure;
      if (which == "1000000") {
        row.against = "two dependent reads";
        row.against_value = bench::Median(reads);
        row.ratio = bench::RatioOf(pair, reads);
        const auto [least, most] = std::minmax_element(pair.begin(), pair.end());
        row.distribution = {{"least", *least}, {"most", *most}};
      }
      bench::Emit(row);
    }
    bench::Emit({.figure = "resident memory an idle breaker, at 1,000,000",
                 .measured = bytes_,
                 .unit = "bytes",
                 .target = "<= 1024 bytes"});
  }

 private:
  static std::vector<double> Twice(std::vector<double> values) {
    for (double& value : values) value *= 2;
    return values;
  }

  std::vector<std::string> order_;
  std::map<std::string, std::vector<double>> nanoseconds_;  // one a run
  double bytes_ = 0;
};

}  // namespace
}  // namespace breaker::server

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  breaker::server::Rows rows;
  benchmark::RunSpecifiedBenchmarks(&rows);
  return 0;
}
