// Unary Acquire and Report against a no-op rpc with the same messages: the daemon and a no-op
// server with the same settings in one process, the load in another, over loopback. The two are
// measured in turns, slice by slice, so that what else the machine does hits both; the ratio is the
// median of the slices' ratios.
//
//   rpc_bench [--slices=10] [--slice=1s] [--channels=4] [--depth=16]

#include <grpcpp/grpcpp.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "breaker/v1/breaker.grpc.pb.h"
#include "no_op.grpc.pb.h"
#include "server/daemon.h"
#include "server/rpc/server_settings.h"
#include "tests/support/channel.h"
#include "tests/support/temp_dir.h"

namespace breaker::server {
namespace {

constexpr int kKeys = 1000;

class NoOpService : public bench::NoOp::CallbackService {
 public:
  grpc::ServerUnaryReactor* Acquire(grpc::CallbackServerContext* context, const v1::AcquireRequest*,
                                    v1::AcquireResponse* response) override {
    // An answer of the size that a worker gets.
    response->set_allowed(true);
    response->set_permit_id(0x123456789abcdef0);
    response->set_state(v1::CLOSED);
    response->set_generation(1);
    return Finish(context);
  }
  grpc::ServerUnaryReactor* Report(grpc::CallbackServerContext* context, const v1::ReportRequest*,
                                   v1::ReportResponse* response) override {
    response->set_state(v1::CLOSED);
    response->set_disposition(v1::ReportResponse::COUNTED);
    response->set_generation(1);
    return Finish(context);
  }

 private:
  static grpc::ServerUnaryReactor* Finish(grpc::CallbackServerContext* context) {
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

struct Ports {
  int daemon;
  int no_op;
};

// Serves both until it is killed; tells the ports through `fd`.
[[noreturn]] void Serve(int fd, const std::string& data_dir) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const SystemClock clock;
  DaemonOptions options;
  options.listen = "127.0.0.1:0";
  options.data_dir = data_dir;
  const auto daemon = Daemon::Start(options, &clock);
  if (!daemon.ok()) abort();

  Ports ports{(*daemon)->port(), 0};
  NoOpService no_op;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &ports.no_op);
  builder.RegisterService(&no_op);
  ApplyServerSettings(&builder);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (write(fd, &ports, sizeof ports) != sizeof ports) abort();
  server->Wait();
  abort();
}

// Calls of one kind, `channels` x `depth` under way at any time.
template <typename Stub>
class Load {
 public:
  // Begins call number `n`; `done` is to be called when it has ended.
  using Begin = std::function<void(Stub&, size_t n, std::function<void()> done)>;

  Load(int port, int channels, int depth) : depth_(depth) {
    for (int i = 0; i < channels; ++i) {
      stubs_.push_back(std::make_unique<Stub>(NewChannel(absl::StrCat("127.0.0.1:", port))));
    }
  }

  // Calls a second, over `length`.
  double Run(absl::Duration length, const Begin& begin) {
    begin_ = begin;
    calls_ = 0;
    const absl::Time start = absl::Now();
    until_ = start + length;
    under_way_ = static_cast<int>(stubs_.size()) * depth_;
    for (auto& stub : stubs_) {
      for (int i = 0; i < depth_; ++i) Next(*stub);
    }
    std::unique_lock<std::mutex> lock(mu_);
    idle_.wait(lock, [this] { return under_way_ == 0; });
    return static_cast<double>(calls_) / absl::ToDoubleSeconds(absl::Now() - start);
  }

 private:
  void Next(Stub& stub) {
    const size_t n = calls_.fetch_add(1, std::memory_order_relaxed);
    begin_(stub, n, [this, &stub] {
      if (absl::Now() < until_) {
        Next(stub);
        return;
      }
      const std::lock_guard<std::mutex> lock(mu_);
      if (--under_way_ == 0) idle_.notify_one();
    });
  }

