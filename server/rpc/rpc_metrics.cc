#include "server/rpc/rpc_metrics.h"

#include <string>

#include "absl/time/time.h"
#include "server/rpc/grpc_status.h"

namespace breaker::server {
namespace {

constexpr std::array<const char*, kMethods> kNames = {
    "Acquire",      "Report",       "ReportBatch", "GetStats",      "ListStats", "SetPolicy",
    "DeletePolicy", "ListPolicies", "SetOverride", "ClearOverride", "Reset",     "Delete"};

// In seconds. A decision takes microseconds, a transition waits for the disk.
const prometheus::Histogram::BucketBoundaries kDurations = {
    5e-6, 10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 0.1, 1};
const prometheus::Histogram::BucketBoundaries kRuns = {1,   2,   5,    10,   20,   50,   100,
                                                       200, 500, 1000, 2000, 5000, 10000};

}  // namespace

const char* Name(Method method) { return kNames[static_cast<size_t>(method)]; }

RpcMetrics::RpcMetrics(prometheus::Registry* registry, const Clock* clock) : clock_(clock) {
  prometheus::Family<prometheus::Histogram>& durations =
      prometheus::BuildHistogram()
          .Name("breakerd_rpc_duration_seconds")
          .Help("From the moment that an rpc is handled until it is answered.")
          .Register(*registry);
  for (size_t i = 0; i < kMethods; ++i) {
    durations_[i] = &durations.Add({{"method", kNames[i]}}, kDurations);
  }
  errors_ = &prometheus::BuildCounter()
                 .Name("breakerd_rpc_errors_total")
                 .Help("Rpcs answered with an error; a refused call is none.")
                 .Register(*registry);
  batch_runs_ = &prometheus::BuildHistogram()
                     .Name("breakerd_report_batch_runs")
                     .Help("Runs of outcomes in a ReportBatch.")
                     .Register(*registry)
                     .Add({}, kRuns);
}

void RpcMetrics::Call::Ends(const grpc::Status& status) const {
  const absl::Duration took = metrics_->clock_->Now().mono - began_;
  metrics_->durations_[static_cast<size_t>(method_)]->Observe(absl::ToDoubleSeconds(took));
  if (status.ok()) return;
  metrics_->errors_->Add({{"method", Name(method_)}, {"code", Name(status.error_code())}})
      .Increment();
}

}  // namespace breaker::server
