#ifndef BREAKER_RPC_OPEN_STREAMS_H_
#define BREAKER_RPC_OPEN_STREAMS_H_

#include <netinet/in.h>

#include <cstdint>
#include <string>
#include <vector>

namespace breaker::server {

// The other end of a TCP connection.
struct PeerAddress {
  std::string ip;  // as bytes, 4 or 16
  uint16_t port = 0;

  friend bool operator==(const PeerAddress&, const PeerAddress&) = default;
};

// Of a connected socket; no ip if it is none.
PeerAddress PeerOf(int fd);

// How many streams (rpcs under way) the connections of this process's gRPC servers have, in gRPC's
// own accounts, which are on unless a server turns GRPC_ARG_ENABLE_CHANNELZ off. Thread-safe.
int64_t CountOpenStreams();

// Of those connections the ones with more than `limit`. Takes some 20 us for each that there is.
std::vector<PeerAddress> PeersWithMoreStreamsThan(int64_t limit);

}  // namespace breaker::server

#endif  // BREAKER_RPC_OPEN_STREAMS_H_
