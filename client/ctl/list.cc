#include <algorithm>
#include <cstdint>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/ctl/commands.h"
#include "client/ctl/remote.h"

namespace breaker::ctl {
namespace {

constexpr uint32_t kPageSize = 1000;

using Row = std::vector<std::string>;

Row ToRow(const v1::CircuitStats& stats) {
  return {absl::StrCat(stats.service(), "/", stats.operation()),
          v1::CircuitState_Name(stats.state()),
          absl::StrCat(stats.total_requests()),
          absl::StrCat(stats.failure_count()),
          absl::StrCat(stats.slow_count()),
          absl::StrCat(stats.in_flight()),
          stats.has_next_attempt_time() ? Relative(stats.next_attempt_time()) : "-"};
}

// In characters, for which UTF-8 may take several bytes.
size_t Width(const std::string& text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

void PrintAligned(const std::vector<Row>& rows) {
  std::vector<size_t> widths(rows.front().size());
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Width(row[i]));
  }
  for (const Row& row : rows) {
    for (size_t i = 0; i + 1 < row.size(); ++i) {
      std::cout << row[i] << std::string(widths[i] - Width(row[i]) + 2, ' ');
    }
    std::cout << row.back() << "\n";
  }
}

}  // namespace

int List(const Daemon& daemon, const std::string& service,
         const std::vector<v1::CircuitState>& states, bool json) {
  v1::ListStatsRequest request;
  request.set_service(service);
  request.mutable_states()->Add(states.begin(), states.end());
  request.set_page_size(kPageSize);
  const auto stub = Connect(daemon);
  v1::ListStatsResponse all;
  do {
    grpc::ClientContext context;
    SetDeadline(daemon, context);
    v1::ListStatsResponse page;
    const grpc::Status status = stub->ListStats(&context, request, &page);
    if (!status.ok()) return Fail(daemon, status);
    request.set_page_token(page.next_page_token());
    all.MergeFrom(page);
  } while (!request.page_token().empty());

  if (json) {
    all.clear_next_page_token();
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
