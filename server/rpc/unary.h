#ifndef BREAKER_RPC_UNARY_H_
#define BREAKER_RPC_UNARY_H_

#include <grpcpp/grpcpp.h>

#include <utility>

#include "absl/status/status.h"
#include "server/engine/change.h"
#include "server/publisher.h"
#include "server/rpc/grpc_status.h"

namespace breaker::server {

// Answers one call: runs handle(Changes*) -> absl::Status at once, and finishes the call with what
// it gives when the publisher has stored what it changed, if anything.
template <typename Handle>
grpc::ServerUnaryReactor* RunUnary(grpc::CallbackServerContext* context, Publisher* publisher,
                                   Handle handle) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  Changes changes;
  const absl::Status status = handle(&changes);
  if (changes.empty()) {
    reactor->Finish(ToGrpcStatus(status));
  } else {
    publisher->Publish(std::move(changes),
                       [reactor, status] { reactor->Finish(ToGrpcStatus(status)); });
  }
  return reactor;
}

}  // namespace breaker::server

#endif  // BREAKER_RPC_UNARY_H_
