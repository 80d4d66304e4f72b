#ifndef BREAKER_RPC_GRPC_STATUS_H_
#define BREAKER_RPC_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"

namespace breaker {

// The same code and message; Abseil's codes are gRPC's.
inline grpc::Status ToGrpcStatus(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

}  // namespace breaker

#endif  // BREAKER_RPC_GRPC_STATUS_H_
