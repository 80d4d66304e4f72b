#include "client/ctl/table.h"

#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>

namespace breaker::ctl {
namespace {

// For which UTF-8 may take several bytes.
bool BeginsCharacter(char c) { return (c & 0xC0) != 0x80; }

size_t Width(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), BeginsCharacter));
}

std::string Cut(const std::string& text, size_t width) {
  size_t end = 0;
  for (size_t characters = 0; end < text.size(); ++end) {
    if (BeginsCharacter(text[end]) && characters++ == width) break;
  }
  return text.substr(0, end);
}

// Labels of errors come from workers, and must not steer the terminal.
std::string Printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text;
}

}  // namespace

bool WantsColours() { return isatty(STDOUT_FILENO) != 0 && getenv("NO_COLOR") == nullptr; }

std::string Coloured(const std::string& state, bool colours) {
  const char* const colour = state == "OPEN"        ? "\033[1;31m"
                             : state == "HALF_OPEN" ? "\033[1;33m"
                             : state == "CLOSED"    ? "\033[32m"
                                                    : nullptr;
  if (!colours || colour == nullptr) return state;
  return colour + state + "\033[0m";
}

std::vector<std::string> Aligned(const std::vector<Row>& rows, size_t max_width, bool colours) {
  std::vector<size_t> widths(rows.empty() ? 0 : rows.front().size());
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Width(row[i]));
  }
  std::vector<std::string> lines;
  for (const Row& row : rows) {
    std::string& line = lines.emplace_back();
    size_t room = max_width == 0 ? SIZE_MAX : max_width;
    for (size_t i = 0; i < row.size() && room > 0; ++i) {
      const std::string cell = Cut(Printable(row[i]), room);
      line += Coloured(cell, colours);
      room -= Width(cell);
      if (i + 1 == row.size()) break;
      const size_t gap = std::min(widths[i] - Width(cell) + 2, room);
      line.append(gap, ' ');
      room -= gap;
    }
  }
  return lines;
}

void PrintAligned(const std::vector<Row>& rows) {
  for (const std::string& line : Aligned(rows, 0, WantsColours())) std::cout << line << "\n";
}

}  // namespace breaker::ctl
