#ifndef BREAKER_TESTS_SUPPORT_TERMINAL_PROCESS_H_
#define BREAKER_TESTS_SUPPORT_TERMINAL_PROCESS_H_

#include <sys/types.h>

#include <string>
#include <vector>

namespace breaker::testing {

// A child process at a terminal of its own, for what only a terminal does. The destructor hangs up
// and kills what is still running.
class TerminalProcess {
 public:
  explicit TerminalProcess(const std::vector<std::string>& argv);
  ~TerminalProcess();
  TerminalProcess(const TerminalProcess&) = delete;
  TerminalProcess& operator=(const TerminalProcess&) = delete;

  void Signal(int signal) const;
  // "\x03" is Ctrl-C.
  void Type(const std::string& keys);
  // Reads until a line with `text`, or the end; returns all that was read since the start.
  const std::string& WaitFor(const std::string& text);
  // Reads to the end and waits for it; as Subprocess::Wait.
  int Wait();

 private:
  pid_t pid_ = -1;
  int terminal_ = -1;
  std::string out_;
};

}  // namespace breaker::testing

#endif  // BREAKER_TESTS_SUPPORT_TERMINAL_PROCESS_H_
