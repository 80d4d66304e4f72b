#include "client/ctl/table.h"

#include <algorithm>
#include <cstddef>
#include <iostream>

namespace breaker::ctl {
namespace {

// In characters, for which UTF-8 may take several bytes.
size_t Width(const std::string& text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

}  // namespace

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

}  // namespace breaker::ctl
