#ifndef BREAKER_TESTS_SUPPORT_CHANNEL_H_
#define BREAKER_TESTS_SUPPORT_CHANNEL_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

namespace breaker {

// A connection of its own, shared with no other channel to the same target: neither one that was
// opened before, to an earlier life of a daemon, nor another of the same load.
inline std::shared_ptr<grpc::Channel> NewChannel(
    const std::string& target, const std::shared_ptr<grpc::ChannelCredentials>& credentials =
                                   grpc::InsecureChannelCredentials()) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(target, credentials, arguments);
}

}  // namespace breaker

#endif  // BREAKER_TESTS_SUPPORT_CHANNEL_H_
