// Tables on a terminal.
#ifndef BREAKER_CTL_TABLE_H_
#define BREAKER_CTL_TABLE_H_

#include <cstddef>
#include <string>
#include <vector>

namespace breaker::ctl {

using Row = std::vector<std::string>;

// The rows, of equal length, as lines whose columns are aligned, none of more characters than
// `max_width` (0 = no limit); the last column is not padded. With `colours`, states of a circuit
// stand out. What is no printable character is shown as '?'.
std::vector<std::string> Aligned(const std::vector<Row>& rows, size_t max_width, bool colours);

// Writes that to stdout; the first row is the head. In colours where stdout is a terminal.
void PrintAligned(const std::vector<Row>& rows);

// Whether to write in colours: stdout is a terminal, and NO_COLOR is not set
// (https://no-color.org).
bool WantsColours();

// A state's name, standing out with `colours`.
std::string Coloured(const std::string& state, bool colours);

}  // namespace breaker::ctl

#endif  // BREAKER_CTL_TABLE_H_
