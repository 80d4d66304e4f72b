#ifndef BREAKER_BACKUP_FOLDER_H_
#define BREAKER_BACKUP_FOLDER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "breaker/v1/admin.pb.h"
#include "server/new_file.h"
#include "server/sha256.h"

// A backup as a folder: the files of the database, and two of our own. `backup.json` is the
// BackupSummary; `SHA256SUMS` has the checksums of all the others, as sha256sum reads and writes
// them, and is written last: a folder without it is no whole backup.
namespace breaker::server {

inline constexpr char kBackupSummaryFile[] = "backup.json";
inline constexpr char kBackupChecksumsFile[] = "SHA256SUMS";

// Whether a file of a backup may be called so: see BackupChunk.file. Not one of our own.
bool IsBackupFileName(absl::string_view name);

// Writes a backup as it comes from the daemon, under another name, and checks it. What does not
// become a whole backup is removed by the destructor.
class BackupFolderWriter {
 public:
  // `folder` must not exist or be empty, or it is FAILED_PRECONDITION.
  static absl::StatusOr<std::unique_ptr<BackupFolderWriter>> Begin(absl::string_view folder);
  ~BackupFolderWriter();
  BackupFolderWriter(const BackupFolderWriter&) = delete;
  BackupFolderWriter& operator=(const BackupFolderWriter&) = delete;

  // What comes next. DATA_LOSS: it is not what a daemon sends, or not whole.
  absl::Status Take(const v1::BackupChunk& chunk);

  // To be called once the stream has ended well. When it returns OK, all of `folder` is there and
  // outlives the machine; otherwise nothing of it is. DATA_LOSS: there was no summary.
  absl::StatusOr<v1::BackupSummary> End();

 private:
  // Writes to `partial`, which exists.
  BackupFolderWriter(std::string folder, std::string partial);

  absl::Status BeginFile(const std::string& name);
  absl::Status EndFile(const v1::BackupFileEnd& end);
  absl::Status TakeSummary(const v1::BackupSummary& summary);
  // One of our own files.
  absl::Status Write(const std::string& name, const std::string& bytes);

  const std::string folder_;
  const std::string partial_;

  // Of the file that is being written.
  std::string name_;
  std::unique_ptr<NewFile> file_;  // null = none
  std::unique_ptr<Sha256> sha256_;
  uint64_t size_ = 0;

  uint64_t bytes_ = 0;                            // of all files before it
  std::map<std::string, std::string> checksums_;  // in hexadecimal, by name
  std::unique_ptr<v1::BackupSummary> summary_;    // null = has not come
};

// What a folder says that it holds.
struct BackupContents {
  v1::BackupSummary summary;
  // Of the database alone: SHA-256 in hexadecimal, by name.
  std::map<std::string, std::string> checksums;
};

// Reads it and checks that all that must be there is, and nothing else. The bytes of the database
// are not read: whoever does should compare. FAILED_PRECONDITION: it is no whole backup, and why.
absl::StatusOr<BackupContents> ReadBackupFolder(const std::string& folder);

}  // namespace breaker::server

#endif  // BREAKER_BACKUP_FOLDER_H_
