#include "server/rpc/listen_sockets.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/rpc/server_settings.h"

namespace breaker::server {
namespace {

struct HostPort {
  std::string host;
  int port;
};

std::optional<HostPort> Split(const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return std::nullopt;
  std::string host = address.substr(0, colon);
  if (absl::StartsWith(host, "[") && absl::EndsWith(host, "]")) {
    host = host.substr(1, host.size() - 2);
  } else if (absl::StrContains(host, ':')) {
    return std::nullopt;
  }
  int port;
  if (host.empty() || !absl::SimpleAtoi(address.substr(colon + 1), &port)) return std::nullopt;
  if (port < 0 || port > 65535) return std::nullopt;
  return HostPort{std::move(host), port};
}

struct SocketAddress {
  sockaddr_storage storage = {};
  socklen_t size = 0;

  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  in_port_t& port() {
    return storage.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(storage).sin6_port
                                         : reinterpret_cast<sockaddr_in&>(storage).sin_port;
  }
};

SocketAddress AllAddresses(int family) {
  SocketAddress address;  // zeroes
  address.storage.ss_family = static_cast<sa_family_t>(family);
  address.size = family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  return address;
}

bool IsAllAddresses(const addrinfo& info) {
  if (info.ai_family == AF_INET6) {
    const auto* const v6 = reinterpret_cast<const sockaddr_in6*>(info.ai_addr);
    return IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr);
  }
  return reinterpret_cast<const sockaddr_in*>(info.ai_addr)->sin_addr.s_addr == INADDR_ANY;
}

absl::Status Error(int error) {
  const std::string text = strerror(error);
  if (error == EADDRINUSE) return absl::AlreadyExistsError(text);
  return absl::UnavailableError(text);
}

absl::StatusOr<Descriptor> ListenOn(SocketAddress& address) {
  Descriptor fd(socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return Error(errno);
  const auto set = [&fd](int level, int option, int value) {
    setsockopt(fd.get(), level, option, &value, sizeof value);
  };
  set(SOL_SOCKET, SO_REUSEADDR, 1);  // no SO_REUSEPORT, which would let two daemons share a port
  if (address.storage.ss_family == AF_INET6) set(IPPROTO_IPV6, IPV6_V6ONLY, 0);
  // Connections inherit these, as gRPC would set them.
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(absl::ToInt64Milliseconds(kPeerTimeout)));
  if (bind(fd.get(), address.get(), address.size) != 0 || listen(fd.get(), SOMAXCONN) != 0) {
    return Error(errno);
  }
  if (getsockname(fd.get(), address.get(), &address.size) != 0) return Error(errno);
  return fd;
}

// Where one address cannot be listened on the others still may, but for one that is in use.
absl::StatusOr<ListenSockets> ListenOnEach(std::vector<SocketAddress> addresses, int port) {
  ListenSockets listening;
  absl::Status status;
  for (SocketAddress& address : addresses) {
    address.port() = htons(static_cast<uint16_t>(listening.port == 0 ? port : listening.port));
    absl::StatusOr<Descriptor> socket = ListenOn(address);
    if (absl::IsAlreadyExists(socket.status())) return socket.status();
    if (socket.ok()) {
      listening.sockets.push_back(*std::move(socket));
      listening.port = ntohs(address.port());
    } else {
      status = socket.status();
    }
  }
  if (listening.sockets.empty()) return status;
  return listening;
}

}  // namespace

absl::StatusOr<ListenSockets> Listen(const std::string& address) {
  const std::optional<HostPort> where = Split(address);
  if (!where.has_value()) return absl::InvalidArgumentError("it is not HOST:PORT");
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(where->host.c_str(), nullptr, &hints, &found);
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, [](addrinfo* list) {
    if (list != nullptr) freeaddrinfo(list);
  });
  if (error != 0) return absl::UnavailableError(gai_strerror(error));

  std::vector<SocketAddress> addresses;
  for (const addrinfo* info = found; info != nullptr; info = info->ai_next) {
    if (info->ai_family != AF_INET && info->ai_family != AF_INET6) continue;
    if (IsAllAddresses(*info)) {
      absl::StatusOr<ListenSockets> all = ListenOnEach({AllAddresses(AF_INET6)}, where->port);
      if (all.ok() || absl::IsAlreadyExists(all.status())) return all;
      return ListenOnEach({AllAddresses(AF_INET)}, where->port);  // a machine without IPv6
    }
    SocketAddress& one = addresses.emplace_back();
    memcpy(&one.storage, info->ai_addr, info->ai_addrlen);
    one.size = info->ai_addrlen;
  }
  // A port that is free on one address need not be on the next.
  constexpr int kAttempts = 10;
  absl::StatusOr<ListenSockets> listening = ListenOnEach(addresses, where->port);
  for (int i = 1; i < kAttempts && where->port == 0 && !listening.ok(); ++i) {
    listening = ListenOnEach(addresses, where->port);
  }
  return listening;
}

}  // namespace breaker::server
