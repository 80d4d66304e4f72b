// What a guarded call costs a worker whose client decides by itself: its time, as a distribution;
// how many a thread can make, and two threads on the same breaker; what it allocates.
//
//   cached_bench [--slices=10] [--slice=1s]

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "breaker/client.h"
#include "tests/bench/clients.h"
#include "tests/bench/die.h"
#include "tests/bench/options.h"
#include "tests/bench/row.h"
#include "tests/bench/server_process.h"
#include "tests/bench/turns.h"
#include "tests/support/temp_dir.h"

namespace breaker::bench {
namespace {

std::atomic<int64_t> allocations{0};
thread_local int64_t allocations_here = 0;

void* Allocate(size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  ++allocations_here;
  void* const memory = malloc(size);
  if (memory == nullptr) abort();
  return memory;
}

using SteadyClock = std::chrono::steady_clock;

// A group of calls is measured at once, so that the two clock readings around it are a small part.
constexpr int kGroup = 32;

const Key& kKey = *new Key{"users", "get"};

void MakeGroup(Client& client) {
  for (int i = 0; i < kGroup; ++i) MustAcquire(client, kKey).Success();
}

// Calls a second on so many threads.
double Rate(Client& client, int threads, absl::Duration length) {
  std::atomic<int64_t> calls{0};
  const absl::Time start = absl::Now();
  std::vector<std::thread> workers;
  for (int thread = 0; thread < threads; ++thread) {
    workers.emplace_back([&] {
      int64_t made = 0;
      while (absl::Now() < start + length) {
        MakeGroup(client);
        made += kGroup;
      }
      calls += made;
    });
  }
  for (std::thread& worker : workers) worker.join();
  return static_cast<double>(calls) / absl::ToDoubleSeconds(absl::Now() - start);
}

// Nanoseconds a call, of each group.
std::vector<double> GroupTimes(Client& client, absl::Duration length) {
  std::vector<double> times;
  const SteadyClock::time_point end = SteadyClock::now() + absl::ToChronoNanoseconds(length);
  SteadyClock::time_point start = SteadyClock::now();
  while (start < end) {
    MakeGroup(client);
    const SteadyClock::time_point now = SteadyClock::now();
    times.push_back(std::chrono::duration<double, std::nano>(now - start).count() / kGroup);
    start = SteadyClock::now();
  }
  return times;
}

// Nanoseconds that it takes to read the clock as often as a call that takes its time has to.
double TwoClockReadings(absl::Duration length) {
  int64_t readings = 0;
  const SteadyClock::time_point start = SteadyClock::now();
  const SteadyClock::time_point end = start + absl::ToChronoNanoseconds(length);
  SteadyClock::time_point now = start;
  for (; now < end; ++readings) now = SteadyClock::now();
  return 2 * std::chrono::duration<double, std::nano>(now - start).count() / readings;
}

void MeasureTime(Client& client, const Slices& slices) {
  std::vector<double> times;
  const auto medians =
      InTurns(slices.count, {[&] {
                               const auto slice = GroupTimes(client, slices.length);
                               times.insert(times.end(), slice.begin(), slice.end());
                               return Median(slice);
                             },
                             [&] { return TwoClockReadings(slices.length); }});
  Emit({.figure = absl::StrCat("cached call, decided and recorded, p50 of groups of ", kGroup),
        .measured = Median(times),
        .unit = "ns",
        .against = "two clock readings",
        .against_value = Median(medians[1]),
        .ratio = RatioOf(medians[0], medians[1]),
        .target = "<= 100 ns",
        .distribution = {{"p99", Quantile(times, 0.99)}, {"p99.9", Quantile(times, 0.999)}}});
}

void MeasureRate(Client& client, const Slices& slices) {
  const auto rates = InTurns(slices.count, {[&] { return Rate(client, 1, slices.length); },
                                            [&] { return Rate(client, 2, slices.length); },
                                            [&] { return 1e9 / TwoClockReadings(slices.length); }});
  Emit({.figure = "cached calls, 1 thread",
        .measured = Median(rates[0]) / 1e6,
        .unit = "M/s",
        .against = "two clock readings",
        .against_value = Median(rates[2]) / 1e6,
        .ratio = RatioOf(rates[0], rates[2]),
        .target = ">= 10 M/s"});
  Emit({.figure = "cached calls, 2 threads, the same breaker",
        .measured = Median(rates[1]) / 1e6,
        .unit = "M/s",
        .against = "1 thread",
        .against_value = Median(rates[0]) / 1e6,
        .ratio = RatioOf(rates[1], rates[0]),
        .target = ">= 1.8"});
}

void CountAllocations(Client& client, absl::Duration length) {
  const int64_t here_before = allocations_here, before = allocations;
  double calls = 0;
  for (const absl::Time start = absl::Now(); absl::Now() < start + length; calls += kGroup) {
    MakeGroup(client);
  }
  const int64_t here = allocations_here - here_before;
  Emit({.figure = "allocations a cached call, in the caller's thread",
        .measured = static_cast<double>(here) / calls,
        .target = "0"});
  Emit({.figure = "allocations a cached call, in the process with its reports",
        .measured = static_cast<double>(allocations - before) / calls});
}

int Main(int argc, char** argv) {
  Slices slices;
  CLI::App app("What a guarded call costs a worker whose client decides by itself.");
  AddSlices(app, slices);
  CLI11_PARSE(app, argc, argv);

  const TempDir dir;
  const ServerProcess server([&] { return std::vector<int>{ServeDaemon(dir.path())}; });
  Client client(CachedClient(server.target()));
  WarmUp(client, kKey);
  MeasureTime(client, slices);
  MeasureRate(client, slices);
  CountAllocations(client, slices.length);
  return 0;
}

}  // namespace
}  // namespace breaker::bench

void* operator new(size_t size) { return breaker::bench::Allocate(size); }
void operator delete(void* memory) noexcept { free(memory); }
void operator delete(void* memory, size_t) noexcept { free(memory); }

int main(int argc, char** argv) { return breaker::bench::Main(argc, argv); }
