#ifndef BREAKER_TESTS_BENCH_OPTIONS_H_
#define BREAKER_TESTS_BENCH_OPTIONS_H_

#include <CLI/CLI.hpp>
#include <string>

#include "absl/time/time.h"

namespace breaker::bench {

// --name=DURATION, such as 500ms or 10m.
inline void AddDuration(CLI::App& app, const std::string& name, absl::Duration& value) {
  const auto apply = [name, &value](const std::string& text) {
    if (!absl::ParseDuration(text, &value)) {
      throw CLI::ValidationError(name, "\"" + text + "\" is not a length of time, such as 500ms");
    }
  };
  app.add_option_function<std::string>(name, apply)->type_name("DURATION");
}

// How long sides are measured in turns.
struct Slices {
  int count = 10;
  absl::Duration length = absl::Seconds(1);
};

// --slices=COUNT --slice=DURATION
inline void AddSlices(CLI::App& app, Slices& slices) {
  app.add_option("--slices", slices.count)->check(CLI::PositiveNumber);
  AddDuration(app, "--slice", slices.length);
}

}  // namespace breaker::bench

#endif  // BREAKER_TESTS_BENCH_OPTIONS_H_
