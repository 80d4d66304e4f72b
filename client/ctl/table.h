// Tables on a terminal.
#ifndef BREAKER_CTL_TABLE_H_
#define BREAKER_CTL_TABLE_H_

#include <string>
#include <vector>

namespace breaker::ctl {

using Row = std::vector<std::string>;

// Writes rows of equal length to stdout, columns aligned; the first is the head.
void PrintAligned(const std::vector<Row>& rows);

}  // namespace breaker::ctl

#endif  // BREAKER_CTL_TABLE_H_
