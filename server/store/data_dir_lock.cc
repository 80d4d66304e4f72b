#include "server/store/data_dir_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/log.h"

namespace breaker::server {
namespace {

// RocksDB makes `checkpoint` under the name of `checkpoint.tmp`.
void RemoveLeftovers(const std::string& data_dir) {
  for (const std::string& name :
       {std::string(kCheckpointFolder), absl::StrCat(kCheckpointFolder, ".tmp"),
        std::string(kRestoringFolder)}) {
    const std::string path = absl::StrCat(data_dir, "/", name);
    std::error_code error;
    if (std::filesystem::remove_all(path, error) > 0 && !error) {
      Log(LogLevel::kInfo, "leftovers_removed", {{"path", path}});
    }
    if (error) {
      Log(LogLevel::kWarning, "leftovers_not_removed",
          {{"path", path}, {"reason", error.message()}});
    }
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<DataDirLock>> DataDirLock::Take(const std::string& data_dir) {
  std::error_code error;
  std::filesystem::create_directories(data_dir, error);
  if (error) {
    return absl::UnavailableError(absl::StrCat("cannot create ", data_dir, ": ", error.message()));
  }
  const std::string path = absl::StrCat(data_dir, "/lock");
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) {
    return absl::UnavailableError(absl::StrCat("cannot open ", path, ": ", strerror(errno)));
  }
  auto lock = std::unique_ptr<DataDirLock>(new DataDirLock(fd));
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      return absl::FailedPreconditionError(absl::StrCat(data_dir, " is in use by another process"));
    }
    return absl::UnavailableError(absl::StrCat("cannot lock ", path, ": ", strerror(errno)));
  }
  RemoveLeftovers(data_dir);
  return lock;
}

DataDirLock::~DataDirLock() { close(fd_); }

}  // namespace breaker::server
