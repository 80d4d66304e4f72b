#include "server/backup_folder.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace breaker::server {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxName = 255;
constexpr size_t kHexDigits = 64;
constexpr absl::string_view kBetween = "  ";  // a checksum and a name

std::string Sha256Hex(absl::string_view bytes) {
  Sha256 sha256;
  sha256.Update(bytes);
  return absl::BytesToHexString(sha256.Digest());
}

bool IsSha256Hex(absl::string_view text) {
  return text.size() == kHexDigits && std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f');
         });
}

absl::Status NotWhole(const std::string& folder, absl::string_view why) {
  return absl::FailedPreconditionError(absl::StrCat(folder, " is not a whole backup: ", why));
}

// All of a small file of ours; an error if it cannot be read.
absl::StatusOr<std::string> ReadOwn(const std::string& folder, const char* name) {
  errno = 0;
  std::ifstream file(fs::path(folder) / name, std::ios::binary);
  if (!file.is_open() && errno != 0 && errno != ENOENT) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot read ", folder, "/", name, ": ", std::strerror(errno)));
  }
  std::string bytes{std::istreambuf_iterator<char>(file), {}};
  if (!file.is_open() || file.bad()) {
    return NotWhole(folder, absl::StrCat("it has no ", name, ", or none that can be read"));
  }
  return bytes;
}

absl::StatusOr<std::map<std::string, std::string>> ReadChecksums(const std::string& folder) {
  const absl::StatusOr<std::string> text = ReadOwn(folder, kBackupChecksumsFile);
  if (!text.ok()) return text.status();
  std::map<std::string, std::string> checksums;
  std::vector<std::string> lines = absl::StrSplit(*text, '\n');
  const bool ended = lines.back().empty();
  lines.pop_back();
  for (const std::string& line : lines) {
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(line, absl::MaxSplits(kBetween, 1));
    const auto& [checksum, name] = parts;
    if (!IsSha256Hex(checksum) || !(IsBackupFileName(name) || name == kBackupSummaryFile)) {
      return NotWhole(folder,
                      absl::StrCat(kBackupChecksumsFile, " has the line \"", absl::CHexEscape(line),
                                   "\", which is not a checksum and the name of a file of "
                                   "a backup"));
    }
    if (!checksums.emplace(name, checksum).second) {
      return NotWhole(folder, absl::StrCat(kBackupChecksumsFile, " names ", name, " twice"));
    }
  }
  if (!ended) return NotWhole(folder, absl::StrCat(kBackupChecksumsFile, " is cut off"));
  return checksums;
}

// That these are the files that the folder holds.
absl::Status CheckNames(const std::string& folder,
                        const std::map<std::string, std::string>& checksums) {
  std::set<std::string> missing;
  for (const auto& [name, checksum] : checksums) missing.insert(name);
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename();
    if (name == kBackupChecksumsFile) continue;
    std::error_code failed;
    if (missing.erase(name) == 0 || !fs::is_regular_file(entry.symlink_status(failed))) {
      return NotWhole(folder, absl::StrCat("it holds ", absl::CHexEscape(name),
                                           ", which is no file of the backup"));
    }
  }
  if (error) return NotWhole(folder, error.message());
  if (!missing.empty()) return NotWhole(folder, absl::StrCat("it lacks ", *missing.begin()));
  return absl::OkStatus();
}

}  // namespace

bool IsBackupFileName(absl::string_view name) {
  return !name.empty() && name.size() <= kMaxName && name.front() != '.' &&
         std::all_of(
             name.begin(), name.end(),
             [](char c) { return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-'; }) &&
         name != kBackupSummaryFile && name != kBackupChecksumsFile;
}

// ---------------------------------------------------------------------------------------------
// Writing

absl::StatusOr<std::unique_ptr<BackupFolderWriter>> BackupFolderWriter::Begin(
    absl::string_view folder) {
  std::string path = fs::path(std::string(folder)).lexically_normal();
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path, error);
  if (fs::exists(status) && !(fs::is_directory(status) && fs::is_empty(path, error) && !error)) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " is there already; a backup is written to a new folder"));
  }
  // Beside it, so that it can be renamed; not by a name that another backup may have.
  std::string partial =
      absl::StrCat(path, ".part-", absl::Hex(std::random_device()(), absl::kZeroPad8));
  error.clear();
  if (!fs::create_directory(partial, error)) {
    return absl::UnavailableError(absl::StrCat("cannot create ", partial, ": ",
                                               error ? error.message() : "it is there already"));
  }
  return std::unique_ptr<BackupFolderWriter>(
      new BackupFolderWriter(std::move(path), std::move(partial)));
}

BackupFolderWriter::BackupFolderWriter(std::string folder, std::string partial)
    : folder_(std::move(folder)), partial_(std::move(partial)) {}

BackupFolderWriter::~BackupFolderWriter() {
  file_.reset();
  std::error_code ignored;  // it is gone if all went well
  fs::remove_all(partial_, ignored);
}

