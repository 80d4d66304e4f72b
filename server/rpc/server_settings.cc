#include "server/rpc/server_settings.h"

#include "absl/time/time.h"

namespace breaker {
namespace {

// The largest message of the contract is a batch of outcomes; a page of ListStats goes out only.
constexpr int kMaxReceiveBytes = 4 << 20;
constexpr int kMaxSendBytes = 16 << 20;

// A worker that is gone without a word is noticed within their sum.
constexpr absl::Duration kKeepaliveTime = absl::Seconds(30);
constexpr absl::Duration kKeepaliveTimeout = absl::Seconds(10);
// Clients may ask for a sign of life as often as this.
constexpr absl::Duration kMinPingInterval = absl::Seconds(5);

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
}

}  // namespace breaker
