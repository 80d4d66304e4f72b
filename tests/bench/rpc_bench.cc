// Unary Acquire and Report against a no-op rpc with the same messages: the daemon and a no-op
// server with the same settings in one process, the load in another, over loopback.
//
//   rpc_bench [--slices=10] [--slice=1s] [--channels=4] [--depth=16]

#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "breaker/v1/breaker.grpc.pb.h"
#include "tests/bench/die.h"
#include "tests/bench/row.h"
#include "tests/bench/rpc_load.h"
#include "tests/bench/server_process.h"
#include "tests/support/temp_dir.h"

namespace breaker::bench {
namespace {

constexpr int kKeys = 1000;

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
                          MustBeOk(status, "Acquire");
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
                         MustBeOk(status, "Report");
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
                          MustBeOk(status, "Acquire");
                          BeginReport(stub, n, call->response.permit_id(), done);
                          delete call;
                        });
}

int Main(int argc, char** argv) {
  Slices slices;
  LoadOptions load;
  CLI::App app("Unary Acquire and Report against a no-op rpc with the same messages.");
  AddSlices(app, slices);
  AddLoad(app, load);
  CLI11_PARSE(app, argc, argv);

  const TempDir dir;
  const ServerProcess server(DaemonAndNoOp(dir.path()));
  const auto compare = [&](const char* figure, const auto& begin) {
    const Comparison rates = CompareWithNoOp(server, slices, load, begin);
    Emit({.figure = figure,
          .measured = rates.daemon,
          .unit = "calls/s",
          .against = "no-op",
          .against_value = rates.no_op,
          .ratio = rates.ratio,
          .target = ">= 0.9"});
  };
  compare("rpc Acquire", [](auto& stub, const Turn& turn, auto done) {
    BeginAcquire(stub, turn.n, false, std::move(done));
  });
  compare("rpc Acquire with a policy", [](auto& stub, const Turn& turn, auto done) {
    BeginAcquire(stub, turn.n, true, std::move(done));
  });
  compare("rpc Report", [](auto& stub, const Turn& turn, auto done) {
    BeginReport(stub, turn.n, 0, std::move(done));
  });
  compare("rpc Acquire, then Report", [](auto& stub, const Turn& turn, auto done) {
    BeginPair(stub, turn.n, std::move(done));
  });
  return 0;
}

}  // namespace
}  // namespace breaker::bench

int main(int argc, char** argv) { return breaker::bench::Main(argc, argv); }
