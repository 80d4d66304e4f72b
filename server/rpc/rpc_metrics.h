#ifndef BREAKER_RPC_RPC_METRICS_H_
#define BREAKER_RPC_RPC_METRICS_H_

#include <grpcpp/grpcpp.h>
#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <array>
#include <cstddef>
#include <vector>

#include "server/engine/clock.h"

namespace breaker::server {

// The rpcs that are measured: all but Watch and Backup, which last.
enum class Method {
  kAcquire,
  kReport,
  kReportBatch,
  kGetStats,
  kListStats,
  kSetPolicy,
  kDeletePolicy,
  kListPolicies,
  kSetOverride,
  kClearOverride,
  kReset,
  kDelete,
};
inline constexpr size_t kMethods = 12;

// As in the contract: "Acquire".
const char* Name(Method method);

// What rpcs take and how they end, as metrics. Thread-safe.
class RpcMetrics {
 public:
  // Neither is owned; both must outlive this.
  RpcMetrics(prometheus::Registry* registry, const Clock* clock);

  RpcMetrics(const RpcMetrics&) = delete;
  RpcMetrics& operator=(const RpcMetrics&) = delete;

  // One call, from the moment that its handler begins until it is answered.
  class Call {
   public:
    Call(RpcMetrics* metrics, Method method)
        : metrics_(metrics), method_(method), began_(metrics->clock_->Now().mono) {}
    Method method() const { return method_; }
    // To be called once, right before the call is finished.
    void Ends(const grpc::Status& status) const;

   private:
    RpcMetrics* metrics_;
    Method method_;
    MonotonicTime began_;
  };

  // The runs of a ReportBatch.
  void BatchHas(size_t runs) { batch_runs_->Observe(static_cast<double>(runs)); }

 private:
  const Clock* const clock_;
  std::array<prometheus::Histogram*, kMethods> durations_;
  prometheus::Family<prometheus::Counter>* errors_;
  prometheus::Histogram* batch_runs_;
};

}  // namespace breaker::server

#endif  // BREAKER_RPC_RPC_METRICS_H_
