#ifndef BREAKER_TESTS_SUPPORT_DAEMON_PROCESS_H_
#define BREAKER_TESTS_SUPPORT_DAEMON_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/support/held_port.h"
#include "tests/support/subprocess.h"

namespace breaker::testing {

// The real breakerd as a child process, on a free port of 127.0.0.1. It listens when the
// constructor returns; a daemon that does not come up ends the test program with its log.
//
// Without a --data_dir among the flags it gets a new one, which the destructor removes.
class DaemonProcess {
 public:
  explicit DaemonProcess(std::vector<std::string> flags = {});
  ~DaemonProcess();
  DaemonProcess(const DaemonProcess&) = delete;
  DaemonProcess& operator=(const DaemonProcess&) = delete;

  // "127.0.0.1:PORT" of gRPC and of HTTP, the same across restarts.
  const std::string& target() const { return port_.address(); }
  const std::string& http() const { return http_port_.address(); }
  const std::string& data_dir() const { return data_dir_; }
  pid_t pid() const { return process_->pid(); }

  void Kill();      // SIGKILL, and waits for the end
  int Terminate();  // SIGTERM, and waits; the exit status, negative for a signal
  void Stop();      // SIGSTOP
  void Continue();  // SIGCONT
  // Starts it anew on the same port and data_dir; kills it first if it runs.
  void Restart();

  // What it has written to stderr since its last start.
  std::string log() const { return process_->err(); }
  bool WaitForLog(const std::string& text, absl::Duration timeout = absl::Seconds(30)) const {
    return process_->WaitForErr(text, timeout);
  }

 private:
  void Start();

  const HeldPort port_;
  const HeldPort http_port_;
  std::vector<std::string> flags_;
  std::string data_dir_;
  bool owns_data_dir_ = false;
  std::unique_ptr<Subprocess> process_;
};

}  // namespace breaker::testing

#endif  // BREAKER_TESTS_SUPPORT_DAEMON_PROCESS_H_
