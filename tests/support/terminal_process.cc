#include "tests/support/terminal_process.h"

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>

namespace breaker::testing {
namespace {

constexpr int kPatienceMilliseconds = 30'000;

}  // namespace

TerminalProcess::TerminalProcess(const std::vector<std::string>& argv) {
  std::vector<char*> args;
  for (const std::string& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));
  args.push_back(nullptr);
  pid_ = forkpty(&terminal_, nullptr, nullptr, nullptr);
  if (pid_ < 0) {
    perror("forkpty");
    abort();
  }
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execvp(args[0], args.data());
    _exit(127);
  }
  // Ctrl-C would otherwise discard output that was not read yet.
  termios settings;
  tcgetattr(terminal_, &settings);
  settings.c_lflag |= NOFLSH;
  tcsetattr(terminal_, TCSANOW, &settings);
}

TerminalProcess::~TerminalProcess() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  close(terminal_);
}

void TerminalProcess::Signal(int signal) const { kill(pid_, signal); }

void TerminalProcess::Type(const std::string& keys) {
  if (write(terminal_, keys.data(), keys.size()) < 0) perror("write");
}

const std::string& TerminalProcess::WaitFor(const std::string& text) {
  const auto found = [&] {
    const size_t at = out_.find(text);
    return at != std::string::npos && out_.find('\n', at) != std::string::npos;
  };
  while (text.empty() || !found()) {
    pollfd readable = {terminal_, POLLIN, 0};
    if (poll(&readable, 1, kPatienceMilliseconds) <= 0) break;
    std::array<char, 4096> buffer;
    const ssize_t n = read(terminal_, buffer.data(), buffer.size());
    if (n <= 0) break;  // EIO: nobody holds the other side any more.
    out_.append(buffer.data(), n);
  }
  return out_;
}

int TerminalProcess::Wait() {
  WaitFor("");
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  close(terminal_);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace breaker::testing
