#ifndef BREAKER_RPC_LISTEN_SOCKETS_H_
#define BREAKER_RPC_LISTEN_SOCKETS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/descriptor.h"

namespace breaker::server {

// The sockets on which one port is served, one for each address that its host has here. None shares
// its port with another process.
struct ListenSockets {
  std::vector<Descriptor> sockets;  // non-blocking
  int port = 0;
};

// Listens on "HOST:PORT". HOST is an IPv4 address, an IPv6 address in brackets, or a name; 0.0.0.0
// and [::] are all addresses of this machine, of either kind. Port 0 takes a free one. An error
// says what is wrong with the address, in a few words.
absl::StatusOr<ListenSockets> Listen(const std::string& address);

}  // namespace breaker::server

#endif  // BREAKER_RPC_LISTEN_SOCKETS_H_
