// ReportBatch against a no-op rpc that takes the same messages: 256 runs a message over 1,000
// breakers, and what a run of several equal outcomes carries.
//
//   batch_bench [--slices=10] [--slice=1s] [--channels=4] [--depth=4]

#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "breaker/v1/breaker.grpc.pb.h"
#include "tests/bench/die.h"
#include "tests/bench/row.h"
#include "tests/bench/rpc_load.h"
#include "tests/bench/server_process.h"
#include "tests/support/temp_dir.h"

namespace breaker::bench {
namespace {

constexpr size_t kKeys = 1000;
constexpr size_t kRuns = 256;

// The workers of a load: one in each lane, each with its session, so that every batch is applied.
class Workers {
 public:
  Workers(size_t count, uint32_t outcomes_a_run) : requests_(count) {
    static uint64_t sessions = 0;
    for (size_t i = 0; i < count; ++i) {
      v1::ReportBatchRequest& request = requests_[i];
      request.set_worker_id(absl::StrCat("worker-", i));
      request.set_session_id(++sessions);
      for (size_t run = 0; run < kRuns; ++run) {
        v1::OutcomeRun* const outcome_run = request.add_outcomes();
        outcome_run->set_service("service");
        outcome_run->set_operation(absl::StrCat("operation-", (i * kRuns + run) % kKeys));
        outcome_run->set_generation(1);
        outcome_run->set_outcome(v1::SUCCESS);
        outcome_run->set_count(outcomes_a_run);
      }
    }
  }

  // The next batch of a worker whose last one was answered.
  const v1::ReportBatchRequest& Next(size_t worker) {
    v1::ReportBatchRequest& request = requests_[worker];
    request.set_sequence(request.sequence() + 1);
    return request;
  }

 private:
  std::vector<v1::ReportBatchRequest> requests_;
};

struct BatchCall {
  grpc::ClientContext context;
  v1::ReportBatchResponse response;
};

template <typename Stub>
void BeginBatch(Stub& stub, const v1::ReportBatchRequest& request, std::function<void()> done) {
  auto* call = new BatchCall;
  stub.async()->ReportBatch(&call->context, &request, &call->response,
                            [call, done](const grpc::Status& status) {
                              MustBeOk(status, "ReportBatch");
                              if (call->response.duplicate() || call->response.stale() > 0)
                                Die("a batch did not count");
                              delete call;
                              done();
                            });
}

int Main(int argc, char** argv) {
  Slices slices;
  LoadOptions load{.channels = 4, .depth = 4};
  CLI::App app("ReportBatch against a no-op rpc that takes the same messages.");
  AddSlices(app, slices);
  AddLoad(app, load);
  CLI11_PARSE(app, argc, argv);

  const TempDir dir;
  const ServerProcess server(DaemonAndNoOp(dir.path()));
  for (const uint32_t outcomes : {1u, 4u, 64u}) {
    Workers workers(static_cast<size_t>(load.channels * load.depth), outcomes);
    const Comparison messages =
        CompareWithNoOp(server, slices, load, [&workers](auto& stub, const Turn& turn, auto done) {
          BeginBatch(stub, workers.Next(turn.lane), std::move(done));
        });
    Emit({.figure = absl::StrCat("ReportBatch, ", kRuns, " runs of ", outcomes),
          .measured = messages.daemon * kRuns,
          .unit = "runs/s",
          .against = "no-op",
          .against_value = messages.no_op * kRuns,
          .ratio = messages.ratio,
          .target = ">= 0.6",
          .distribution = {{"outcomes/s", messages.daemon * kRuns * outcomes}}});
  }
  return 0;
}

}  // namespace
}  // namespace breaker::bench

int main(int argc, char** argv) { return breaker::bench::Main(argc, argv); }
