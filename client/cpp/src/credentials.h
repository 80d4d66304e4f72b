// Channels to the daemon, for the client and for breakerctl.
#ifndef BREAKER_CLIENT_CREDENTIALS_H_
#define BREAKER_CLIENT_CREDENTIALS_H_

#include <memory>

#include "breaker/client.h"
#include "grpcpp/channel.h"
#include "grpcpp/support/channel_arguments.h"

namespace breaker::internal {

// A channel with `args` to the options' target, by TLS if they say so, on which every rpc brings
// the token. For options that CheckAccess finds right.
std::shared_ptr<grpc::Channel> OpenChannel(const ClientOptions& options,
                                           grpc::ChannelArguments args);

}  // namespace breaker::internal

#endif  // BREAKER_CLIENT_CREDENTIALS_H_
