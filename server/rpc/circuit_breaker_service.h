#ifndef BREAKER_RPC_CIRCUIT_BREAKER_SERVICE_H_
#define BREAKER_RPC_CIRCUIT_BREAKER_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include "breaker/v1/breaker.grpc.pb.h"
#include "server/engine/clock.h"
#include "server/engine/registry.h"
#include "server/publisher.h"
#include "server/rpc/access.h"
#include "server/rpc/arena_allocator.h"
#include "server/rpc/rpc_metrics.h"
#include "server/rpc/watch_hub.h"
#include "server/rpc/watch_slots.h"

namespace breaker::server {

// The generated service with all of its rpcs as callbacks and the messages of Watch as bytes.
using RawWatchService = v1::CircuitBreaker::WithRawCallbackMethod_Watch<
    v1::CircuitBreaker::WithCallbackMethod_Acquire<v1::CircuitBreaker::WithCallbackMethod_Report<
        v1::CircuitBreaker::WithCallbackMethod_ReportBatch<
            v1::CircuitBreaker::WithCallbackMethod_GetStats<
                v1::CircuitBreaker::WithCallbackMethod_ListStats<v1::CircuitBreaker::Service>>>>>>;

// What workers call. Each handler checks the request, asks the registry and converts the answer; a
// call that changed a breaker's state is answered when the publisher has it stored, all others at
// once. Thread-safe.
class CircuitBreakerService : public RawWatchService {
 public:
  // None is owned; all must outlive the server.
  CircuitBreakerService(const Access* access, Registry* registry, Publisher* publisher,
                        WatchHub* hub, WatchSlots* watch_slots, LimitRefusals* limit_refusals,
                        RpcMetrics* metrics, const Clock* clock)
      : access_(access),
        registry_(registry),
        publisher_(publisher),
        hub_(hub),
        watch_slots_(watch_slots),
        limit_refusals_(limit_refusals),
        metrics_(metrics),
        clock_(clock) {
    SetMessageAllocatorFor_ReportBatch(&batch_messages_);
  }

  grpc::ServerUnaryReactor* Acquire(grpc::CallbackServerContext* context,
                                    const v1::AcquireRequest* request,
                                    v1::AcquireResponse* response) override;
  grpc::ServerUnaryReactor* Report(grpc::CallbackServerContext* context,
                                   const v1::ReportRequest* request,
                                   v1::ReportResponse* response) override;
  grpc::ServerUnaryReactor* ReportBatch(grpc::CallbackServerContext* context,
                                        const v1::ReportBatchRequest* request,
                                        v1::ReportBatchResponse* response) override;
  grpc::ServerUnaryReactor* GetStats(grpc::CallbackServerContext* context,
                                     const v1::GetStatsRequest* request,
                                     v1::CircuitStats* response) override;
  grpc::ServerUnaryReactor* ListStats(grpc::CallbackServerContext* context,
                                      const v1::ListStatsRequest* request,
                                      v1::ListStatsResponse* response) override;
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Watch(
      grpc::CallbackServerContext* context) override;

 private:
  // After a report: whether a quorum has left out workers of the caller.
  void TellOfQuorumShare(const Caller& caller);

  ArenaAllocator<v1::ReportBatchRequest, v1::ReportBatchResponse> batch_messages_;

  const Access* const access_;
  Registry* const registry_;
  Publisher* const publisher_;
  WatchHub* const hub_;
  WatchSlots* const watch_slots_;
  LimitRefusals* const limit_refusals_;
  RpcMetrics* const metrics_;
  const Clock* const clock_;
};

}  // namespace breaker::server

#endif  // BREAKER_RPC_CIRCUIT_BREAKER_SERVICE_H_
