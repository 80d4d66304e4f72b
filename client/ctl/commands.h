// The commands of breakerctl. Each returns the exit status of the program, and has written what it
// has to say to stdout, and errors to stderr.
#ifndef BREAKER_CTL_COMMANDS_H_
#define BREAKER_CTL_COMMANDS_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "breaker/client.h"
#include "breaker/v1/admin.pb.h"
#include "breaker/v1/breaker.pb.h"

namespace breaker::ctl {

enum ExitStatus {
  kOk = 0,
  kError = 1,
  kUsage = 2,
  kUnavailable = 69,  // EX_UNAVAILABLE: the daemon does not answer
  kRefused = 75,      // EX_TEMPFAIL: the circuit does not let the command run
  kDenied = 77,       // EX_NOPERM: the daemon does not know who asks, or does not permit it
};

struct Daemon {
  ClientOptions options;  // target, TLS and token
  absl::Duration timeout = absl::Seconds(1);
};

// All there is to know about one breaker.
int Stats(const Daemon& daemon, const Key& key, bool json);

// One line for each breaker.
int List(const Daemon& daemon, const std::string& service,
         const std::vector<v1::CircuitState>& states, bool json);

// SERVING or not, by grpc.health.v1: of this gRPC service, or of the daemon if the name is empty.
// kOk only if it serves.
int Health(const Daemon& daemon, const std::string& service);

// One line for each change of these breakers, or of all if there are none, for as long as the
// daemon sends them.
int Watch(const Daemon& daemon, const std::vector<Key>& keys, bool json);

// The breakers on a full screen, those in trouble first, until a key or a signal ends it.
int Top(const Daemon& daemon, absl::Duration interval);

// What operators do to a breaker, or, where the key is (service, "*") or ("*", "*"), to all that
// there are; that is asked for first, unless `yes`.
enum class Action { kOpen, kClose, kAuto, kReset, kDelete };
struct OperateOptions {
  Action action = Action::kAuto;
  Key key;
  std::optional<absl::Duration> ttl;  // of kOpen and kClose, as the next two
  std::string reason;
  std::string actor;
  bool yes = false;
};
int Operate(const Daemon& daemon, const OperateOptions& options);

// The policies that operators have set, in a file or by these commands.
int PolicyList(const Daemon& daemon, bool json);
int PolicyGet(const Daemon& daemon, const Key& key, bool json);
int PolicySet(const Daemon& daemon, const std::vector<v1::SetPolicyRequest>& policies, bool yes);
int PolicyDelete(const Daemon& daemon, const Key& key, bool yes);
int PolicyExport(const Daemon& daemon);

// Writes a backup of the daemon's state to a new folder.
int Backup(const Daemon& daemon, const std::string& folder, bool json);

struct ExecOptions {
  Key key;
  std::optional<Policy> policy;
  std::string worker_id;
  std::string fallback;  // a shell command; empty = none
  OnDaemonUnavailable on_daemon_unavailable = OnDaemonUnavailable::kAllow;
  std::vector<std::string> command;
};

// Runs the command if the circuit lets it. Ends the process by the signal that ended the command.
// To be called before the process has any other thread.
int Exec(const Daemon& daemon, const ExecOptions& options);

}  // namespace breaker::ctl

#endif  // BREAKER_CTL_COMMANDS_H_
