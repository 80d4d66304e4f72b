#ifndef BREAKER_RPC_SERVER_SETTINGS_H_
#define BREAKER_RPC_SERVER_SETTINGS_H_

#include <grpcpp/server_builder.h>

#include "absl/time/time.h"

namespace breaker::server {

// How long a peer may leave what was sent to it, data or a sign of life, without acknowledgement.
inline constexpr absl::Duration kPeerTimeout = absl::Seconds(10);

// Rpcs under way on one connection, Watch streams among them. A client keeps to it and lets further
// ones wait; one that has agreed to it and does not loses its connection. gRPC 1.51 does not hold a
// client to it that never agrees, by acknowledging the settings; see Listener.
inline constexpr int kMaxStreams = 256;

// How the daemon's gRPC server treats its connections: sizes, streams, keepalive, port. Benchmarks
// give the same to the server that they compare it with.
void ApplyServerSettings(grpc::ServerBuilder* builder);

}  // namespace breaker::server

#endif  // BREAKER_RPC_SERVER_SETTINGS_H_
