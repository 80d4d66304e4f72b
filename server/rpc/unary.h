#ifndef BREAKER_RPC_UNARY_H_
#define BREAKER_RPC_UNARY_H_

#include <grpcpp/grpcpp.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/change.h"
#include "server/publisher.h"
#include "server/rpc/access.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/rpc_metrics.h"

namespace breaker::server {

inline void Finish(grpc::ServerUnaryReactor* reactor, const RpcMetrics::Call& call,
                   const absl::Status& status) {
  const grpc::Status answer = ToGrpcStatus(status);
  call.Ends(answer);
  reactor->Finish(answer);
}

// Answers one call of somebody whom `access` lets in: runs handle(const Caller&, Changes*) ->
// absl::Status at once, and finishes the call with what it gives when the publisher has stored what
// it changed, if anything.
template <typename Handle>
grpc::ServerUnaryReactor* RunUnary(grpc::CallbackServerContext* context, const Access* access,
                                   Publisher* publisher, const RpcMetrics::Call& call,
                                   Handle handle) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  Changes changes;
  const absl::StatusOr<Caller> caller = access->Admit(*context, Name(call.method()));
  const absl::Status status = caller.ok() ? handle(*caller, &changes) : caller.status();
  if (changes.empty()) {
    Finish(reactor, call, status);
  } else {
    publisher->Publish(std::move(changes),
                       [reactor, call, status] { Finish(reactor, call, status); });
  }
  return reactor;
}

}  // namespace breaker::server

#endif  // BREAKER_RPC_UNARY_H_
