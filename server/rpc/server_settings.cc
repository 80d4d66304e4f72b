#include "server/rpc/server_settings.h"

#include "absl/time/time.h"

namespace breaker::server {
namespace {

// The largest message of the contract is a batch of outcomes; a page of ListStats goes out only.
constexpr int kMaxReceiveBytes = 4 << 20;
constexpr int kMaxSendBytes = 16 << 20;
// Names, a token and a trace's context fit several times.
constexpr int kMaxMetadataBytes = 8 << 10;

// Within this a connection must have come to speak HTTP/2 (after TLS, where that is on).
constexpr absl::Duration kHandshakeTimeout = absl::Seconds(10);

// A worker that is gone without a word is noticed within their sum.
constexpr absl::Duration kKeepaliveTime = absl::Seconds(30);
constexpr absl::Duration kKeepaliveTimeout = kPeerTimeout;
// Clients may ask for a sign of life as often as this. One that does so more often loses its
// connection after a few times.
constexpr absl::Duration kMinPingInterval = absl::Seconds(5);
constexpr int kMaxPingStrikes = 2;

int Milliseconds(absl::Duration d) { return static_cast<int>(absl::ToInt64Milliseconds(d)); }

}  // namespace

void ApplyServerSettings(grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(kMaxReceiveBytes);
  builder->SetMaxSendMessageSize(kMaxSendBytes);
  // Two daemons on one port would share its connections and none of their state.
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(kKeepaliveTime));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(kKeepaliveTimeout));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                              Milliseconds(kMinPingInterval));
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, kMaxPingStrikes);
  builder->AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreams);
  builder->AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                              Milliseconds(kHandshakeTimeout));
}

}  // namespace breaker::server
