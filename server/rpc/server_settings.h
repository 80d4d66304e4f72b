#ifndef BREAKER_RPC_SERVER_SETTINGS_H_
#define BREAKER_RPC_SERVER_SETTINGS_H_

#include <grpcpp/server_builder.h>

namespace breaker {

// How the daemon's gRPC server treats its connections: message sizes, keepalive, port. Benchmarks
// give the same to the server that they compare it with.
void ApplyServerSettings(grpc::ServerBuilder* builder);

}  // namespace breaker

#endif  // BREAKER_RPC_SERVER_SETTINGS_H_
