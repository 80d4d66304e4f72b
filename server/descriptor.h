#ifndef BREAKER_DESCRIPTOR_H_
#define BREAKER_DESCRIPTOR_H_

#include <unistd.h>

#include <utility>

namespace breaker::server {

// A file descriptor that is closed with its owner. -1 = none.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() { Close(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  // From now on someone else's to close.
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

}  // namespace breaker::server

#endif  // BREAKER_DESCRIPTOR_H_
