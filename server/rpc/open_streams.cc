#include "server/rpc/open_streams.h"

#include <grpc/grpc.h>
#include <grpc/support/alloc.h>
#include <sys/socket.h>

#include <nlohmann/json.hpp>

#include "absl/functional/function_ref.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"

namespace breaker::server {
namespace {

using nlohmann::json;

constexpr int kPage = 1000;

// Takes over a text as grpc_channelz_get_... give it; null = there is no such thing (any more).
json Parse(char* text) {
  if (text == nullptr) return json::object();
  json parsed = json::parse(text, nullptr, /*allow_exceptions=*/false);
  gpr_free(text);
  return parsed.is_object() ? parsed : json::object();
}

// Integers of 64 bits are strings in protobuf's JSON, and left out where they are 0.
int64_t Number(const json& of, const char* name) {
  int64_t number = 0;
  const auto found = of.find(name);
  if (found != of.end() && found->is_string() &&
      !absl::SimpleAtoi(found->get_ref<const std::string&>(), &number)) {
    return 0;
  }
  return number;
}

json Part(const json& of, const char* name) { return of.value(name, json::object()); }

// A process has few servers: they fit into one answer.
json Servers() { return Parse(grpc_channelz_get_servers(0)).value("server", json::array()); }

void ForEachSocket(int64_t server, absl::FunctionRef<void(const json&)> visit) {
  for (int64_t next = 0;;) {
    const json page = Parse(grpc_channelz_get_server_sockets(server, next, kPage));
    const json refs = page.value("socketRef", json::array());
    for (const json& ref : refs) {
      const int64_t id = Number(ref, "socketId");
      visit(Part(Parse(grpc_channelz_get_socket(id)), "socket"));
      next = id + 1;
    }
    if (refs.empty() || page.value("end", true)) return;
  }
}

}  // namespace

PeerAddress PeerOf(int fd) {
  sockaddr_storage address = {};
  socklen_t length = sizeof address;
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return {};
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    return {std::string(reinterpret_cast<const char*>(&v4.sin_addr), sizeof v4.sin_addr),
            ntohs(v4.sin_port)};
  }
  if (address.ss_family != AF_INET6) return {};
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
  std::string ip(reinterpret_cast<const char*>(&v6.sin6_addr), sizeof v6.sin6_addr);
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) ip = ip.substr(ip.size() - sizeof(in_addr));
  return {std::move(ip), ntohs(v6.sin6_port)};
}

int64_t CountOpenStreams() {
  int64_t open = 0;
  for (const json& server : Servers()) {
    const json data = Part(server, "data");
    open +=
        Number(data, "callsStarted") - Number(data, "callsSucceeded") - Number(data, "callsFailed");
  }
  return open;
}

std::vector<PeerAddress> PeersWithMoreStreamsThan(int64_t limit) {
  std::vector<PeerAddress> peers;
  for (const json& server : Servers()) {
    ForEachSocket(Number(Part(server, "ref"), "serverId"), [&](const json& socket) {
      const json data = Part(socket, "data");
      const int64_t open = Number(data, "streamsStarted") - Number(data, "streamsSucceeded") -
                           Number(data, "streamsFailed");
      if (open <= limit) return;
      const json remote = Part(Part(socket, "remote"), "tcpip_address");
      PeerAddress peer;
      if (!absl::Base64Unescape(remote.value("ip_address", ""), &peer.ip)) return;
      peer.port = remote.value("port", uint16_t{0});
      peers.push_back(std::move(peer));
    });
  }
  return peers;
}

}  // namespace breaker::server
