#include <signal.h>
#include <string.h>

#include <iostream>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/ctl/access_flags.h"
#include "client/ctl/child.h"
#include "client/ctl/commands.h"
#include "client/ctl/remote.h"

namespace breaker::ctl {
namespace {

constexpr int kNotFound = 127;  // as a shell says it
constexpr int kNotExecutable = 126;

void Report(const ChildEnd& end, Permit& permit) {
  if (end.start_error != 0 || end.told_to_stop) {
    permit.Ignore();  // The caller's mistake, or the caller's wish.
  } else if (end.signal != 0) {
    permit.Failure(absl::StrCat("SIG", sigabbrev_np(end.signal)));
  } else if (end.exit_status != 0) {
    permit.Failure(absl::StrCat("exit ", end.exit_status));
  } else {
    permit.Success();
  }
}

// The exit status that stands for the end of `command`; for a signal, dies of it.
int PassOn(const ChildEnd& end, const std::string& command) {
  if (end.start_error != 0) {
    std::cerr << "breakerctl: " << command << ": " << strerror(end.start_error) << "\n";
    return end.start_error == ENOENT ? kNotFound : kNotExecutable;
  }
  if (end.signal != 0) DieBy(end.signal);
  return end.exit_status;
}

}  // namespace

int Exec(const Daemon& daemon, const ExecOptions& options) {
  ChildRunner children;  // Before the client, which brings threads.
  ClientOptions client_options = daemon.options;
  client_options.worker_id = options.worker_id;
  client_options.rpc_timeout = daemon.timeout;
  client_options.on_daemon_unavailable = options.on_daemon_unavailable;
  client_options.mode = Mode::kRemote;  // A process for one call has no use for a stream.
  const absl::Status files = internal::CheckAccessFiles(client_options, kAccessFlags);
  Client client(std::move(client_options));
  absl::StatusOr<Permit> permit = client.Acquire(options.key, options.policy);
  if (absl::IsInvalidArgument(permit.status())) {
    std::cerr << "breakerctl: " << permit.status().message() << "\n";
    return kUsage;
  }

  const bool unguarded = !permit.ok() || permit->daemon_unavailable();
  const bool allowed =
      unguarded ? options.on_daemon_unavailable == OnDaemonUnavailable::kAllow : permit->allowed();
  if (unguarded) {
    const absl::Status reason = permit.ok() ? client.daemon_status() : permit.status();
    std::cerr << "breakerctl: warning: "
              << (files.ok() ? InWords(daemon, reason.code(),
                                       absl::IsUnavailable(reason) ? "" : reason.message())
                             : std::string(files.message()))
              << (allowed ? "; the command runs unguarded\n" : "; the command is refused\n");
  } else if (!allowed) {
    std::cerr << "breakerctl: " << permit->status().message() << "\n";
  }

  if (!allowed) {
    if (options.fallback.empty()) return kRefused;
    return PassOn(children.Run({"sh", "-c", options.fallback}), "sh");
  }
  const ChildEnd end = children.Run(options.command);
  if (permit.ok()) Report(end, *permit);
  return PassOn(end, options.command.front());
}

}  // namespace breaker::ctl
