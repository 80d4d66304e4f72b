#ifndef BREAKER_TESTS_BENCH_ROW_H_
#define BREAKER_TESTS_BENCH_ROW_H_

#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/bench/turns.h"

namespace breaker::bench {

// One line of the figure sheet.
struct Row {
  std::string figure = {};
  double measured = 0;
  std::string unit = {};
  // What it is compared with, measured in the same run and unit; empty = nothing.
  std::string against = {};
  double against_value = 0;
  std::optional<Ratio> ratio = {};
  // What the ratio should be, or with a unit the measured value, such as ">= 0.9"; empty = no aim.
  std::string target = {};
  // More of what was measured, such as {"p99", 12.5}.
  std::vector<std::pair<std::string, double>> distribution = {};
};

// Prints it as a line of JSON, from which figures.py makes the table.
inline void Emit(const Row& row) {
  nlohmann::ordered_json json = {
      {"figure", row.figure}, {"measured", row.measured}, {"unit", row.unit}};
  if (!row.against.empty()) {
    json["against"] = row.against;
    json["against_value"] = row.against_value;
  }
  if (row.ratio.has_value()) {
    json["ratio"] = row.ratio->median;
    json["ratio_range"] = {row.ratio->lowest, row.ratio->highest};
  }
  if (!row.target.empty()) json["target"] = row.target;
  for (const auto& [name, value] : row.distribution) json["distribution"][name] = value;
  printf("%s\n", json.dump().c_str());
  fflush(stdout);
}

}  // namespace breaker::bench

#endif  // BREAKER_TESTS_BENCH_ROW_H_
