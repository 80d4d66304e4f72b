#include "server/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/backup_folder.h"
#include "server/new_file.h"
#include "server/sha256.h"
#include "server/store/data_dir_lock.h"
#include "server/store/rocksdb_store.h"

namespace breaker::server {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPiece = 256 << 10;

// Copies a file and says what its SHA-256 is, in hexadecimal.
absl::StatusOr<std::string> Copy(const std::string& from, const std::string& to) {
  const auto cannot_read = [&] {
    return absl::UnavailableError(absl::StrCat("cannot read ", from, ": ", strerror(errno)));
  };
  const int fd = open(from.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return cannot_read();
  const absl::Cleanup closes = [fd] { close(fd); };
  absl::StatusOr<std::unique_ptr<NewFile>> file = NewFile::Create(to);
  if (!file.ok()) return file.status();
  Sha256 sha256;
  std::vector<char> piece(kPiece);
  while (true) {
    const ssize_t got = read(fd, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return cannot_read();
    if (got == 0) break;
    const absl::string_view bytes(piece.data(), static_cast<size_t>(got));
    sha256.Update(bytes);
    if (absl::Status written = (*file)->Append(bytes); !written.ok()) return written;
  }
  if (absl::Status synced = (*file)->Sync(); !synced.ok()) return synced;
  return absl::BytesToHexString(sha256.Digest());
}

// Copies the database of a backup to `to`, checked and ready to be opened.
absl::Status CopyDatabase(const std::string& backup, const BackupContents& contents,
                          const std::string& to) {
  std::error_code error;
  if (!fs::create_directory(to, error)) {
    return absl::UnavailableError(
        absl::StrCat("cannot create ", to, ": ", error ? error.message() : "it is there already"));
  }
  for (const auto& [name, checksum] : contents.checksums) {
    const absl::StatusOr<std::string> copied =
        Copy(absl::StrCat(backup, "/", name), absl::StrCat(to, "/", name));
    if (!copied.ok()) return copied.status();
    if (*copied != checksum) {
      return absl::FailedPreconditionError(
          absl::StrCat(backup, " is not a whole backup: ", name, " is not what was written"));
    }
  }
  const absl::StatusOr<size_t> breakers = CountBreakers(to);
  if (!breakers.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat(backup, " cannot be opened: ", breakers.status().message()));
  }
  if (*breakers != contents.summary.breakers()) {
    return absl::FailedPreconditionError(absl::StrCat(backup, " is not a whole backup: it has ",
                                                      *breakers, " breakers and not ",
                                                      contents.summary.breakers()));
  }
  if (absl::Status forgotten = ForgetEpoch(to); !forgotten.ok()) return forgotten;
  return SyncFolder(to);
}

}  // namespace

absl::StatusOr<v1::BackupSummary> Restore(const std::string& backup, const std::string& data_dir) {
  const absl::StatusOr<BackupContents> contents = ReadBackupFolder(backup);
  if (!contents.ok()) return contents.status();
  const absl::StatusOr<std::unique_ptr<DataDirLock>> lock = DataDirLock::Take(data_dir);
  if (!lock.ok()) return lock.status();

  const std::string database = absl::StrCat(data_dir, "/", kDatabaseFolder);
  std::error_code error;
  if (fs::exists(fs::symlink_status(database, error))) {
    return absl::FailedPreconditionError(
        absl::StrCat(data_dir, " has a database already; move it aside to restore another: mv ",
                     database, " ", database, ".old"));
  }
  const std::string restoring = absl::StrCat(data_dir, "/", kRestoringFolder);
  const absl::Cleanup removes = [&restoring] {
    std::error_code ignored;  // it is gone if all went well
    fs::remove_all(restoring, ignored);
  };
  if (absl::Status copied = CopyDatabase(backup, *contents, restoring); !copied.ok()) return copied;
  error.clear();
  fs::rename(restoring, database, error);
  if (error) {
    return absl::UnavailableError(
        absl::StrCat("cannot rename ", restoring, " to ", database, ": ", error.message()));
  }
  if (absl::Status synced = SyncFolder(data_dir); !synced.ok()) return synced;
  return contents->summary;
}

}  // namespace breaker::server
