#ifndef BREAKER_RPC_SOURCE_H_
#define BREAKER_RPC_SOURCE_H_

#include <grpcpp/grpcpp.h>
#include <sys/socket.h>

#include <string>

#include "absl/strings/string_view.h"
#include "server/engine/admission.h"
#include "server/rpc/access.h"

namespace breaker::server {

// The host of a peer as gRPC names it: "10.0.0.7" of "ipv4:10.0.0.7:41234". Of an IPv6 address the
// network (/64), whose hosts are for its owner to number. Other peers as they are.
std::string HostOfPeer(absl::string_view peer);
// The same of a socket's address.
std::string HostOfAddress(const sockaddr_storage& address);

// Who is behind a call, for limits: what a client cannot choose freely, as it can its worker_id.
// The identity, where one is asked for; else the host. Nothing else in the daemon decides this.
inline std::string SourceOf(const grpc::CallbackServerContext& context, const Caller& caller) {
  return caller.name().empty() ? HostOfPeer(context.peer()) : std::string(caller.name());
}

// Who makes an rpc. Borrows all; costs nothing until it is asked.
class RpcCreator : public Creator {
 public:
  RpcCreator(const grpc::CallbackServerContext* context, const Caller& caller,
             absl::string_view worker_id)
      : context_(context), caller_(&caller), worker_id_(worker_id) {}

  absl::string_view worker_id() const override { return worker_id_; }
  std::string source() const override { return SourceOf(*context_, *caller_); }

 private:
  const grpc::CallbackServerContext* context_;
  const Caller* caller_;
  absl::string_view worker_id_;
};

}  // namespace breaker::server

#endif  // BREAKER_RPC_SOURCE_H_
