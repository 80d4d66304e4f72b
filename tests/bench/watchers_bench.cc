// What 2,000 watchers with 100 subscriptions each cost the daemon: its memory, its processor time
// while nothing happens, and whether it keeps memory of watchers that come and go while circuits
// open and close.
//
//   watchers_bench [--watchers=2000] [--idle=10s] [--churn=10m]

#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "breaker/v1/breaker.grpc.pb.h"
#include "tests/bench/die.h"
#include "tests/bench/options.h"
#include "tests/bench/process_usage.h"
#include "tests/bench/row.h"
#include "tests/bench/server_process.h"
#include "tests/bench/watcher.h"
#include "tests/support/channel.h"
#include "tests/support/eventually.h"
#include "tests/support/temp_dir.h"

namespace breaker::bench {
namespace {

constexpr int kBreakers = 1000;
constexpr int kSubscriptions = 100;
constexpr int kWatchersAConnection = 10;
constexpr double kMegabyte = 1 << 20;

// Opens at the first failure, and is to be probed soon.
v1::Policy NervousPolicy() {
  v1::Policy policy;
  policy.set_failure_threshold(1);
  policy.set_minimum_request_count(1);
  policy.mutable_recovery_timeout()->set_nanos(100'000'000);
  return policy;
}

std::string Operation(int breaker) { return absl::StrCat("operation-", breaker % kBreakers); }

// The connections of the fleet's workers; which watcher is on which changes as they come and go.
class Crowd {
 public:
  Crowd(std::string target, int watchers) : target_(std::move(target)) {
    // Every watcher follows another hundred of the breakers.
    for (int first = 0; first < kBreakers; first += kSubscriptions / 2) {
      v1::WatchRequest& request = requests_.emplace_back();
      request.set_worker_id(absl::StrCat("worker-", first));
      for (int i = 0; i < kSubscriptions; ++i) {
        v1::Subscription* const subscription = request.add_subscribe();
        subscription->set_service("service");
        subscription->set_operation(Operation(first + i));
        *subscription->mutable_policy() = NervousPolicy();
      }
    }
    for (int i = 0; i < watchers / kWatchersAConnection; ++i) Arrive();
  }

  // A connection more, with its watchers.
  void Arrive() {
    Connection& connection = connections_.emplace_back();
    connection.stub = std::make_unique<v1::CircuitBreaker::Stub>(NewChannel(target_));
    for (int i = 0; i < kWatchersAConnection; ++i) Watch(connection);
  }

  // The oldest connection goes, with its watchers.
  void Leave() { connections_.pop_front(); }

  // On some connection one watcher goes and another comes.
  void Replace() {
    Connection& connection = connections_[random_() % connections_.size()];
    connection.watchers.pop_front();
    Watch(connection);
  }

  int64_t updates() const { return updates_; }

 private:
  struct Connection {
    Connection() = default;
    Connection(Connection&&) = default;
    ~Connection() {
      for (const auto& watcher : watchers) watcher->Cancel();
    }
    std::unique_ptr<v1::CircuitBreaker::Stub> stub;
    std::deque<std::unique_ptr<Watcher>> watchers;
  };

  void Watch(Connection& connection) {
    connection.watchers.push_back(std::make_unique<Watcher>(
        *connection.stub, &requests_[random_() % requests_.size()],
        [this](const v1::WatchResponse& message) { updates_ += message.updates_size(); }));
  }

  const std::string target_;
  std::minstd_rand random_{1};
  std::deque<v1::WatchRequest> requests_;
  std::atomic<int64_t> updates_{0};
  std::deque<Connection> connections_;
};

// Opens circuits and lets them recover, one a call.
class Outages {
 public:
  explicit Outages(const std::string& target) : stub_(NewChannel(target)) {}

  void Next() {
    Fail(breaker_);
    // Those that opened a while ago are ready for their probe.
    if (breaker_ >= kOpenAtOnce) Recover(breaker_ - kOpenAtOnce);
    ++breaker_;
  }

 private:
  static constexpr int kOpenAtOnce = 50;

  void Fail(int breaker) {
    v1::ReportRequest request;
    request.set_service("service");
    request.set_operation(Operation(breaker));
    request.set_outcome(v1::FAILURE);
    Report(request);
  }

