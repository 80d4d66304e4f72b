#ifndef BREAKER_RPC_GRPC_STATUS_H_
#define BREAKER_RPC_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"

namespace breaker::server {

// The same code and message; Abseil's codes are gRPC's.
inline grpc::Status ToGrpcStatus(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

// "INVALID_ARGUMENT"
inline std::string Name(grpc::StatusCode code) {
  return absl::StatusCodeToString(static_cast<absl::StatusCode>(code));
}

}  // namespace breaker::server

#endif  // BREAKER_RPC_GRPC_STATUS_H_
