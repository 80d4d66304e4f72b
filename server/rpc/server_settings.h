#ifndef BREAKER_RPC_SERVER_SETTINGS_H_
#define BREAKER_RPC_SERVER_SETTINGS_H_

#include <grpcpp/server_builder.h>

#include "absl/time/time.h"

namespace breaker::server {

// How long a peer may leave what was sent to it, data or a sign of life, without acknowledgement.
inline constexpr absl::Duration kPeerTimeout = absl::Seconds(10);

// How the daemon's gRPC server treats its connections: sizes, streams, keepalive, port. Benchmarks
// give the same to the server that they compare it with.
void ApplyServerSettings(grpc::ServerBuilder* builder);

}  // namespace breaker::server

#endif  // BREAKER_RPC_SERVER_SETTINGS_H_
