#include "tests/support/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>

namespace breaker::testing {
namespace {

void Check(bool ok, const char* what) {
  if (ok) return;
  perror(what);
  abort();
}

}  // namespace

Subprocess::Subprocess(const std::vector<std::string>& argv, const Options& options) {
  // Everything that allocates comes before fork.
  std::vector<char*> args;
  for (const std::string& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));
  args.push_back(nullptr);
  std::vector<std::string> settings;
  for (char** setting = environ; *setting != nullptr; ++setting) {
    const std::string text = *setting;
    if (!options.env.contains(text.substr(0, text.find('=')))) settings.push_back(text);
  }
  for (const auto& [name, value] : options.env) settings.push_back(name + "=" + value);
  std::vector<char*> env;
  for (std::string& setting : settings) env.push_back(setting.data());
  env.push_back(nullptr);

  std::array<int, 2> out, err;
  Check(pipe2(out.data(), O_CLOEXEC) == 0 && pipe2(err.data(), O_CLOEXEC) == 0, "pipe");
  const pid_t parent = getpid();
  pid_ = fork();
  Check(pid_ >= 0, "fork");
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);  // It died before prctl.
    if (options.own_process_group) setpgid(0, 0);
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, nullptr);
    const int null = open("/dev/null", O_RDONLY);
    if (dup2(null, 0) < 0 || dup2(out[1], 1) < 0 || dup2(err[1], 2) < 0) _exit(126);
    execvpe(args[0], args.data(), env.data());
    perror(args[0]);
    _exit(127);
  }
  if (options.own_process_group) setpgid(pid_, pid_);  // Whichever of the two comes first.
  close(out[1]);
  close(err[1]);
  collector_ = std::thread([this, out_fd = out[0], err_fd = err[0]] { Collect(out_fd, err_fd); });
  pthread_setname_np(collector_.native_handle(), "collect-output");
}

Subprocess::~Subprocess() {
  if (!waited_) {
    Signal(SIGKILL);
    Wait();
  }
}

void Subprocess::Signal(int signal) const { Check(kill(pid_, signal) == 0, "kill"); }

int Subprocess::Wait() {
  if (!waited_) {
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0) Check(errno == EINTR, "waitpid");
    status_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    waited_ = true;
    collector_.join();
  }
  return status_;
}

std::string Subprocess::out() const {
  std::lock_guard lock(mu_);
  return out_;
}

std::string Subprocess::err() const {
  std::lock_guard lock(mu_);
  return err_;
}

bool Subprocess::WaitForOut(const std::string& text, absl::Duration timeout) const {
  return WaitFor(out_, text, timeout);
}

bool Subprocess::WaitForErr(const std::string& text, absl::Duration timeout) const {
  return WaitFor(err_, text, timeout);
}

bool Subprocess::WaitFor(const std::string& stream, const std::string& text,
                         absl::Duration timeout) const {
  const auto found = [&] {
    const size_t at = stream.find(text);
    return at != std::string::npos && stream.find('\n', at) != std::string::npos;
  };
  std::unique_lock lock(mu_);
  changed_.wait_for(lock, absl::ToChronoNanoseconds(timeout), [&] { return found() || closed_; });
  return found();
}

void Subprocess::Collect(int out_fd, int err_fd) {
  std::array<pollfd, 2> fds = {pollfd{out_fd, POLLIN, 0}, pollfd{err_fd, POLLIN, 0}};
  const std::array<std::string*, 2> texts = {&out_, &err_};
  // poll() skips the negative descriptors of streams that have ended.
  while (fds[0].fd >= 0 || fds[1].fd >= 0) {
    if (poll(fds.data(), fds.size(), -1) < 0) continue;
    for (size_t i = 0; i < fds.size(); ++i) {
      if (fds[i].fd < 0 || fds[i].revents == 0) continue;
      std::array<char, 4096> buffer;
      const ssize_t n = read(fds[i].fd, buffer.data(), buffer.size());
      if (n > 0) {
        std::lock_guard lock(mu_);
        texts[i]->append(buffer.data(), n);
      } else if (n == 0 || errno != EINTR) {
        close(fds[i].fd);
        fds[i].fd = -1;
      }
      changed_.notify_all();
    }
  }
  std::lock_guard lock(mu_);
  closed_ = true;
  changed_.notify_all();
}

}  // namespace breaker::testing
