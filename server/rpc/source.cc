#include "server/rpc/source.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"

namespace breaker::server {
namespace {

constexpr int kNetworkBytes = 8;

std::string Text(int family, const void* address) {
  char text[INET6_ADDRSTRLEN];
  return inet_ntop(family, address, text, sizeof text) == nullptr ? "" : text;
}

std::string NetworkOf(in6_addr address) {
  if (IN6_IS_ADDR_LOOPBACK(&address) || IN6_IS_ADDR_V4MAPPED(&address)) {
    return Text(AF_INET6, &address);
  }
  std::fill(address.s6_addr + kNetworkBytes, address.s6_addr + sizeof address.s6_addr, 0);
  return absl::StrCat(Text(AF_INET6, &address), "/", 8 * kNetworkBytes);
}

}  // namespace

std::string HostOfPeer(absl::string_view peer) {
  if (absl::ConsumePrefix(&peer, "ipv4:")) return std::string(peer.substr(0, peer.rfind(':')));
  if (!absl::ConsumePrefix(&peer, "ipv6:")) return std::string(peer);
  // [HOST%ZONE]:PORT, with some of it escaped.
  std::string host = absl::StrReplaceAll(peer.substr(0, peer.rfind(':')),
                                         {{"%5B", "["}, {"%5D", "]"}, {"%25", "%"}});
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  host = host.substr(0, host.find('%'));
  in6_addr address;
  return inet_pton(AF_INET6, host.c_str(), &address) == 1 ? NetworkOf(address) : host;
}

std::string HostOfAddress(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET6) {
    return NetworkOf(reinterpret_cast<const sockaddr_in6&>(address).sin6_addr);
  }
  return Text(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr);
}

}  // namespace breaker::server
