// How far workers overshoot: cached clients call as fast as they can, and all at once their
// dependency fails each call. How many calls each worker still lets through after the daemon has
// opened the circuit, and how long after that it refuses its first call; that against how long such
// a busy worker takes to see a message that a bare server pushes to all of them.
//
//   overshoot_bench [--rounds=20] [--workers=8]

#include <grpcpp/grpcpp.h>
#include <sys/mman.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
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
#include "no_op.grpc.pb.h"
#include "tests/bench/clients.h"
#include "tests/bench/die.h"
#include "tests/bench/row.h"
#include "tests/bench/server_process.h"
#include "tests/bench/turns.h"
#include "tests/bench/watcher.h"
#include "tests/support/channel.h"
#include "tests/support/eventually.h"
#include "tests/support/temp_dir.h"

namespace breaker::bench {
namespace {

constexpr int kMaxWorkers = 64;
constexpr int kMaxFailedCalls = 1 << 20;
// With all workers calling, before the dependency dies.
constexpr absl::Duration kGoodTimes = absl::Milliseconds(300);

// What a worker saw in the round. Times are nanoseconds of Unix time.
struct Sightings {
  std::atomic<bool> calling;
  std::atomic<bool> over;  // it has seen the end, and the rest may be read
  int64_t pushed_at;       // of what the bare server pushed
  int64_t saw_end_at;      // refused, or saw what was pushed
  int failed_calls;
  int64_t failed_at[kMaxFailedCalls];
};

// Shared by the processes: this one leads, the workers follow.
struct Stage {
  std::atomic<int> round;  // from 1
  // In a round without a breaker the workers wait for the bare server's push.
  std::atomic<bool> with_breaker;
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

absl::Time ToTime(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

v1::WatchResponse BarePush() {
  v1::WatchResponse message;
  v1::CircuitUpdate* const update = message.add_updates();
  update->set_service("dependency");
  update->set_operation("bare");
  update->set_state(v1::OPEN);
  return message;
}

// A worker process. It follows the leader's rounds until it is killed.
class Worker {
 public:
  Worker(Stage& stage, int number, const ServerProcess& server)
      : stage_(stage),
        mine_(stage.sightings[number]),
        client_(CachedClient(server.target(0), absl::StrCat("worker-", number))),
        no_op_(NewChannel(server.target(1))),
        watcher_(no_op_, &no_subscriptions_, [this](const v1::WatchResponse& message) {
          if (message.updates().empty()) return;
          pushed_at_ = absl::ToUnixNanos(ToTime(message.updates(0).transition().time()));
        }) {}

  [[noreturn]] void Run() {
    for (int round = 1;; ++round) {
      while (stage_.round < round) absl::SleepFor(absl::Milliseconds(1));
      const Key key = KeyOf(round);
      WarmUp(client_, key);
      pushed_at_ = 0;
      mine_.calling = true;
      if (stage_.with_breaker) {
        while (!IsRefusal(Call(key)))
          ;
      } else {
        while (pushed_at_ == 0) Call(key).IgnoreError();
        mine_.pushed_at = pushed_at_;
      }
      mine_.saw_end_at = absl::GetCurrentTimeNanos();
      mine_.over = true;
    }
  }

 private:
  absl::Status Call(const Key& key) {
    return client_.Execute(key, [this] {
      const int64_t nanos = stage_.call_nanos.load(std::memory_order_relaxed);
      if (nanos > 0) absl::SleepFor(absl::Nanoseconds(nanos));
      if (!stage_.dependency_is_dead.load(std::memory_order_relaxed)) return absl::OkStatus();
      if (mine_.failed_calls == kMaxFailedCalls) Die("the circuit does not open");
      mine_.failed_at[mine_.failed_calls++] = absl::GetCurrentTimeNanos();
      return absl::UnavailableError("dead");
    });
  }

  Stage& stage_;
  Sightings& mine_;
  Client client_;
  const v1::WatchRequest no_subscriptions_;
  NoOp::Stub no_op_;
  std::atomic<int64_t> pushed_at_{0};
  Watcher watcher_;
};

// Of all workers in all rounds.
struct Overshoots {
  std::vector<double> calls;
  // In milliseconds: from the trip to the first refusal, and from a bare push to its sight.
  std::vector<double> refusals, bare;
};

class Leader {
 public:
  Leader(Stage& stage, int workers, const ServerProcess& server)
      : stage_(stage),
        workers_(workers),
        daemon_(NewChannel(server.target(0))),
        no_op_(NewChannel(server.target(1))) {
    grpc::ClientContext context;
    google::protobuf::Empty ignored;
    MustBeOk(no_op_.SetPush(&context, BarePush(), &ignored), "SetPush");
  }

  // The median time of the round's workers to their first refusal.
  double RoundWithBreaker(Overshoots& overshoots) {
    Begin(true);
    stage_.dependency_is_dead = true;
    AwaitAll(&Sightings::over);
    const absl::Time trip = TripTime();
    std::vector<double> times;
    for (int i = 0; i < workers_; ++i) {
      const Sightings& worker = stage_.sightings[i];
      times.push_back(absl::ToDoubleMilliseconds(absl::FromUnixNanos(worker.saw_end_at) - trip));
      overshoots.calls.push_back(static_cast<double>(
          std::count_if(worker.failed_at, worker.failed_at + worker.failed_calls,
                        [&](int64_t time) { return absl::FromUnixNanos(time) > trip; })));
    }
    overshoots.refusals.insert(overshoots.refusals.end(), times.begin(), times.end());
    return Median(times);
  }

  // The median time of the round's workers to the sight of what was pushed.
  double BareRound(Overshoots& overshoots) {
    Begin(false);
    grpc::ClientContext context;
    v1::ReportResponse response;
    MustBeOk(no_op_.Push(&context, v1::ReportRequest(), &response), "Push");
    AwaitAll(&Sightings::over);
    std::vector<double> times;
    for (int i = 0; i < workers_; ++i) {
      const Sightings& worker = stage_.sightings[i];
      times.push_back(
          absl::ToDoubleMilliseconds(absl::Nanoseconds(worker.saw_end_at - worker.pushed_at)));
    }
    overshoots.bare.insert(overshoots.bare.end(), times.begin(), times.end());
    return Median(times);
  }

 private:
  void Begin(bool with_breaker) {
    for (int i = 0; i < workers_; ++i) {
      stage_.sightings[i].calling = stage_.sightings[i].over = false;
      stage_.sightings[i].failed_calls = 0;
    }
    stage_.dependency_is_dead = false;
    stage_.with_breaker = with_breaker;
    ++stage_.round;
    AwaitAll(&Sightings::calling);
    absl::SleepFor(kGoodTimes);
  }

  void AwaitAll(std::atomic<bool> Sightings::*flag) {
    const absl::Time deadline = absl::Now() + absl::Seconds(30);
    while (!std::all_of(stage_.sightings, stage_.sightings + workers_,
                        [flag](const Sightings& worker) { return (worker.*flag).load(); })) {
      if (absl::Now() > deadline) Die("a worker does not call, or is never refused");
      absl::SleepFor(absl::Milliseconds(1));
    }
  }

  // When the daemon opened the circuit.
  absl::Time TripTime() {
    grpc::ClientContext context;
    v1::GetStatsRequest request;
    request.set_service(KeyOf(stage_.round).service);
    request.set_operation(KeyOf(stage_.round).operation);
    v1::CircuitStats stats;
    MustBeOk(daemon_.GetStats(&context, request, &stats), "GetStats");
    if (stats.recent_transitions().empty()) Die("the daemon did not open the circuit");
    return ToTime(stats.recent_transitions(0).time());
  }

  Stage& stage_;
  const int workers_;
  v1::CircuitBreaker::Stub daemon_;
  NoOp::Stub no_op_;
};

void Measure(Leader& leader, int rounds, const std::string& who) {
  Overshoots overshoots;
  const auto medians = InTurns(rounds, {[&] { return leader.RoundWithBreaker(overshoots); },
                                        [&] { return leader.BareRound(overshoots); }});
  Emit({.figure = "calls let through after the trip, a worker; " + who,
        .measured = Median(overshoots.calls),
        .unit = "calls",
        .distribution = {{"p90", Quantile(overshoots.calls, 0.9)},
                         {"max", Quantile(overshoots.calls, 1)}}});
  Emit({.figure = "from the trip to a worker's first refusal; " + who,
        .measured = Median(overshoots.refusals),
        .unit = "ms",
        .against = "no-op push",
        .against_value = Median(overshoots.bare),
        .ratio = RatioOf(medians[0], medians[1]),
        .distribution = {{"p90", Quantile(overshoots.refusals, 0.9)},
                         {"max", Quantile(overshoots.refusals, 1)},
                         {"no-op p90", Quantile(overshoots.bare, 0.9)},
                         {"no-op max", Quantile(overshoots.bare, 1)}}});
}

int Main(int argc, char** argv) {
  int rounds = 20;
  int workers = 8;
  CLI::App app("How many calls workers let through after a circuit has opened.");
  app.add_option("--rounds", rounds)->check(CLI::PositiveNumber);
  app.add_option("--workers", workers)->check(CLI::Range(1, kMaxWorkers));
  CLI11_PARSE(app, argc, argv);

  const TempDir dir;
  const ServerProcess server(DaemonAndNoOp(dir.path()));
  Stage& stage = *Stage::New();
  std::vector<std::unique_ptr<ForkedProcess>> processes;
  for (int i = 0; i < workers; ++i) {
    processes.push_back(
        std::make_unique<ForkedProcess>([&, i] { Worker(stage, i, server).Run(); }));
  }
  Leader leader(stage, workers, server);
  for (const absl::Duration call : {absl::ZeroDuration(), absl::Milliseconds(1)}) {
    stage.call_nanos = absl::ToInt64Nanoseconds(call);
    const std::string length = call > absl::ZeroDuration() ? absl::FormatDuration(call) : "no time";
    Measure(leader, rounds, absl::StrCat(workers, " workers, calls of ", length));
  }
  return 0;
}

}  // namespace
}  // namespace breaker::bench

int main(int argc, char** argv) { return breaker::bench::Main(argc, argv); }