  const int depth_;
  std::vector<std::unique_ptr<Stub>> stubs_;
  Begin begin_;
  absl::Time until_;
  std::atomic<size_t> calls_{0};
  std::mutex mu_;
  std::condition_variable idle_;
  int under_way_ = 0;
};

// A call with all that lives as long as it.
template <typename Request, typename Response>
struct Call {
  grpc::ClientContext context;
  Request request;
  Response response;
};

void MustBeOk(const grpc::Status& status) {
  if (status.ok()) return;
  fprintf(stderr, "rpc_bench: %s\n", status.error_message().c_str());
  abort();
}

template <typename Request>
void SetKey(size_t n, Request* request) {
  request->set_service("service");
  request->set_operation(absl::StrCat("operation-", n % kKeys));
  request->set_worker_id("worker-1");
}

// A policy such as a worker brings; every field it leaves out takes the default.
v1::Policy WorkerPolicy() {
  v1::Policy policy;
  policy.set_failure_threshold(3);
  policy.mutable_recovery_timeout()->set_seconds(20);
  policy.mutable_expected_response_time()->set_nanos(500'000'000);
  policy.mutable_monitoring_window()->set_seconds(60);
  policy.set_minimum_request_count(5);
  return policy;
}

template <typename Stub>
void BeginAcquire(Stub& stub, size_t n, bool with_policy, std::function<void()> done) {
  auto* call = new Call<v1::AcquireRequest, v1::AcquireResponse>;
  SetKey(n, &call->request);
  if (with_policy) *call->request.mutable_policy() = WorkerPolicy();
  stub.async()->Acquire(&call->context, &call->request, &call->response,
                        [call, done](const grpc::Status& status) {
                          MustBeOk(status);
                          delete call;
                          done();
                        });
}

template <typename Stub>
void BeginReport(Stub& stub, size_t n, uint64_t permit_id, std::function<void()> done) {
  auto* call = new Call<v1::ReportRequest, v1::ReportResponse>;
  SetKey(n, &call->request);
  call->request.set_permit_id(permit_id);
  call->request.set_outcome(v1::SUCCESS);
  call->request.mutable_duration()->set_nanos(12'000'000);
  stub.async()->Report(&call->context, &call->request, &call->response,
                       [call, done](const grpc::Status& status) {
                         MustBeOk(status);
                         delete call;
                         done();
                       });
}

template <typename Stub>
void BeginPair(Stub& stub, size_t n, std::function<void()> done) {
  auto* call = new Call<v1::AcquireRequest, v1::AcquireResponse>;
  SetKey(n, &call->request);
  stub.async()->Acquire(&call->context, &call->request, &call->response,
                        [call, &stub, n, done](const grpc::Status& status) {
                          MustBeOk(status);
                          BeginReport(stub, n, call->response.permit_id(), done);
                          delete call;
                        });
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Options {
  int slices = 10;
  absl::Duration slice = absl::Seconds(1);
  int channels = 4;
  int depth = 16;
};

void Compare(const char* name, const Options& options, const Ports& ports, const auto& begin) {
  using DaemonStub = v1::CircuitBreaker::Stub;
  using NoOpStub = bench::NoOp::Stub;
  Load<DaemonStub> daemon(ports.daemon, options.channels, options.depth);
  Load<NoOpStub> no_op(ports.no_op, options.channels, options.depth);
  std::vector<double> ours, theirs, ratios;
  for (int i = -1; i < options.slices; ++i) {  // the first pair warms up
    double us, them;
    if (i % 2 == 0) {
      us = daemon.Run(options.slice, begin);
      them = no_op.Run(options.slice, begin);
    } else {
      them = no_op.Run(options.slice, begin);
      us = daemon.Run(options.slice, begin);
    }
    if (i < 0) continue;
    ours.push_back(us);
    theirs.push_back(them);
    ratios.push_back(us / them);
  }
  printf("%s|%.0f calls/s|%.0f calls/s no-op|%.2f (slices %.2f..%.2f)|>= 0.9\n", name, Median(ours),
         Median(theirs), Median(ratios), *std::min_element(ratios.begin(), ratios.end()),
         *std::max_element(ratios.begin(), ratios.end()));
  fflush(stdout);
}

int Main(int argc, char** argv) {
  Options options;
  std::string slice = "1s";
  CLI::App app("Unary Acquire and Report against a no-op rpc with the same messages.");
  app.add_option("--slices", options.slices)->check(CLI::PositiveNumber);
  app.add_option("--slice", slice);
  app.add_option("--channels", options.channels)->check(CLI::PositiveNumber);
  app.add_option("--depth", options.depth)->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);
  if (!absl::ParseDuration(slice, &options.slice)) return 2;

  // The server process is made before gRPC starts in this one.
  const TempDir dir;
  int fds[2];
  if (pipe(fds) != 0) return 1;
  const pid_t server = fork();
  if (server == 0) Serve(fds[1], dir.path());
  Ports ports;
  if (read(fds[0], &ports, sizeof ports) != sizeof ports) return 1;

  Compare("rpc Acquire", options, ports,
          [](auto& stub, size_t n, auto done) { BeginAcquire(stub, n, false, std::move(done)); });
  Compare("rpc Acquire with a policy", options, ports,
          [](auto& stub, size_t n, auto done) { BeginAcquire(stub, n, true, std::move(done)); });
  Compare("rpc Report", options, ports,
          [](auto& stub, size_t n, auto done) { BeginReport(stub, n, 0, std::move(done)); });
  Compare("rpc Acquire, then Report", options, ports,
          [](auto& stub, size_t n, auto done) { BeginPair(stub, n, std::move(done)); });

  kill(server, SIGKILL);
  waitpid(server, nullptr, 0);
  return 0;
}

}  // namespace
}  // namespace breaker::server

int main(int argc, char** argv) { return breaker::server::Main(argc, argv); }
