// Guarded calls a second in one worker process: threads that call a function which does nothing,
// each guarded by a circuit breaker. The breaker is breakerd's in the client's cached mode,
// breakerd's asked at each call, or one in Redis.
//
//   guarded_bench [--slices=10] [--slice=1s] [--threads=4]

#include <CLI/CLI.hpp>
#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "breaker/client.h"
#include "tests/bench/clients.h"
#include "tests/bench/die.h"
#include "tests/bench/options.h"
#include "tests/bench/redis_breaker.h"
#include "tests/bench/row.h"
#include "tests/bench/server_process.h"
#include "tests/bench/turns.h"
#include "tests/support/temp_dir.h"

namespace breaker::bench {
namespace {

const Key& kKey = *new Key{"users", "get"};
constexpr char kRedisKey[] = "breaker:users:get";
// Between two looks at the clock.
constexpr int kCallsAtOnce = 16;

// The guarded function.
absl::Status CallDependency() {
  asm volatile("" ::: "memory");
  return absl::OkStatus();
}

// Makes kCallsAtOnce guarded calls in the thread with this number.
using MakeCalls = std::function<void(int thread)>;

// Calls a second on so many threads.
double Rate(int threads, absl::Duration length, const MakeCalls& make_calls) {
  std::atomic<int64_t> calls{0};
  const absl::Time start = absl::Now();
  std::vector<std::thread> workers;
  for (int thread = 0; thread < threads; ++thread) {
    workers.emplace_back([&, thread] {
      int64_t made = 0;
      while (absl::Now() < start + length) {
        make_calls(thread);
        made += kCallsAtOnce;
      }
      calls += made;
    });
  }
  for (std::thread& worker : workers) worker.join();
  return static_cast<double>(calls) / absl::ToDoubleSeconds(absl::Now() - start);
}

MakeCalls ThroughClient(Client& client) {
  return [&client](int) {
    for (int i = 0; i < kCallsAtOnce; ++i) {
      Permit permit = MustAcquire(client, kKey);
      if (CallDependency().ok()) permit.Success();
    }
  };
}

MakeCalls ThroughRedis(std::vector<RedisBreakers>& connections) {
  return [&connections](int thread) {
    RedisBreakers& redis = connections[static_cast<size_t>(thread)];
    for (int i = 0; i < kCallsAtOnce; ++i) {
      const RedisBreakers::Permit permit = redis.Acquire(kRedisKey);
      if (!permit.allowed) Die("a call was refused");
      redis.Report(kRedisKey, permit, CallDependency().ok());
    }
  };
}

MakeCalls ThroughRedisPipelined(std::vector<RedisBreakers>& connections) {
  return [&connections](int thread) {
    RedisBreakers& redis = connections[static_cast<size_t>(thread)];
    std::vector<RedisBreakers::Permit> permits(kCallsAtOnce);
    redis.AcquireMany(kRedisKey, permits);
    for (const RedisBreakers::Permit& permit : permits) {
      if (!permit.allowed || !CallDependency().ok()) Die("a call was refused");
    }
    redis.ReportMany(kRedisKey, permits, true);
  };
}

// What is measured must be a circuit breaker.
void CheckThatRedisTrips(const RedisServer& server) {
  RedisBreakers redis = RedisBreakers::OverTcp(server);
  for (int failure = 0; failure < 5; ++failure) {
    const RedisBreakers::Permit permit = redis.Acquire("check");
    if (!permit.allowed || !redis.Report("check", permit, false)) Die("Redis trips too early");
  }
  if (redis.Acquire("check").allowed) Die("Redis does not trip");
}

int Main(int argc, char** argv) {
  Slices slices;
  int threads = 4;
  CLI::App app("Guarded calls a second in one worker process.");
  AddSlices(app, slices);
  app.add_option("--threads", threads)->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);

  const TempDir dir;
  const ServerProcess server([&] { return std::vector<int>{ServeDaemon(dir.path())}; });
  const RedisServer redis;
  CheckThatRedisTrips(redis);
  Client cached(CachedClient(server.target()));
  Client remote(RemoteClient(server.target()));
  WarmUp(cached, kKey);
  std::vector<RedisBreakers> tcp, unix_socket;
  for (int i = 0; i < threads; ++i) {
    tcp.push_back(RedisBreakers::OverTcp(redis));
    unix_socket.push_back(RedisBreakers::OverUnixSocket(redis));
  }

  const auto rate = [&](MakeCalls make_calls) {
    return [&, make_calls] { return Rate(threads, slices.length, make_calls); };
  };
  const std::vector<std::vector<double>> rates =
      InTurns(slices.count,
              {rate(ThroughClient(cached)), rate(ThroughClient(remote)), rate(ThroughRedis(tcp)),
               rate(ThroughRedis(unix_socket)), rate(ThroughRedisPipelined(unix_socket))});
  const auto compare = [&](const char* against, const std::vector<double>& theirs,
                           const char* target) {
    Emit({.figure = "guarded calls, cached",
          .measured = Median(rates[0]),
          .unit = "calls/s",
          .against = against,
          .against_value = Median(theirs),
          .ratio = RatioOf(rates[0], theirs),
          .target = target});
  };
  compare("remote", rates[1], ">= 50");
  compare("Redis", rates[2], ">= 50");
  compare("Redis, unix socket", rates[3], "");
  compare("Redis, unix socket, 16 calls at once", rates[4], "");
  Emit({.figure = "guarded calls, remote",
        .measured = Median(rates[1]),
        .unit = "calls/s",
        .against = "Redis",
        .against_value = Median(rates[2]),
        .ratio = RatioOf(rates[1], rates[2])});
  return 0;
}

}  // namespace
}  // namespace breaker::bench

int main(int argc, char** argv) { return breaker::bench::Main(argc, argv); }
