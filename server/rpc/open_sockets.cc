#include "server/rpc/open_sockets.h"

#include <sys/stat.h>

namespace breaker::server {
namespace {

// 0 if the descriptor is not open, or no socket.
ino_t InodeOf(int fd) {
  struct stat status;
  if (fstat(fd, &status) != 0 || !S_ISSOCK(status.st_mode)) return 0;
  return status.st_ino;
}

}  // namespace

void OpenSockets::Add(int fd, const std::string& host) {
  const auto at = static_cast<size_t>(fd);
  if (at >= sockets_.size()) sockets_.resize(at + 1);
  Forget(&sockets_[at]);  // the one that had the number is closed
  sockets_[at] = {InodeOf(fd), host};
  ++count_;
  ++by_host_[host];
}

size_t OpenSockets::CountOf(const std::string& host) const {
  const auto found = by_host_.find(host);
  return found == by_host_.end() ? 0 : found->second;
}

std::vector<int> OpenSockets::Descriptors() const {
  std::vector<int> descriptors;
  for (size_t fd = 0; descriptors.size() < count_; ++fd) {
    if (sockets_[fd].inode != kNone) descriptors.push_back(static_cast<int>(fd));
  }
  return descriptors;
}

size_t OpenSockets::Recount() {
  size_t left = count_;
  for (size_t fd = 0; left > 0; ++fd) {
    Socket& socket = sockets_[fd];
    if (socket.inode == kNone) continue;
    --left;
    if (InodeOf(static_cast<int>(fd)) != socket.inode) Forget(&socket);
  }
  return count_;
}

void OpenSockets::Forget(Socket* socket) {
  if (socket->inode == kNone) return;
  const auto of_host = by_host_.find(socket->host);
  if (--of_host->second == 0) by_host_.erase(of_host);
  --count_;
  *socket = {};
}

}  // namespace breaker::server
