#ifndef BREAKER_NEW_FILE_H_
#define BREAKER_NEW_FILE_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace breaker::server {

// A file that is written once, from its beginning to its end. Errors name it and say what the
// system said.
class NewFile {
 public:
  // An error if there is anything by that name.
  static absl::StatusOr<std::unique_ptr<NewFile>> Create(const std::string& path);
  // Closes it.
  ~NewFile();
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  absl::Status Append(absl::string_view bytes);
  // When it returns OK, what was appended outlives the machine.
  absl::Status Sync();

 private:
  NewFile(std::string path, int fd);

  const std::string path_;
  const int fd_;
};

// The same for the names in a folder.
absl::Status SyncFolder(const std::string& path);

}  // namespace breaker::server

#endif  // BREAKER_NEW_FILE_H_
