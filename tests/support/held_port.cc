#include "tests/support/held_port.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace breaker::testing {

HeldPort::HeldPort() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  const int on = 1;
  sockaddr_in any_port = {};
  any_port.sin_family = AF_INET;
  any_port.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const address = reinterpret_cast<sockaddr*>(&any_port);
  socklen_t size = sizeof any_port;
  if (fd_ < 0 || setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      bind(fd_, address, size) != 0 || getsockname(fd_, address, &size) != 0) {
    perror("no free port");
    abort();
  }
  address_ = "127.0.0.1:" + std::to_string(ntohs(any_port.sin_port));
}

HeldPort::~HeldPort() { close(fd_); }

}  // namespace breaker::testing