absl::Status BackupFolderWriter::Take(const v1::BackupChunk& chunk) {
  if (summary_ != nullptr) return absl::DataLossError("the backup goes on after its summary");
  if (chunk.has_summary()) return TakeSummary(chunk.summary());
  if (file_ == nullptr) {
    if (absl::Status begun = BeginFile(chunk.file()); !begun.ok()) return begun;
  } else if (chunk.file() != name_) {
    return absl::DataLossError(absl::StrCat("the backup's file ", name_, " has no end"));
  }
  if (absl::Status written = file_->Append(chunk.data()); !written.ok()) return written;
  sha256_->Update(chunk.data());
  size_ += chunk.data().size();
  return chunk.has_end_of_file() ? EndFile(chunk.end_of_file()) : absl::OkStatus();
}

absl::Status BackupFolderWriter::BeginFile(const std::string& name) {
  if (!IsBackupFileName(name)) {
    return absl::DataLossError(absl::StrCat("the backup has a file \"", absl::CHexEscape(name),
                                            "\", which is no name that a backup may have"));
  }
  if (checksums_.contains(name)) {
    return absl::DataLossError(absl::StrCat("the backup has the file ", name, " twice"));
  }
  absl::StatusOr<std::unique_ptr<NewFile>> file =
      NewFile::Create(absl::StrCat(partial_, "/", name));
  if (!file.ok()) return file.status();
  name_ = name;
  file_ = *std::move(file);
  sha256_ = std::make_unique<Sha256>();
  size_ = 0;
  return absl::OkStatus();
}

absl::Status BackupFolderWriter::EndFile(const v1::BackupFileEnd& end) {
  const std::string sha256 = sha256_->Digest();
  if (size_ != end.size() || sha256 != end.sha256()) {
    return absl::DataLossError(
        absl::StrCat("the backup's file ", name_, " has come otherwise than it was sent"));
  }
  if (absl::Status synced = file_->Sync(); !synced.ok()) return synced;
  file_.reset();
  bytes_ += size_;
  checksums_.emplace(name_, absl::BytesToHexString(sha256));
  return absl::OkStatus();
}

absl::Status BackupFolderWriter::TakeSummary(const v1::BackupSummary& summary) {
  if (file_ != nullptr) {
    return absl::DataLossError(absl::StrCat("the backup's file ", name_, " has no end"));
  }
  if (summary.files() != checksums_.size() || summary.bytes() != bytes_) {
    return absl::DataLossError(absl::StrCat("the backup has ", summary.files(), " files of ",
                                            summary.bytes(), " bytes; ", checksums_.size(), " of ",
                                            bytes_, " bytes have come"));
  }
  summary_ = std::make_unique<v1::BackupSummary>(summary);
  return absl::OkStatus();
}

absl::StatusOr<v1::BackupSummary> BackupFolderWriter::End() {
  if (summary_ == nullptr) return absl::DataLossError("the backup has no end");
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(*summary_, &json, options).ok()) {
    return absl::DataLossError("the backup's summary is not legible");
  }
  if (absl::Status written = Write(kBackupSummaryFile, json); !written.ok()) return written;
  checksums_.emplace(kBackupSummaryFile, Sha256Hex(json));

  std::string lines;
  for (const auto& [name, checksum] : checksums_) {
    absl::StrAppend(&lines, checksum, kBetween, name, "\n");
  }
  if (absl::Status written = Write(kBackupChecksumsFile, lines); !written.ok()) return written;
  if (absl::Status synced = SyncFolder(partial_); !synced.ok()) return synced;

  std::error_code error;
  fs::rename(partial_, folder_, error);  // fails if the folder has something in it by now
  if (error) {
    return absl::UnavailableError(
        absl::StrCat("cannot rename ", partial_, " to ", folder_, ": ", error.message()));
  }
  const fs::path parent = fs::path(folder_).parent_path();
  if (absl::Status synced = SyncFolder(parent.empty() ? "." : parent); !synced.ok()) return synced;
  return *summary_;
}

absl::Status BackupFolderWriter::Write(const std::string& name, const std::string& bytes) {
  absl::StatusOr<std::unique_ptr<NewFile>> file =
      NewFile::Create(absl::StrCat(partial_, "/", name));
  if (!file.ok()) return file.status();
  if (absl::Status written = (*file)->Append(bytes); !written.ok()) return written;
  return (*file)->Sync();
}

// ---------------------------------------------------------------------------------------------
// Reading

absl::StatusOr<BackupContents> ReadBackupFolder(const std::string& folder) {
  absl::StatusOr<std::map<std::string, std::string>> checksums = ReadChecksums(folder);
  if (!checksums.ok()) return checksums.status();
  if (absl::Status names = CheckNames(folder, *checksums); !names.ok()) return names;

  const absl::StatusOr<std::string> json = ReadOwn(folder, kBackupSummaryFile);
  if (!json.ok()) return json.status();
  const auto own = checksums->find(kBackupSummaryFile);
  if (own == checksums->end() || Sha256Hex(*json) != own->second) {
    return NotWhole(folder, absl::StrCat(kBackupSummaryFile, " is not what was written"));
  }
  checksums->erase(own);

  BackupContents contents;
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  if (!google::protobuf::util::JsonStringToMessage(*json, &contents.summary, options).ok() ||
      contents.summary.files() != checksums->size()) {
    return NotWhole(folder, absl::StrCat(kBackupSummaryFile, " does not fit the files"));
  }
  contents.checksums = *std::move(checksums);
  return contents;
}

}  // namespace breaker::server
