#include "server/flags.h"

#include <google/protobuf/util/time_util.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/policy_file.h"
#include "server/restore.h"

namespace breaker::server {
namespace {

constexpr int kUsageError = 2;

// Address space is reserved for all breakers that there may be, close to a KiB each.
constexpr size_t kMaxBreakers = 100'000'000;
constexpr int64_t kMaxPermits = 1'000'000'000;
constexpr size_t kMaxConnections = 10'000'000;
constexpr size_t kMinRpcMemory = 16;
constexpr size_t kMaxRpcMemory = 1 << 20;
constexpr size_t kNoMatter = 1'000'000'000;  // more than can be

// Adds --name and BREAKERD_NAME. parse(text) stores the value and returns "", or says what the text
// is not.
template <typename Parse>
void Add(CLI::App& app, const std::string& name, const std::string& type,
         const std::string& default_text, const std::string& help, Parse parse) {
  const auto apply = [name, parse](const std::string& text) {
    const std::string wrong = parse(text);
    if (!wrong.empty()) {
      throw CLI::ValidationError("--" + name, absl::StrCat("\"", text, "\" is not ", wrong));
    }
  };
  app.add_option_function<std::string>("--" + name, apply, help)
      ->type_name(type)
      ->default_str(default_text)
      ->envname(absl::StrCat("BREAKERD_", absl::AsciiStrToUpper(name)));
}

void AddText(CLI::App& app, const std::string& name, const std::string& type, std::string& value,
             const std::string& help) {
  Add(app, name, type, value, help, [&value](const std::string& text) {
    value = text;
    return std::string();
  });
}

// --name alone is true, and so is BREAKERD_NAME=true.
void AddSwitch(CLI::App& app, const std::string& name, bool& value, const std::string& help) {
  app.add_flag("--" + name, value, help)
      ->envname(absl::StrCat("BREAKERD_", absl::AsciiStrToUpper(name)));
}

template <typename Count>
void AddCount(CLI::App& app, const std::string& name, Count& value, Count least, Count most,
              const std::string& help) {
  Add(app, name, "COUNT", absl::StrCat(value), help,
      [&value, least, most](const std::string& text) {
        Count parsed;
        if (!absl::SimpleAtoi(text, &parsed) || parsed < least || parsed > most) {
          return absl::StrCat("a whole number in [", least, ", ", most, "]");
        }
        value = parsed;
        return std::string();
      });
}

void AddDuration(CLI::App& app, const std::string& name, absl::Duration& value,
                 absl::Duration least, const std::string& help) {
  Add(app, name, "DURATION", absl::FormatDuration(value), help,
      [&value, least](const std::string& text) {
        absl::Duration parsed;
        if (!absl::ParseDuration(text, &parsed) || parsed < least) {
          return absl::StrCat("a length of time of at least ", absl::FormatDuration(least),
                              ", such as 30s, 500ms or 1h30m");
        }
        value = parsed;
        return std::string();
      });
}

int CheckPolicies(const std::string& path) {
  const auto policies = ReadPolicies(path);
  if (!policies.ok()) {
    std::cerr << policies.status().message() << "\n";
    return 1;
  }
  std::cout << path << ": " << policies->size() << " policies, all right\n";
  return 0;
}

int RestoreBackup(const std::string& backup, const std::string& data_dir) {
  const absl::StatusOr<v1::BackupSummary> restored = Restore(backup, data_dir);
  if (!restored.ok()) {
    std::cerr << "breakerd: " << restored.status().message() << "\n";
    return 1;
  }
  std::cout << "restored " << backup << " to " << data_dir << ": " << restored->files()
            << " files, " << restored->bytes() << " bytes, " << restored->breakers()
            << " breakers, made "
            << google::protobuf::util::TimeUtil::ToString(restored->created_at()) << " by breakerd "
            << restored->daemon_version() << "\n";
  return 0;
}

}  // namespace

ParsedFlags ParseFlags(int argc, const char* const* argv) {
  DaemonOptions options;
  CLI::App app(
      "breakerd: circuit breakers with shared state, over gRPC.\n"
      "Each flag may be given by the environment as well: BREAKERD_LISTEN for --listen.",
      "breakerd");
  app.get_formatter()->column_width(44);
  app.set_version_flag("--version", "breakerd " BREAKER_VERSION);

  AddText(app, "listen", "HOST:PORT", options.listen,
          "Where to serve gRPC; port 0 takes a free one");
  AddText(
      app, "tls_cert", "FILE", options.tls.cert,
      "Certificate of the gRPC port and those up to its CA, in PEM; read again when it changes");
  AddText(app, "tls_key", "FILE", options.tls.key, "Its private key");
  AddText(app, "tls_client_ca", "FILE", options.tls.client_ca,
          "CA whose certificates clients show; none = they show none");
  Add(app, "tls_client_auth", "required|optional", "required",
      "Whether a client without a certificate is refused", [&options](const std::string& text) {
        if (text != "required" && text != "optional") return std::string("required or optional");
        options.tls.client_required = text == "required";
        return std::string();
      });
  AddText(app, "identities", "FILE", options.identities,
          "Who may do what, in YAML; none = everybody everything; read again when it changes");
  AddSwitch(app, "insecure", options.insecure,
            "Ports that other machines can reach may be without TLS");
  Add(app, "health_listen", "HOST:PORT|off", "off",
      "Where to serve grpc.health.v1.Health alone, without TLS, as probes of Kubernetes need it",
      [&options](const std::string& text) {
        options.health_listen = text == "off" ? "" : text;
        return std::string();
      });
  AddText(app, "data_dir", "DIR", options.data_dir, "Where the state is kept across restarts");
  Add(app, "durability", "process|disk", "process",
      "What a stored change outlives: the end of this process, or of the machine as well (fsync)",
      [&options](const std::string& text) {
        if (text != "process" && text != "disk") return std::string("process or disk");
        options.durability = text == "disk" ? Durability::kDisk : Durability::kProcess;
        return std::string();
      });
  AddDuration(app, "snapshot_interval", options.snapshot_interval, absl::Milliseconds(10),
              "How often counters and windows are stored");
  AddCount(app, "max_breakers", options.max_breakers, size_t{1}, kMaxBreakers,
           "Breakers that there may be at once");
  AddCount(app, "max_permits", options.max_permits, int64_t{0}, kMaxPermits,
           "Permits out at once; past it a closed circuit allows calls without one");
  AddDuration(app, "idle_ttl", options.idle_ttl, absl::ZeroDuration(),
              "Forget a closed breaker that was not used for so long; 0 = never");
  AddDuration(app, "watch_heartbeat", options.watch_heartbeat, absl::Milliseconds(10),
              "How long a Watch stream is silent at most");
  AddText(app, "policies", "FILE", options.policies,
          "Policies of breakers, in YAML; read again when it changes and at SIGHUP");
  std::string check_policies;
  app.add_option("--check_policies", check_policies, "Say whether such a file is right, and end")
      ->type_name("FILE");
  std::string restore;
  app.add_option("--restore", restore,
                 "Put a backup, as breakerctl backup has made it, into --data_dir, and end")
      ->type_name("DIR");
  Add(app, "http_listen", "HOST:PORT|off", options.http_listen,
      "Where to serve the board, /metrics and /healthz; port 0 takes a free one",
      [&options](const std::string& text) {
        options.http_listen = text == "off" ? "" : text;
        return std::string();
      });
  AddSwitch(app, "http_insecure", options.http_insecure,
            "That port, which speaks no TLS, may be one that other machines can reach");
  AddText(
      app, "http_admin_token_file", "FILE", options.http_admin_token_file,
      "Holds the token with which the board may force and reset circuits; none = it only shows");
  AddCount(app, "metrics_max_breakers", options.metrics_max_breakers, size_t{0}, kMaxBreakers,
           "Breakers with metrics of their own, the worst first");
  AddText(app, "emf_log", "FILE", options.emf_log,
          "Where to append metrics for Amazon CloudWatch, in its Embedded Metric Format");
  AddDuration(app, "drain_timeout", options.drain_timeout, absl::ZeroDuration(),
              "How long calls under way may take to end after SIGTERM");

  AddCount(app, "max_connections", options.max_connections, size_t{1}, kMaxConnections,
           "Connections that there may be at once");
  AddCount(app, "max_rpc_memory", options.max_rpc_memory, kMinRpcMemory, kMaxRpcMemory,
           "MiB that connections and rpcs may take; past it some of them are ended");
  AddCount(app, "max_watches_per_connection", options.max_watches_per_connection, size_t{0},
           kNoMatter, "Watch streams of one connection; 0 = no limit");
  AddCount(app, "max_subscriptions", options.max_subscriptions, size_t{0}, kNoMatter,
           "Breakers that one Watch stream may name; 0 = no limit");
  AddCount(app, "max_new_breakers_per_minute", options.max_new_breakers_per_minute, size_t{0},
           kNoMatter, "Breakers that one worker may create in a minute; 0 = no limit");

  ParsedFlags parsed;
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& done) {
    parsed.exit_status = app.exit(done);
    return parsed;
  } catch (const CLI::ParseError& error) {
    std::cerr << "breakerd: " << error.what() << "\nRun breakerd --help for the flags.\n";
    parsed.exit_status = kUsageError;
    return parsed;
  }
  if (!check_policies.empty()) {
    parsed.exit_status = CheckPolicies(check_policies);
    return parsed;
  }
  if (!restore.empty()) {
    parsed.exit_status = RestoreBackup(restore, options.data_dir);
    return parsed;
  }
  parsed.options = options;
  return parsed;
}

}  // namespace breaker::server
