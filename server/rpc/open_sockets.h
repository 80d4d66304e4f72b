#ifndef BREAKER_RPC_OPEN_SOCKETS_H_
#define BREAKER_RPC_OPEN_SOCKETS_H_

#include <sys/types.h>

#include <cstddef>
#include <vector>

namespace breaker::server {

// Counts sockets that were handed to someone who closes them without a word, as gRPC does. A socket
// is open as long as its number still names it, which its inode tells: so nothing has to be held
// open or waited for, and nothing is in the way of a connection. Not thread-safe.
class OpenSockets {
 public:
  // Notes a socket that is open, before it is handed on.
  void Add(int fd);

  // Not fewer than are open; those that were closed since the last Recount may be among them.
  size_t count() const { return count_; }

  // How many are open. Takes some 200 ns for each that was.
  size_t Recount();

 private:
  static constexpr ino_t kNone = 0;

  std::vector<ino_t> inodes_;  // by descriptor
  size_t count_ = 0;
};

}  // namespace breaker::server

#endif  // BREAKER_RPC_OPEN_SOCKETS_H_
