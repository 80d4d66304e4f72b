#ifndef BREAKER_CLIENT_TEXT_FILE_H_
#define BREAKER_CLIENT_TEXT_FILE_H_

#include <string>

#include "absl/status/statusor.h"

namespace breaker::internal {

// All of a small file. The error says which file, and what is wrong with it.
absl::StatusOr<std::string> ReadTextFile(const std::string& path);

}  // namespace breaker::internal

#endif  // BREAKER_CLIENT_TEXT_FILE_H_
