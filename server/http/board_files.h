#ifndef BREAKER_HTTP_BOARD_FILES_H_
#define BREAKER_HTTP_BOARD_FILES_H_

#include <vector>

#include "absl/strings/string_view.h"

namespace breaker::server {

// A file of the folder `board`, as it was when the daemon was built.
struct BoardFile {
  const char* path;  // where it is served
  const char* content_type;
  absl::string_view bytes;
};

const std::vector<BoardFile>& BoardFiles();

}  // namespace breaker::server

#endif  // BREAKER_HTTP_BOARD_FILES_H_
