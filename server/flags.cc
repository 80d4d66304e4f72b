#include "server/flags.h"

#include <CLI/CLI.hpp>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace breaker {
namespace {

constexpr int kUsageError = 2;

// Binds --name and BREAKERD_NAME to `add`'s option.
CLI::Option* WithEnvironment(CLI::Option* option, const std::string& name) {
  return option->envname(absl::StrCat("BREAKERD_", absl::AsciiStrToUpper(name)));
}

template <typename T>
CLI::Option* Add(CLI::App& app, const std::string& name, T& value, const std::string& help) {
  return WithEnvironment(app.add_option("--" + name, value, help)->capture_default_str(), name);
}

// A length of time with its unit; at least `least`.
CLI::Option* AddDuration(CLI::App& app, const std::string& name, absl::Duration& value,
                         absl::Duration least, const std::string& help) {
  const auto parse = [&value, least](const std::string& text) {
    absl::Duration parsed;
    if (!absl::ParseDuration(text, &parsed)) {
      throw CLI::ValidationError(
          absl::StrCat("\"", text, "\" is not a length of time such as 30s, 500ms or 1h30m"));
    }
    if (parsed < least) {
      throw CLI::ValidationError(
          absl::StrCat(text, " is not at least ", absl::FormatDuration(least)));
    }
    value = parsed;
  };
  return WithEnvironment(app.add_option_function<std::string>("--" + name, parse, help)
                             ->type_name("DURATION")
                             ->default_str(absl::FormatDuration(value)),
                         name);
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

  Add(app, "listen", options.listen, "Where to serve gRPC; port 0 takes a free one")
      ->type_name("HOST:PORT");
  Add(app, "data_dir", options.data_dir, "Where the state is kept across restarts")
      ->type_name("DIR");
  Add(app, "durability", options.durability,
      "What a stored change outlives: the end of this process, or of the machine as well (fsync)")
      ->type_name("process|disk")
      ->transform(CLI::CheckedTransformer(std::map<std::string, Durability>{
          {"process", Durability::kProcess}, {"disk", Durability::kDisk}}))
      ->default_str("process");
  AddDuration(app, "snapshot_interval", options.snapshot_interval, absl::Milliseconds(10),
              "How often counters and windows are stored");
  Add(app, "max_breakers", options.max_breakers, "Breakers that there may be at once")
      ->type_name("COUNT")
      ->check(CLI::PositiveNumber);
  Add(app, "max_permits", options.max_permits,
      "Permits out at once; past it a closed circuit allows calls without one")
      ->type_name("COUNT")
      ->check(CLI::NonNegativeNumber);
  AddDuration(app, "idle_ttl", options.idle_ttl, absl::ZeroDuration(),
              "Forget a closed breaker that was not used for so long; 0 = never");
  AddDuration(app, "drain_timeout", options.drain_timeout, absl::ZeroDuration(),
              "How long calls under way may take to end after SIGTERM");

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
  parsed.options = options;
  return parsed;
}

}  // namespace breaker
