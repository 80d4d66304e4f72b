#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/ctl/commands.h"
#include "client/ctl/remote.h"
#include "client/ctl/table.h"

namespace breaker::ctl {
namespace {

Row ToRow(const v1::CircuitStats& stats) {
  return {absl::StrCat(stats.service(), "/", stats.operation()),
          v1::CircuitState_Name(stats.state()),
          absl::StrCat(stats.total_requests()),
          absl::StrCat(stats.failure_count()),
          absl::StrCat(stats.slow_count()),
          absl::StrCat(stats.in_flight()),
          stats.has_next_attempt_time() ? Relative(stats.next_attempt_time()) : "-"};
}

}  // namespace

int List(const Daemon& daemon, const std::string& service,
         const std::vector<v1::CircuitState>& states, bool json) {
  v1::ListStatsResponse all;
  if (const grpc::Status status = ListAll(daemon, service, states, &all); !status.ok()) {
    return Fail(daemon, status);
  }
  if (json) {
    std::cout << ToJson(all);
    return kOk;
  }
  std::vector<Row> rows = {
      {"BREAKER", "STATE", "CALLS", "FAILED", "SLOW", "IN FLIGHT", "NEXT ATTEMPT"}};
  for (const v1::CircuitStats& stats : all.stats()) rows.push_back(ToRow(stats));
  PrintAligned(rows);
  return kOk;
}

}  // namespace breaker::ctl
