#include <grpcpp/grpcpp.h>

#include <iostream>
#include <string>

#include "client/ctl/commands.h"
#include "client/ctl/remote.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace breaker::ctl {

int Health(const Daemon& daemon, const std::string& service) {
  grpc::ClientContext context;
  SetDeadline(daemon, context);
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(service);
  grpc::health::v1::HealthCheckResponse response;
  const grpc::Status status = ConnectHealth(daemon)->Check(&context, request, &response);
  if (status.error_code() == grpc::StatusCode::NOT_FOUND) {
    std::cerr << "breakerctl: breakerd has no service " << service << "\n";
    return kError;
  }
  if (!status.ok()) return Fail(daemon, status);
  std::cout << grpc::health::v1::HealthCheckResponse::ServingStatus_Name(response.status()) << "\n";
  return response.status() == grpc::health::v1::HealthCheckResponse::SERVING ? kOk : kError;
}

}  // namespace breaker::ctl
