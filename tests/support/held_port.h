#ifndef BREAKER_TESTS_SUPPORT_HELD_PORT_H_
#define BREAKER_TESTS_SUPPORT_HELD_PORT_H_

#include <string>

namespace breaker::testing {

// A free port of 127.0.0.1 that stays a server's own while the server is away: the system gives it
// to nobody who asks for any port, as a test beside this one does, and no connection leaves from
// it.
//
// It is bound and never listens, so a server that sets SO_REUSEADDR can still listen on it (Linux,
// socket(7)). One that cannot be had ends the test program.
class HeldPort {
 public:
  HeldPort();
  ~HeldPort();
  HeldPort(const HeldPort&) = delete;
  HeldPort& operator=(const HeldPort&) = delete;

  // "127.0.0.1:PORT".
  const std::string& address() const { return address_; }

 private:
  int fd_;
  std::string address_;
};

}  // namespace breaker::testing

#endif  // BREAKER_TESTS_SUPPORT_HELD_PORT_H_
