#ifndef BREAKER_CLIENT_DENIAL_H_
#define BREAKER_CLIENT_DENIAL_H_

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace breaker::internal {

// The status if it says that the daemon does not accept who asks, else OK.
inline absl::Status DenialIn(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAUTHENTICATED:
      return absl::UnauthenticatedError(status.error_message());
    case grpc::StatusCode::PERMISSION_DENIED:
      return absl::PermissionDeniedError(status.error_message());
    default:
      return absl::OkStatus();
  }
}

}  // namespace breaker::internal

#endif  // BREAKER_CLIENT_DENIAL_H_
