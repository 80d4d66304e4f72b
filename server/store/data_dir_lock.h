#ifndef BREAKER_STORE_DATA_DIR_LOCK_H_
#define BREAKER_STORE_DATA_DIR_LOCK_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace breaker::server {

// Keeps other processes out of a data_dir, by its file `lock`, for as long as this object lives.
class DataDirLock {
 public:
  // Creates the folder where it is missing, and removes the folders that a process which was killed
  // has left half-made in it. FAILED_PRECONDITION if another process is in; UNAVAILABLE if the disk
  // does not work now.
  static absl::StatusOr<std::unique_ptr<DataDirLock>> Take(const std::string& data_dir);
  ~DataDirLock();

  DataDirLock(const DataDirLock&) = delete;
  DataDirLock& operator=(const DataDirLock&) = delete;

 private:
  explicit DataDirLock(int fd) : fd_(fd) {}

  const int fd_;
};

// Of folders in a data_dir. The database, and those that hold nothing of worth without the process
// that makes them: a checkpoint, and a database that is being restored.
inline constexpr char kDatabaseFolder[] = "db";
inline constexpr char kCheckpointFolder[] = "checkpoint";
inline constexpr char kRestoringFolder[] = "restoring";

}  // namespace breaker::server

#endif  // BREAKER_STORE_DATA_DIR_LOCK_H_
