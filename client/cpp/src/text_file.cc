#include "client/cpp/src/text_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <memory>

#include "absl/strings/str_cat.h"

namespace breaker::internal {

absl::StatusOr<std::string> ReadTextFile(const std::string& path) {
  const std::unique_ptr<FILE, decltype(&fclose)> file(fopen(path.c_str(), "re"), &fclose);
  if (file == nullptr) return absl::InvalidArgumentError(absl::StrCat(path, ": ", strerror(errno)));
  std::string text;
  char buffer[4096];
  while (const size_t size = fread(buffer, 1, sizeof(buffer), file.get())) {
    text.append(buffer, size);
  }
  if (ferror(file.get()) != 0) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", strerror(errno)));
  }
  return text;
}

}  // namespace breaker::internal