  void Recover(int breaker) {
    grpc::ClientContext context;
    v1::AcquireRequest request;
    request.set_service("service");
    request.set_operation(Operation(breaker));
    *request.mutable_policy() = NervousPolicy();
    v1::AcquireResponse response;
    MustBeOk(stub_.Acquire(&context, request, &response), "Acquire");
    if (!response.allowed()) return;
    v1::ReportRequest report;
    report.set_service(request.service());
    report.set_operation(request.operation());
    report.set_permit_id(response.permit_id());
    report.set_outcome(v1::SUCCESS);
    Report(report);
  }

  void Report(const v1::ReportRequest& request) {
    grpc::ClientContext context;
    v1::ReportResponse response;
    MustBeOk(stub_.Report(&context, request, &response), "Report");
  }

  v1::CircuitBreaker::Stub stub_;
  int breaker_ = 0;
};

double Megabytes(const ServerProcess& server) {
  return static_cast<double>(ResidentBytes(server.pid())) / kMegabyte;
}

void MeasureCalm(const ServerProcess& server, double before, int watchers, absl::Duration idle) {
  const std::string crowd =
      absl::StrCat(watchers, " watchers with ", kSubscriptions, " subscriptions each");
  const double with = Megabytes(server);
  Emit({.figure = absl::StrCat("resident memory of the daemon, ", crowd),
        .measured = with,
        .unit = "MB",
        .against = "without them",
        .against_value = before,
        .distribution = {{"bytes a subscription",
                          (with - before) * kMegabyte / (double{kSubscriptions} * watchers)}}});
  const absl::Duration cpu_before = CpuTime(server.pid());
  const absl::Time start = absl::Now();
  absl::SleepFor(idle);
  const double share = absl::FDivDuration(CpuTime(server.pid()) - cpu_before, absl::Now() - start);
  Emit({.figure = absl::StrCat("idle CPU of the daemon, ", crowd),
        .measured = 100 * share,
        .unit = "% of a core"});
}

// In a second about 200 watchers and 5 connections come and go, and 100 circuits open and close.
void MeasureChurn(const ServerProcess& server, Crowd& crowd, absl::Duration length) {
  Outages outages(server.target());
  const auto churn_until = [&](absl::Time end) {
    for (int tick = 0; absl::Now() < end; ++tick) {
      outages.Next();
      crowd.Replace();
      crowd.Replace();
      if (tick % 20 == 0) {
        crowd.Arrive();
        crowd.Leave();
      }
      absl::SleepFor(absl::Milliseconds(10));
    }
  };
  // What the first of each kind takes is no growth.
  const absl::Time start = absl::Now();
  churn_until(start + 0.1 * length);
  const double at_start = Megabytes(server);
  churn_until(start + 0.55 * length);
  const double middle = Megabytes(server);
  const int64_t updates_before = crowd.updates();
  churn_until(start + length);
  const double at_end = Megabytes(server);
  if (crowd.updates() == updates_before) Die("the watchers heard of no transition");
  Emit({.figure = absl::StrCat("resident memory of the daemon, watchers come and go for ",
                               absl::FormatDuration(length)),
        .measured = at_end,
        .unit = "MB",
        .against = "at the start",
        .against_value = at_start,
        .ratio = RatioOf({at_end}, {at_start}),
        .target = "<= 1.05",
        .distribution = {{"start", at_start}, {"middle", middle}, {"end", at_end}}});
}

int Main(int argc, char** argv) {
  int watchers = 2000;
  absl::Duration idle = absl::Seconds(10);
  absl::Duration churn = absl::Minutes(10);
  CLI::App app("What watchers cost the daemon.");
  app.add_option("--watchers", watchers)->check(CLI::PositiveNumber);
  AddDuration(app, "--idle", idle);
  AddDuration(app, "--churn", churn);
  CLI11_PARSE(app, argc, argv);

  const TempDir dir;
  const ServerProcess server([&] { return std::vector<int>{ServeDaemon(dir.path())}; });
  const double before = Megabytes(server);
  Crowd crowd(server.target(), watchers);
  const int64_t first_updates = int64_t{watchers} * kSubscriptions;
  if (!Eventually([&] { return crowd.updates() >= first_updates; }, absl::Minutes(1))) {
    Die("not all watchers heard of all breakers");
  }
  MeasureCalm(server, before, watchers, idle);
  MeasureChurn(server, crowd, churn);
  return 0;
}

}  // namespace
}  // namespace breaker::bench

int main(int argc, char** argv) { return breaker::bench::Main(argc, argv); }
