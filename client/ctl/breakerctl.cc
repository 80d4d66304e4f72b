// breakerctl: asks breakerd, and guards shell commands with its circuits.
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "client/cpp/src/convert.h"
#include "client/ctl/access_flags.h"
#include "client/ctl/commands.h"
#include "client/ctl/completion.h"
#include "grpc/support/log.h"
#include "server/policy_file.h"
#include "server/rpc/policy_text.h"

namespace breaker::ctl {
namespace {

constexpr char kFooter[] = R"(
S/O names a breaker by service and operation; the first '/' parts them. Where
many can be meant, S/'*' is a whole service and '*/*' is everything.

Exit status:
  0   done
  1   error, such as a breaker that does not exist
  2   wrong usage (top without a terminal too), or a question that was not answered with yes
  69  breakerd is unavailable (all but exec)
  75  the circuit refused the command (exec); it did not run
  77  breakerd does not know who asks, or does not permit it (all but exec)
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

absl::Duration ParseDuration(const std::string& option, const std::string& text) {
  absl::Duration duration;
  if (!absl::ParseDuration(text, &duration) || duration <= absl::ZeroDuration()) {
    throw CLI::ValidationError(option + ": '" + text + "' is not a duration such as 2s");
  }
  return duration;
}

v1::Policy ParseSettings(const std::vector<std::string>& settings) {
  v1::Policy policy;
  for (const std::string& setting : settings) {
    const absl::Status parsed = server::ParsePolicy(setting, policy);
    if (!parsed.ok()) throw CLI::ValidationError(std::string(parsed.message()));
  }
  return policy;
}

void AddJson(CLI::App& command, bool& json) { command.add_flag("--json", json, "As JSON"); }

void AddYes(CLI::App& command, bool& yes) {
  command.add_flag("--yes", yes, "Do not ask where many breakers are meant");
}

std::string Example(const std::string& text) { return "\nExample:\n  " + text; }

std::string HostName() {
  char host[256] = {};
  gethostname(host, sizeof(host) - 1);
  return host;
}

// How to reach the daemon. A command to be guarded must not fail for the want of a file.
ClientOptions Access(const AccessFlags& flags, bool read_files) {
  absl::StatusOr<ClientOptions> options = ToClientOptions(flags);
  absl::Status status = options.status();
  if (status.ok() && read_files) status = internal::CheckAccessFiles(*options, kAccessFlags);
  if (!status.ok()) throw CLI::ValidationError(std::string(status.message()));
  return *std::move(options);
}

// Who is at the keyboard.
std::string UserAtHost() {
  const char* const user = getenv("USER");
  return (user == nullptr ? std::string("uid ") + std::to_string(getuid()) : user) + "@" +
         HostName();
}

const std::map<std::string, v1::CircuitState> kStates = {
    {"CLOSED", v1::CLOSED}, {"OPEN", v1::OPEN}, {"HALF_OPEN", v1::HALF_OPEN}};
const std::map<std::string, OnDaemonUnavailable> kChoices = {{"allow", OnDaemonUnavailable::kAllow},
                                                             {"deny", OnDaemonUnavailable::kDeny}};

// ---------------------------------------------------------------------------------------------
// The commands, one function each: it adds the command, with options that live as long as the
// command does, and has `run` do it once it is parsed.

using Run = std::function<int()>;

void AddStats(CLI::App& app, const Daemon& daemon, Run& run) {
  struct Options {
    Key key;
    bool json = false;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("stats", "Shows all about one breaker");
  command->footer(Example("breakerctl stats payments/charge"));
  AddKey(*command, options->key);
  AddJson(*command, options->json);
  command->callback([=, &daemon, &run] {
    run = [=, &daemon] { return Stats(daemon, options->key, options->json); };
  });
}

void AddList(CLI::App& app, const Daemon& daemon, Run& run) {
  struct Options {
    std::string service;
    std::vector<v1::CircuitState> states;
    bool json = false;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("list", "Shows the breakers, one on a line");
  command->footer(Example("breakerctl list --state OPEN --state HALF_OPEN"));
  command->add_option("--service", options->service, "Only those of this service");
  command->add_option("--state", options->states, "Only those in this state; may be given again")
      ->expected(1)
      ->take_all()
      ->transform(CLI::CheckedTransformer(kStates, CLI::ignore_case))
      ->option_text("CLOSED|OPEN|HALF_OPEN");
  AddJson(*command, options->json);
  command->callback([=, &daemon, &run] {
    run = [=, &daemon] { return List(daemon, options->service, options->states, options->json); };
  });
}

void AddHealth(CLI::App& app, const Daemon& daemon, Run& run) {
  const auto service = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("health", "Says whether breakerd serves; status 0 if so");
  command->footer(Example("breakerctl health"));
  command->add_option("--service", *service, "Of this gRPC service; of all, if not given");
  command->callback(
      [=, &daemon, &run] { run = [=, &daemon] { return Health(daemon, *service); }; });
}

void AddWatch(CLI::App& app, const Daemon& daemon, Run& run) {
  struct Options {
    std::vector<std::string> names;
    bool json = false;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("watch", "Shows every change, a line each, as it happens");
  command->footer(
      Example("breakerctl watch --json | jq -r 'select(.state == \"OPEN\") | .service'"));
  command->add_option("S/O", options->names, "The breakers; all of them if none is given");
  AddJson(*command, options->json);
  command->callback([=, &daemon, &run] {
    std::vector<Key> keys;
    for (const std::string& name : options->names) keys.push_back(ParseKey(name));
    run = [=, &daemon] { return Watch(daemon, keys, options->json); };
  });
}

void AddTop(CLI::App& app, const Daemon& daemon, Run& run) {
  const auto interval = std::make_shared<absl::Duration>(absl::Seconds(1));
  CLI::App* command =
      app.add_subcommand("top", "Shows the breakers on a full screen, those in trouble first");
  command->footer(Example("breakerctl top --interval 5s"));
  command
      ->add_option_function<std::string>(
          "--interval",
          [=](const std::string& text) { *interval = ParseDuration("--interval", text); },
          "How often to ask breakerd")
      ->default_str("1s");
  command->callback([=, &daemon, &run] { run = [=, &daemon] { return Top(daemon, *interval); }; });
}

void AddBackup(CLI::App& app, const Daemon& daemon, Run& run) {
  struct Options {
    std::string folder;
    bool json = false;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("backup", "Copies all that breakerd has stored");
  command->footer(
      Example("breakerctl backup /backup/breakerd-monday\n"
              "  breakerd --restore /backup/breakerd-monday --data_dir DATA"));
  command->add_option("DIR", options->folder, "A new folder, for breakerd --restore")->required();
  AddJson(*command, options->json);
  command->callback([=, &daemon, &run] {
    run = [=, &daemon] { return Backup(daemon, options->folder, options->json); };
  });
}

CLI::App* AddCompletion(CLI::App& app, Run& run) {
  CLI::App* command = app.add_subcommand("completion", "Writes a script for the shell to load");
  command->require_subcommand(1);
  command->footer(Example("breakerctl completion bash > /etc/bash_completion.d/breakerctl"));
  for (const auto& [name, shell] :
       {std::pair("bash", Shell::kBash), std::pair("zsh", Shell::kZsh)}) {
    CLI::App* one = command->add_subcommand(name, std::string("For ") + name);
    one->footer(Example(std::string("source <(breakerctl completion ") + name + ")"));
    one->callback([&app, &run, shell = shell] {
      run = [&app, shell] {
        std::cout << CompletionScript(app, shell);
        return int{kOk};
      };
    });
  }
  return command;
}

void AddOperation(CLI::App& app, const Daemon& daemon, Run& run, Action action,
                  const std::string& name, const std::string& help, const std::string& example) {
  const auto options = std::make_shared<OperateOptions>();
  options->action = action;
  options->actor = UserAtHost();
  CLI::App* command = app.add_subcommand(name, help);
  command->footer(Example("breakerctl " + name + " " + example));
  AddKey(*command, options->key);
  if (action == Action::kOpen || action == Action::kClose) {
    command->add_option_function<std::string>(
        "--ttl", [=](const std::string& text) { options->ttl = ParseDuration("--ttl", text); },
        "For how long; until it is cleared, if not given");
    command->add_option("--reason", options->reason, "Why, for the history");
    command->add_option("--actor", options->actor, "Who, for the history")->capture_default_str();
  }
  AddYes(*command, options->yes);
  command->callback(
      [=, &daemon, &run] { run = [=, &daemon] { return Operate(daemon, *options); }; });
}

void AddPolicy(CLI::App& app, const Daemon& daemon, Run& run) {
  struct Options {
    Key key;
    std::vector<std::string> settings;
    std::string file;
    bool json = false;
    bool yes = false;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* policy = app.add_subcommand("policy", "Shows and sets operators' policies");
  policy->require_subcommand(1);
  policy->footer(Example("breakerctl policy export > policies.yaml"));

  CLI::App* list = policy->add_subcommand("list", "Shows those that are set, one on a line");
  list->footer(Example("breakerctl policy list"));
  AddJson(*list, options->json);
  list->callback(
      [=, &daemon, &run] { run = [=, &daemon] { return PolicyList(daemon, options->json); }; });

  CLI::App* get = policy->add_subcommand("get", "Shows one, every field on a line");
  get->footer(Example("breakerctl policy get payments/charge"));
  AddKey(*get, options->key);
  AddJson(*get, options->json);
  get->callback([=, &daemon, &run] {
    run = [=, &daemon] { return PolicyGet(daemon, options->key, options->json); };
  });

  CLI::App* set = policy->add_subcommand(
      "set", "Sets one: set S/O NAME=VALUE...; or all of a file: set --file FILE");
  set->footer(
      Example("breakerctl policy set payments/charge failure_threshold=3 "
              "recovery_timeout=20s\n"
              "  breakerctl policy set --file policies.yaml"));
  CLI::Option* key = set->add_option_function<std::string>(
      "S/O", [=](const std::string& name) { options->key = ParseKey(name); },
      "The breaker; S/'*' = its whole service, '*/*' = everything");
  CLI::Option* settings =
      set->add_option("NAME=VALUE", options->settings, "Fields; the others take their defaults");
  CLI::Option* file = set->add_option("--file", options->file, "A file such as export writes")
                          ->excludes(key)
                          ->type_name("FILE");
  AddYes(*set, options->yes);
  set->callback([=, &daemon, &run] {
    std::vector<v1::SetPolicyRequest> policies;
    if (file->count() > 0) {
      auto read = server::ReadPolicies(options->file);
      if (!read.ok()) throw CLI::ValidationError(std::string(read.status().message()));
      policies = *std::move(read);
    } else {
      if (key->count() == 0 || settings->count() == 0) {
        throw CLI::ValidationError("policy set takes S/O NAME=VALUE..., or --file FILE");
      }
      v1::SetPolicyRequest& request = policies.emplace_back();
      request.set_service(options->key.service);
      request.set_operation(options->key.operation);
      *request.mutable_policy() = ParseSettings(options->settings);
    }
    run = [=, &daemon] { return PolicySet(daemon, policies, options->yes); };
  });

  CLI::App* remove = policy->add_subcommand("delete", "Takes one away that was set");
  remove->footer(Example("breakerctl policy delete payments/charge"));
  AddKey(*remove, options->key);
  AddYes(*remove, options->yes);
  remove->callback([=, &daemon, &run] {
    run = [=, &daemon] { return PolicyDelete(daemon, options->key, options->yes); };
  });

  CLI::App* exported = policy->add_subcommand(
      "export", "Writes all as a file for set --file, or breakerd --policies");
  exported->footer(Example("breakerctl policy export > policies.yaml"));
  exported->callback([&daemon, &run] { run = [&daemon] { return PolicyExport(daemon); }; });
}

// `command` is what follows the first "--".
CLI::App* AddExec(CLI::App& app, const Daemon& daemon, const std::vector<std::string>& command,
                  Run& run) {
  struct Options {
    ExecOptions exec;
    std::vector<std::string> settings;
  };
  const auto options = std::make_shared<Options>();
  options->exec.worker_id = HostName();
  CLI::App* exec = app.add_subcommand(
      "exec", "Runs a command if the circuit lets it: exec S/O [options] -- COMMAND [ARG...]");
  exec->footer(kExecFooter);
  AddKey(*exec, options->exec.key);
  exec->add_option("--fallback", options->exec.fallback,
                   "Shell command to run instead when refused");
  exec->add_option("--worker_id", options->exec.worker_id, "Who asks; quorum counts distinct ones")
      ->capture_default_str();
  exec->add_option("--on_daemon_unavailable", options->exec.on_daemon_unavailable,
                   "What becomes of the command when breakerd is away (default allow)")
      ->transform(CLI::CheckedTransformer(kChoices))
      ->option_text("allow|deny");
  exec->add_option("--policy", options->settings,
                   "NAME=VALUE[,NAME=VALUE...], fields of the circuit's policy; may be given again")
      ->expected(1)
      ->take_all();
  exec->callback([=, &daemon, &run] {
    const v1::Policy policy = ParseSettings(options->settings);
    if (!options->settings.empty()) options->exec.policy = internal::FromProto(policy);
    options->exec.command = command;
    run = [=, &daemon] { return Exec(daemon, options->exec); };
  });
  return exec;
}

int Main(int argc, char** argv) {
  // What follows the first "--" belongs to the guarded command, byte by byte.
  char** const end = argv + argc;
  char** const separator =
      std::find_if(argv, end, [](const char* arg) { return std::string(arg) == "--"; });
  std::vector<std::string> guarded;
  if (separator != end) guarded.assign(separator + 1, end);

  // gRPC's own words about a connection are not for the user, who gets ours.
  if (getenv("GRPC_VERBOSITY") == nullptr) gpr_set_log_function([](gpr_log_func_args*) {});

  Daemon daemon;
  CLI::App app("Asks and operates breakerd, and guards shell commands with its circuits.",
               "breakerctl");
  app.get_formatter()->column_width(38);
  app.require_subcommand(1);
  app.fallthrough();
  app.footer(kFooter);
  app.set_version_flag("--version", "breakerctl " BREAKER_VERSION);
  AccessFlags access;
  AddAccessFlags(app, access);
  app.add_option_function<std::string>(
         "--timeout",
         [&daemon](const std::string& text) { daemon.timeout = ParseDuration("--timeout", text); },
         "How long breakerd may take to answer")
      ->default_str(absl::FormatDuration(daemon.timeout));

  Run run;
  AddList(app, daemon, run);
  AddStats(app, daemon, run);
  AddHealth(app, daemon, run);
  AddWatch(app, daemon, run);
  AddTop(app, daemon, run);
  AddOperation(app, daemon, run, Action::kOpen, "open", "Forces a circuit open",
               "payments/charge --ttl 10m --reason 'provider says so'");
  AddOperation(app, daemon, run, Action::kClose, "close", "Forces a circuit closed",
               "payments/charge --ttl 10m --reason 'false alarm'");
  AddOperation(app, daemon, run, Action::kAuto, "auto", "Ends what open and close have forced",
               "'payments/*'");
  AddOperation(app, daemon, run, Action::kReset, "reset", "Starts a breaker anew, closed",
               "payments/charge");
  AddOperation(app, daemon, run, Action::kDelete, "delete", "Forgets a breaker and its history",
               "payments/charge");
  AddPolicy(app, daemon, run);
  AddBackup(app, daemon, run);
  CLI::App* exec = AddExec(app, daemon, guarded, run);
  const CLI::App* const completion = AddCompletion(app, run);

  try {
    app.parse(static_cast<int>(separator - argv), argv);
    if (guarded.empty() == exec->parsed()) {
      throw CLI::ValidationError("-- COMMAND goes with exec, and with nothing else");
    }
    if (!completion->parsed()) daemon.options = Access(access, /*read_files=*/!exec->parsed());
  } catch (const CLI::Success& done) {
    return app.exit(done);
  } catch (const CLI::ParseError& error) {
    std::cerr << "breakerctl: " << error.what() << "\nRun breakerctl --help.\n";
    return kUsage;
  }
  return run();
}

}  // namespace
}  // namespace breaker::ctl

int main(int argc, char** argv) { return breaker::ctl::Main(argc, argv); }
