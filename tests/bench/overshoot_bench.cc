// How far workers overshoot: cached clients call as fast as they can, and all at once their
// dependency fails each call. How many calls each worker still lets through after the daemon has
// opened the circuit, and how long after that it refuses its first call.
//
//   overshoot_bench [--rounds=20] [--workers=8]

#include <grpcpp/grpcpp.h>
#include <sys/mman.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "breaker/client.h"
#include "breaker/v1/breaker.grpc.pb.h"
#include "tests/bench/clients.h"
#include "tests/bench/row.h"
#include "tests/bench/rpc_load.h"
#include "tests/bench/server_process.h"
#include "tests/bench/turns.h"
#include "tests/support/channel.h"
#include "tests/support/eventually.h"
#include "tests/support/temp_dir.h"

namespace breaker::bench {
namespace {

constexpr int kMaxWorkers = 64;
constexpr int kMaxFailedCalls = 1 << 20;
// With all workers calling, before the dependency dies.
constexpr absl::Duration kGoodTimes = absl::Milliseconds(300);

// What a worker saw in the round.
struct Sightings {
  std::atomic<bool> warm;
  std::atomic<bool> refused;
  int64_t refused_at;  // nanoseconds of Unix time, as those below
  int failed_calls;
  int64_t failed_at[kMaxFailedCalls];
};

// Shared by the processes: this one leads, the workers follow.
struct Stage {
  std::atomic<int> round;  // from 1
  std::atomic<bool> dependency_is_dead;
  std::atomic<int64_t> call_nanos;  // how long each call takes
  Sightings sightings[kMaxWorkers];

  static Stage* New() {
    void* const memory = mmap(nullptr, sizeof(Stage), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) Die("no shared memory");
    return new (memory) Stage;  // zero, as the pages are
  }
};

Key KeyOf(int round) { return {"dependency", absl::StrCat("round-", round)}; }

// Of a worker process: calls until it is refused, in each round.
void Work(Stage& stage, int number, const std::string& target) {
  Client client(CachedClient(target, absl::StrCat("worker-", number)));
  Sightings& mine = stage.sightings[number];
  for (int round = 1;; ++round) {
    while (stage.round < round) absl::SleepFor(absl::Milliseconds(1));
    const Key key = KeyOf(round);
    const absl::Duration call = absl::Nanoseconds(stage.call_nanos.load());
    WarmUp(client, key);
    mine.warm = true;
    while (true) {
      const absl::Status status = client.Execute(key, [&] {
        if (call > absl::ZeroDuration()) absl::SleepFor(call);
        if (!stage.dependency_is_dead.load(std::memory_order_relaxed)) return absl::OkStatus();
        if (mine.failed_calls == kMaxFailedCalls) Die("the circuit does not open");
        mine.failed_at[mine.failed_calls++] = absl::GetCurrentTimeNanos();
        return absl::UnavailableError("dead");
      });
      if (IsRefusal(status)) break;
    }
    mine.refused_at = absl::GetCurrentTimeNanos();
    mine.refused = true;
  }
}

// When the daemon opened the circuit.
absl::Time TripTime(v1::CircuitBreaker::Stub& daemon, int round) {
  grpc::ClientContext context;
  v1::GetStatsRequest request;
  request.set_service(KeyOf(round).service);
  request.set_operation(KeyOf(round).operation);
  v1::CircuitStats stats;
  MustBeOk(daemon.GetStats(&context, request, &stats), "GetStats");
  if (stats.recent_transitions().empty()) Die("the daemon did not open the circuit");
  const auto& time = stats.recent_transitions(0).time();
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

// Of all workers in all rounds.
struct Overshoots {
  std::vector<double> calls;
  std::vector<double> refusal_milliseconds;
};

void RunRound(Stage& stage, int workers, v1::CircuitBreaker::Stub& daemon, int round,
              Overshoots& overshoots) {
  const auto all = [&](std::atomic<bool> Sightings::*flag) {
    return Eventually([&] {
      return std::all_of(stage.sightings, stage.sightings + workers,
                         [flag](const Sightings& worker) { return (worker.*flag).load(); });
    });
  };
  stage.dependency_is_dead = false;
  for (int i = 0; i < workers; ++i) {
    stage.sightings[i].warm = stage.sightings[i].refused = false;
    stage.sightings[i].failed_calls = 0;
  }
  stage.round = round;
  if (!all(&Sightings::warm)) Die("the workers did not start to call");
  absl::SleepFor(kGoodTimes);
  stage.dependency_is_dead = true;
  if (!all(&Sightings::refused)) Die("not every worker refused a call");

  const absl::Time trip = TripTime(daemon, round);
  for (int i = 0; i < workers; ++i) {
    const Sightings& worker = stage.sightings[i];
    overshoots.calls.push_back(static_cast<double>(
        std::count_if(worker.failed_at, worker.failed_at + worker.failed_calls,
                      [&](int64_t time) { return absl::FromUnixNanos(time) > trip; })));
    overshoots.refusal_milliseconds.push_back(
        absl::ToDoubleMilliseconds(absl::FromUnixNanos(worker.refused_at) - trip));
  }
}

void EmitDistribution(const std::string& figure, const std::string& unit,
                      const std::vector<double>& values) {
  Emit({.figure = figure,
        .measured = Median(values),
        .unit = unit,
        .distribution = {{"p90", Quantile(values, 0.9)}, {"max", Quantile(values, 1)}}});
}

int Main(int argc, char** argv) {
  int rounds = 20;
  int workers = 8;
  CLI::App app("How many calls workers let through after a circuit has opened.");
  app.add_option("--rounds", rounds)->check(CLI::PositiveNumber);
  app.add_option("--workers", workers)->check(CLI::Range(1, kMaxWorkers));
  CLI11_PARSE(app, argc, argv);

  const TempDir dir;
  const ServerProcess server([&] { return std::vector<int>{ServeDaemon(dir.path())}; });
  Stage& stage = *Stage::New();
  std::vector<std::unique_ptr<ForkedProcess>> processes;
  for (int i = 0; i < workers; ++i) {
    processes.push_back(
        std::make_unique<ForkedProcess>([&, i] { Work(stage, i, server.target()); }));
  }
  v1::CircuitBreaker::Stub daemon(NewChannel(server.target()));

  int round = 0;
  for (const absl::Duration call : {absl::ZeroDuration(), absl::Milliseconds(1)}) {
    stage.call_nanos = absl::ToInt64Nanoseconds(call);
    Overshoots overshoots;
    for (int i = 0; i < rounds; ++i) RunRound(stage, workers, daemon, ++round, overshoots);
    const std::string who =
        absl::StrCat(workers, " workers, calls of ",
                     call > absl::ZeroDuration() ? absl::FormatDuration(call) : "no time");
    EmitDistribution("calls let through after the trip, a worker; " + who, "calls",
                     overshoots.calls);
    EmitDistribution("from the trip to a worker's first refusal; " + who, "ms",
                     overshoots.refusal_milliseconds);
  }
  return 0;
}

}  // namespace
}  // namespace breaker::bench

int main(int argc, char** argv) { return breaker::bench::Main(argc, argv); }
