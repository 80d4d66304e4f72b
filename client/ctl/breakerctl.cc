// breakerctl: asks breakerd, and guards shell commands with its circuits.
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "client/cpp/src/convert.h"
#include "client/ctl/commands.h"
#include "client/ctl/policy_text.h"

namespace breaker::ctl {
namespace {

constexpr char kFooter[] = R"(
S/O names a breaker by service and operation; the first '/' parts them.

Exit status:
  0   done
  1   error, such as a breaker that does not exist
  2   wrong usage
  69  breakerd is unavailable (stats, list)
  75  the circuit refused the command (exec); it did not run
  exec otherwise ends as its command does, by the same exit status or signal;
  126 and 127 are a command that cannot be run or is not there.)";

constexpr char kExecFooter[] = R"(
Exit status 0 of the command is a success, any other a failure, and so is a
signal. A command that cannot be started, or that is told to stop by a signal
to breakerctl, is not counted. One that may take longer than 30 s needs
--policy permit_timeout=..., or its end comes too late to count.

  breakerctl exec db/backup --policy failure_threshold=3,recovery_timeout=5m \
      --fallback 'echo skipped' -- pg_dump -f /backup/db.sql shop)";

Key ParseKey(const std::string& name) {
  const size_t slash = name.find('/');
  if (slash == std::string::npos || slash == 0 || slash + 1 == name.size()) {
    throw CLI::ValidationError("'" + name + "' is not SERVICE/OPERATION");
  }
  return {.service = name.substr(0, slash), .operation = name.substr(slash + 1)};
}

void AddKey(CLI::App& command, Key& key) {
  command
      .add_option_function<std::string>(
          "S/O", [&key](const std::string& name) { key = ParseKey(name); }, "The breaker")
      ->required();
}

std::string HostName() {
  char host[256] = {};
  gethostname(host, sizeof(host) - 1);
  return host;
}

const std::map<std::string, v1::CircuitState> kStates = {
    {"CLOSED", v1::CLOSED}, {"OPEN", v1::OPEN}, {"HALF_OPEN", v1::HALF_OPEN}};
const std::map<std::string, OnDaemonUnavailable> kChoices = {{"allow", OnDaemonUnavailable::kAllow},
                                                             {"deny", OnDaemonUnavailable::kDeny}};

int Main(int argc, char** argv) {
  // What follows the first "--" belongs to the guarded command, byte by byte.
  char** const end = argv + argc;
  char** const separator =
      std::find_if(argv, end, [](const char* arg) { return std::string(arg) == "--"; });

  Daemon daemon;
  CLI::App app("Asks breakerd, and guards shell commands with its circuits.", "breakerctl");
  app.require_subcommand(1);
  app.fallthrough();
  app.footer(kFooter);
  app.add_option("--target", daemon.target, "Where breakerd listens")
      ->envname("BREAKERD_TARGET")
      ->capture_default_str();
  app.add_option_function<std::string>(
         "--timeout",
         [&daemon](const std::string& text) {
           if (!absl::ParseDuration(text, &daemon.timeout) ||
               daemon.timeout <= absl::ZeroDuration()) {
             throw CLI::ValidationError("--timeout: '" + text + "' is not a duration such as 2s");
           }
         },
         "How long breakerd may take to answer")
      ->default_str(absl::FormatDuration(daemon.timeout));

  Key key;
  bool json = false;
  CLI::App* stats = app.add_subcommand("stats", "Shows all about one breaker");
  AddKey(*stats, key);
  stats->add_flag("--json", json, "As JSON");

  std::string service;
  std::vector<v1::CircuitState> states;
  CLI::App* list = app.add_subcommand("list", "Shows the breakers, one on a line");
  list->add_option("--service", service, "Only those of this service");
  list->add_option("--state", states, "Only those in this state; may be given again")
      ->expected(1)
      ->take_all()
      ->transform(CLI::CheckedTransformer(kStates, CLI::ignore_case))
      ->option_text("CLOSED|OPEN|HALF_OPEN");
  list->add_flag("--json", json, "As JSON");

  ExecOptions options;
  options.worker_id = HostName();
  v1::Policy policy;
  CLI::App* exec = app.add_subcommand(
      "exec", "Runs a command if the circuit lets it: exec S/O [options] -- COMMAND [ARG...]");
  exec->footer(kExecFooter);
  AddKey(*exec, options.key);
  exec->add_option("--fallback", options.fallback, "Shell command to run instead when refused");
  exec->add_option("--worker_id", options.worker_id, "Who asks; quorum counts distinct ones")
      ->capture_default_str();
  exec->add_option("--on_daemon_unavailable", options.on_daemon_unavailable,
                   "What becomes of the command when breakerd is away (default allow)")
      ->transform(CLI::CheckedTransformer(kChoices))
      ->option_text("allow|deny");
  std::vector<std::string> settings;
  exec->add_option("--policy", settings,
                   "NAME=VALUE[,NAME=VALUE...], fields of the circuit's policy; may be given again")
      ->expected(1)
      ->take_all();

  try {
    app.parse(static_cast<int>(separator - argv), argv);
    for (const std::string& setting : settings) {
      const absl::Status parsed = ParsePolicy(setting, policy);
      if (!parsed.ok()) throw CLI::ValidationError(std::string(parsed.message()));
    }
    if (!settings.empty()) options.policy = client::internal::FromProto(policy);
    if (separator != end) options.command.assign(separator + 1, end);
    if (options.command.empty() == exec->parsed()) {
      throw CLI::ValidationError("-- COMMAND goes with exec, and with nothing else");
    }
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kOk : kUsage;
  }

  if (stats->parsed()) return Stats(daemon, key, json);
  if (list->parsed()) return List(daemon, service, states, json);
  return Exec(daemon, options);
}

}  // namespace
}  // namespace breaker::ctl

int main(int argc, char** argv) { return breaker::ctl::Main(argc, argv); }
