// breakerd: flags, daemon, wait for a signal to stop, drain.

#include <signal.h>

#include <iostream>
#include <memory>

#include "absl/status/statusor.h"
#include "server/daemon.h"
#include "server/engine/clock.h"
#include "server/flags.h"
#include "server/log.h"

int main(int argc, char** argv) {
  // A limit on the size of files is a disk fault like any other, and no reason to die.
  signal(SIGXFSZ, SIG_IGN);

  const breaker::server::ParsedFlags flags = breaker::server::ParseFlags(argc, argv);
  if (!flags.options.has_value()) return flags.exit_status;

  // Blocked before any thread starts, so that the signals come to sigwait below and nowhere else.
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  const breaker::server::SystemClock clock;
  absl::StatusOr<std::unique_ptr<breaker::server::Daemon>> daemon =
      breaker::server::Daemon::Start(*flags.options, &clock);
  if (!daemon.ok()) {
    std::cerr << "breakerd: " << daemon.status().message() << "\n";
    return 1;
  }

  int signal = 0;
  while (sigwait(&signals, &signal) == 0 && signal == SIGHUP) (*daemon)->Reload();
  breaker::server::Log(breaker::server::LogLevel::kInfo, "stopping",
                       {{"signal", strsignal(signal)}});
  // A second signal ends the process at once: what had to be stored has been.
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  (*daemon)->Shutdown();
  return 0;
}
