// How long a daemon takes to start with many stored breakers, and how much memory they take.
//
//   start_bench [--breakers=1000000]

#include <unistd.h>

#include <CLI/CLI.hpp>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/daemon.h"
#include "server/store/rocksdb_store.h"
#include "tests/bench/process_usage.h"
#include "tests/bench/row.h"
#include "tests/support/temp_dir.h"

namespace breaker::server {
namespace {

// A breaker as a busy hour leaves it: counts in a few buckets, a policy of the worker's.
BreakerSnapshot Sample(int n, const Instant& now) {
  BreakerSnapshot snapshot;
  snapshot.key = Key(absl::StrCat("service-", n % 1000), absl::StrCat("operation-", n / 1000));
  snapshot.lifetime.successes = 1000;
  snapshot.lifetime.failures = 3;
  snapshot.last_success_time = now.wall;
  snapshot.last_failure_time = now.wall;
  snapshot.last_failure_error = "Timeout";
  snapshot.worker_policy = Policy{.failure_threshold = 3};
  snapshot.monitoring_window = snapshot.worker_policy->monitoring_window;
  for (int bucket = 4; bucket >= 0; --bucket) {
    snapshot.window.push_back({now.wall - bucket * absl::Seconds(3), CallCounts{.successes = 20}});
  }
  return snapshot;
}

int Main(int argc, char** argv) {
  int breakers = 1'000'000;
  CLI::App app("How long a daemon takes to start with many stored breakers.");
  app.add_option("--breakers", breakers)->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);

  const TempDir dir;
  const SystemClock clock;
  {
    RocksDbStore store(dir.path(), Durability::kProcess, &clock);
    if (!store.Open().ok()) return 1;
    StoreBatch batch;
    for (int n = 0; n < breakers; ++n) {
      BreakerSnapshot snapshot = Sample(n, clock.Now());
      Key key = snapshot.key;
      batch.breakers.emplace_back(std::move(key), std::move(snapshot));
      if (batch.breakers.size() == 1000 || n + 1 == breakers) {
        if (!store.Write(batch).ok()) return 1;
        batch.breakers.clear();
      }
    }
  }

  const int64_t resident_before = bench::ResidentBytes(getpid());
  const absl::Time start = absl::Now();
  DaemonOptions options;
  options.listen = "127.0.0.1:0";
  options.http_listen = "127.0.0.1:0";
  options.data_dir = dir.path();
  options.max_breakers = static_cast<size_t>(breakers);
  const auto daemon = Daemon::Start(options, &clock);
  if (!daemon.ok()) return 1;
  bench::Emit({.figure = absl::StrCat("start with ", breakers, " stored breakers"),
               .measured = absl::ToDoubleSeconds(absl::Now() - start),
               .unit = "s",
               .target = "seconds"});
  const int64_t resident = bench::ResidentBytes(getpid()) - resident_before;
  bench::Emit({.figure = "resident memory a started breaker, all in",
               .measured = static_cast<double>(resident) / breakers,
               .unit = "bytes"});
  return 0;
}

}  // namespace
}  // namespace breaker::server

int main(int argc, char** argv) { return breaker::server::Main(argc, argv); }
