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

void OpenSockets::Add(int fd) {
  const auto at = static_cast<size_t>(fd);
  if (at >= inodes_.size()) inodes_.resize(at + 1, kNone);
  if (inodes_[at] == kNone) ++count_;  // else the one that had the number is closed
  inodes_[at] = InodeOf(fd);
}

size_t OpenSockets::Recount() {
  size_t left = count_;
  for (size_t fd = 0; left > 0; ++fd) {
    ino_t& inode = inodes_[fd];
    if (inode == kNone) continue;
    --left;
    if (InodeOf(static_cast<int>(fd)) == inode) continue;
    inode = kNone;
    --count_;
  }
  return count_;
}

}  // namespace breaker::server
