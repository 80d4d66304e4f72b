// How long it takes until a policy that an operator has set is in effect for every worker of a
// fleet that is at work, set by rpc and by a ConfigMap that is swapped; against a bare server that
// writes a message of the same size to as many streams. Meanwhile each worker, a cached client,
// makes a hundred calls a second, none of which may be refused.
//
//   policy_bench [--changes=50] [--workers=200]

#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "breaker/client.h"
#include "breaker/v1/admin.grpc.pb.h"
#include "breaker/v1/breaker.grpc.pb.h"
#include "no_op.grpc.pb.h"
#include "tests/bench/audience.h"
#include "tests/bench/clients.h"
#include "tests/bench/die.h"
#include "tests/bench/row.h"
#include "tests/bench/server_process.h"
#include "tests/bench/turns.h"
#include "tests/support/channel.h"
#include "tests/support/temp_dir.h"

namespace breaker::bench {
namespace {

namespace fs = std::filesystem;

const Key kKey = {"service", "operation"};

// Workers at work until the end of the object.
class Fleet {
 public:
  Fleet(const std::string& target, int workers) {
    for (int i = 0; i < workers; ++i) {
      clients_.push_back(
          std::make_unique<Client>(CachedClient(target, absl::StrCat("worker-", i))));
    }
    thread_ = std::thread([this] { Work(); });
  }
  ~Fleet() {
    stop_ = true;
    thread_.join();
  }

 private:
  void Work() {
    while (!stop_) {
      for (const auto& client : clients_) MustAcquire(*client, kKey).Success();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));  // the load
    }
  }

  std::vector<std::unique_ptr<Client>> clients_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// A directory as Kubernetes makes of a ConfigMap, with a file of policies.
class ConfigMap {
 public:
  explicit ConfigMap(fs::path directory) : directory_(std::move(directory)) {
    fs::create_directories(directory_);
    Swap(1);
    fs::create_symlink("..data/policies.yaml", directory_ / "policies.yaml");
  }

  std::string file() const { return directory_ / "policies.yaml"; }

  // Puts a version in place in which the circuit opens after so many failures.
  void Swap(int failures) const {
    const std::string version = absl::StrCat("..", failures);
    fs::create_directory(directory_ / version);
    std::ofstream(directory_ / version / "policies.yaml")
        << "policies: [{service: " << kKey.service << ", operation: " << kKey.operation
        << ", policy: {failure_threshold: " << failures << "}}]\n";
    fs::create_symlink(version, directory_ / "..data_tmp");
    fs::rename(directory_ / "..data_tmp", directory_ / "..data");
  }

 private:
  const fs::path directory_;
};

std::string Threshold(const v1::CircuitUpdate& update) {
  return absl::StrCat(update.policy().failure_threshold());
}

void SetPolicy(v1::BreakerAdmin::Stub& admin, int failures) {
  grpc::ClientContext context;
  v1::SetPolicyRequest request;
  request.set_service(kKey.service);
  request.set_operation(kKey.operation);
  request.mutable_policy()->set_failure_threshold(static_cast<uint32_t>(failures));
  v1::PolicyEntry entry;
  MustBeOk(admin.SetPolicy(&context, request, &entry), "SetPolicy");
}

void DeletePolicy(v1::BreakerAdmin::Stub& admin) {
  grpc::ClientContext context;
  v1::DeletePolicyRequest request;
  request.set_service(kKey.service);
  request.set_operation(kKey.operation);
  google::protobuf::Empty ignored;
  MustBeOk(admin.DeletePolicy(&context, request, &ignored), "DeletePolicy");
}

void Push(NoOp::Stub& no_op) {
  grpc::ClientContext context;
  v1::ReportRequest request;
  v1::ReportResponse response;
  MustBeOk(no_op.Push(&context, request, &response), "Push");
}

void EmitTimes(const std::string& figure, const std::vector<double>& ours,
               const std::vector<double>& bare) {
  Emit({.figure = figure,
        .measured = Median(ours),
        .unit = "ms",
        .against = "no-op push",
        .against_value = Median(bare),
        .ratio = RatioOf(ours, bare),
        .target = "<= 100 ms",
        .distribution = {{"p99", Quantile(ours, 0.99)}, {"max", Quantile(ours, 1)}}});
}

int Main(int argc, char** argv) {
  int changes = 50;
  int workers = 200;
  CLI::App app("How long it takes until a policy is in effect for every worker of a busy fleet.");
  app.add_option("--changes", changes)->check(CLI::PositiveNumber);
  app.add_option("--workers", workers)->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);

  const TempDir dir;
  const ConfigMap config_map(dir / "config");
  const ServerProcess server([&] {
    server::DaemonOptions options;
    options.policies = config_map.file();
    return std::vector<int>{ServeDaemon(dir / "data", options), ServeNoOp()};
  });
  const Fleet fleet(server.target(0), workers);
  v1::WatchRequest subscription;
  subscription.add_subscribe()->set_service(kKey.service);
  subscription.mutable_subscribe(0)->set_operation(kKey.operation);
  // Each on a connection of its own, as the workers' own streams are.
  const AudienceOptions options = {.watchers = workers, .news = Threshold};
  Audience<v1::CircuitBreaker::Stub> audience(server.target(0), options, &subscription);
  Audience<NoOp::Stub> bare_audience(server.target(1), options, &subscription);
  const auto admin = v1::BreakerAdmin::NewStub(NewChannel(server.target(0)));
  const auto no_op = NoOp::NewStub(NewChannel(server.target(1)));

  int failures = 100;
  const auto by_rpc = [&] {
    ++failures;
    return absl::ToDoubleMilliseconds(
        audience.TimeUntilAllKnow(absl::StrCat(failures), [&] { SetPolicy(*admin, failures); }));
  };
  by_rpc();
  {
    grpc::ClientContext context;
    google::protobuf::Empty ignored;
    MustBeOk(no_op->SetPush(&context, audience.last_message(), &ignored), "SetPush");
  }
  const std::string pushed = absl::StrCat(failures);
  const auto bare = [&] {
    return absl::ToDoubleMilliseconds(
        bare_audience.TimeUntilAllKnow(pushed, [&] { Push(*no_op); }));
  };
  const auto rpc_times = InTurns(changes, {by_rpc, bare});
  EmitTimes(absl::StrCat("SetPolicy, until the last of ", workers, " busy workers has it"),
            rpc_times[0], rpc_times[1]);

  DeletePolicy(*admin);  // the file counts again
  const auto by_file = [&] {
    ++failures;
    return absl::ToDoubleMilliseconds(
        audience.TimeUntilAllKnow(absl::StrCat(failures), [&] { config_map.Swap(failures); }));
  };
  const auto file_times = InTurns(changes, {by_file, bare});
  EmitTimes(absl::StrCat("ConfigMap swapped, until the last of ", workers, " busy workers has it"),
            file_times[0], file_times[1]);
  return 0;
}

}  // namespace
}  // namespace breaker::bench

int main(int argc, char** argv) { return breaker::bench::Main(argc, argv); }
