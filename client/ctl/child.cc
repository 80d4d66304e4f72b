#include "client/ctl/child.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

namespace breaker::ctl {
namespace {

constexpr int kForwarded[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

bool TellsToStop(int signal) { return signal != SIGUSR1 && signal != SIGUSR2; }

// A signal from the terminal goes to the whole foreground group, and so to the child too.
bool SentByAProcess(const siginfo_t& info) { return info.si_code <= 0; }

}  // namespace

ChildRunner::ChildRunner() {
  sigemptyset(&watched_);
  for (const int signal : kForwarded) sigaddset(&watched_, signal);
  sigaddset(&watched_, SIGCHLD);
  pthread_sigmask(SIG_BLOCK, &watched_, &inherited_mask_);
  struct sigaction by_default = {};
  by_default.sa_handler = SIG_DFL;  // An ignored SIGCHLD would take the exit status away.
  sigaction(SIGCHLD, &by_default, &inherited_sigchld_);
}

ChildEnd ChildRunner::Run(const std::vector<std::string>& argv) {
  ChildEnd end;
  std::vector<char*> args;
  for (const std::string& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));
  args.push_back(nullptr);

  // Closed by a successful exec; otherwise it brings the reason.
  int failure[2];
  if (pipe2(failure, O_CLOEXEC) != 0) {
    end.start_error = errno;
    return end;
  }
  const pid_t child = fork();
  if (child == 0) {
    sigaction(SIGCHLD, &inherited_sigchld_, nullptr);
    pthread_sigmask(SIG_SETMASK, &inherited_mask_, nullptr);
    execvp(args[0], args.data());
    const int error = errno;
    (void)!write(failure[1], &error, sizeof(error));
    _exit(127);
  }
  const int fork_error = errno;
  close(failure[1]);
  if (child < 0) {
    end.start_error = fork_error;
  } else if (read(failure[0], &end.start_error, sizeof(end.start_error)) > 0) {
    waitpid(child, nullptr, 0);
  }
  close(failure[0]);
  if (end.start_error != 0) return end;

  while (true) {
    siginfo_t info;
    const int signal = sigwaitinfo(&watched_, &info);
    if (signal == SIGCHLD) {
      int status = 0;
      if (waitpid(child, &status, WNOHANG) != child) continue;
      if (WIFEXITED(status)) end.exit_status = WEXITSTATUS(status);
      if (WIFSIGNALED(status)) end.signal = WTERMSIG(status);
      return end;
    }
    if (signal < 0) continue;  // Interrupted: stopped and continued.
    if (TellsToStop(signal)) end.told_to_stop = true;
    if (SentByAProcess(info)) kill(child, signal);
  }
}

void DieBy(int signal) {
  fflush(nullptr);
  const rlimit no_core = {0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  ::signal(signal, SIG_DFL);
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, signal);
  pthread_sigmask(SIG_UNBLOCK, &only, nullptr);
  raise(signal);
  _exit(128 + signal);  // The first process of a container outlives its own signals.
}

}  // namespace breaker::ctl
