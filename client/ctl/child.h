#ifndef BREAKER_CTL_CHILD_H_
#define BREAKER_CTL_CHILD_H_

#include <signal.h>

#include <string>
#include <vector>

namespace breaker::ctl {

// How a child process ended.
struct ChildEnd {
  int start_error = 0;        // errno when it could not be started at all
  int exit_status = 0;        // when it exited
  int signal = 0;             // which ended it, if one did
  bool told_to_stop = false;  // this process got SIGINT, SIGTERM, SIGHUP or SIGQUIT meanwhile
};

// Runs child processes in place of this one: the signals that this process gets are theirs.
//
// Make one before the process has a second thread. From then on SIGINT, SIGTERM, SIGHUP, SIGQUIT,
// SIGUSR1 and SIGUSR2 wait until a child runs.
class ChildRunner {
 public:
  ChildRunner();
  ChildRunner(const ChildRunner&) = delete;
  ChildRunner& operator=(const ChildRunner&) = delete;

  // Runs argv, whose first is looked up in PATH, with our stdin, stdout and stderr, to its end.
  ChildEnd Run(const std::vector<std::string>& argv);

 private:
  sigset_t watched_;
  sigset_t inherited_mask_;
  struct sigaction inherited_sigchld_;
};

// Ends this process by `signal`, so that its parent sees what a parent of the child would have.
[[noreturn]] void DieBy(int signal);

}  // namespace breaker::ctl

#endif  // BREAKER_CTL_CHILD_H_
