#ifndef BREAKER_TESTS_SUPPORT_SUBPROCESS_H_
#define BREAKER_TESTS_SUPPORT_SUBPROCESS_H_

#include <sys/types.h>

#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"

namespace breaker::testing {

// A child process whose output is collected. It reads no input, and dies with the thread that
// started it. The destructor kills what is still running, by its pid.
class Subprocess {
 public:
  struct Options {
    std::map<std::string, std::string> env = {};  // added to ours
    bool own_process_group = false;
  };

  // argv[0] is looked up in PATH.
  explicit Subprocess(const std::vector<std::string>& argv) : Subprocess(argv, Options()) {}
  Subprocess(const std::vector<std::string>& argv, const Options& options);
  ~Subprocess();
  Subprocess(const Subprocess&) = delete;
  Subprocess& operator=(const Subprocess&) = delete;

  pid_t pid() const { return pid_; }
  void Signal(int signal) const;

  // Waits for the end. The exit status, or minus the number of the signal that ended it.
  int Wait();

  // What it has written so far; all of it after Wait().
  std::string out() const;
  std::string err() const;
  // Whether a whole line with `text` appeared on stdout or stderr before the deadline, or before
  // both were closed.
  bool WaitForOut(const std::string& text, absl::Duration timeout = absl::Seconds(30)) const;
  bool WaitForErr(const std::string& text, absl::Duration timeout = absl::Seconds(30)) const;

 private:
  void Collect(int out_fd, int err_fd);
  bool WaitFor(const std::string& stream, const std::string& text, absl::Duration timeout) const;

  pid_t pid_ = -1;
  bool waited_ = false;
  int status_ = 0;

  // Guarded by mu_.
  mutable std::mutex mu_;
  mutable std::condition_variable changed_;
  std::string out_;
  std::string err_;
  bool closed_ = false;

  std::thread collector_;
};

}  // namespace breaker::testing

#endif  // BREAKER_TESTS_SUPPORT_SUBPROCESS_H_
