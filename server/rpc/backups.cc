#include "server/rpc/backups.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include <filesystem>
#include <future>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "server/log.h"
#include "server/rpc/convert.h"
#include "server/sha256.h"
#include "server/store/rocksdb_store.h"

namespace breaker::server {
namespace {

constexpr size_t kPiece = 256 << 10;

absl::Status NobodyListens() { return absl::CancelledError("the client is gone"); }

absl::StatusOr<std::vector<std::string>> FilesIn(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    names.push_back(entry.path().filename());
  }
  if (error) {
    return absl::UnavailableError(absl::StrCat("cannot read ", folder, ": ", error.message()));
  }
  return names;
}

// Returns the size of what it has sent.
absl::StatusOr<uint64_t> SendFile(const std::string& folder, const std::string& name,
                                  Backups::Send& send) {
  const std::string path = absl::StrCat(folder, "/", name);
  const auto cannot_read = [&path] {
    return absl::UnavailableError(absl::StrCat("cannot read ", path, ": ", strerror(errno)));
  };
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return cannot_read();
  const absl::Cleanup closes = [fd] { close(fd); };
  Sha256 sha256;
  uint64_t size = 0;
  v1::BackupChunk chunk;
  chunk.set_file(name);
  while (!chunk.has_end_of_file()) {
    std::string& data = *chunk.mutable_data();
    data.resize(kPiece);
    const ssize_t got = read(fd, data.data(), data.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return cannot_read();
    data.resize(static_cast<size_t>(got));
    if (got == 0) {
      chunk.mutable_end_of_file()->set_size(size);
      chunk.mutable_end_of_file()->set_sha256(sha256.Digest());
    } else {
      sha256.Update(data);
      size += data.size();
    }
    if (!send(chunk)) return NobodyListens();
  }
  return size;
}

}  // namespace

Backups::~Backups() {
  std::thread last;
  {
    MutexLock lock(&mu_);
    last.swap(thread_);
  }
  if (last.joinable()) last.join();
}

absl::Status Backups::Begin(Send send, Done done) {
  MutexLock lock(&mu_);
  if (under_way_) {
    return absl::FailedPreconditionError("another backup is under way; there can be one at a time");
  }
  if (thread_.joinable()) thread_.join();  // it has nothing left to do but to return
  under_way_ = true;
  thread_ = std::thread(&Backups::Run, this, std::move(send), std::move(done));
  return absl::OkStatus();
}

void Backups::Run(Send send, Done done) {
  pthread_setname_np(pthread_self(), "backup");
  absl::Status status = SendAll(send);
  if (!status.ok()) Log(LogLevel::kWarning, "backup_failed", {{"reason", status.message()}});
  {
    MutexLock lock(&mu_);
    under_way_ = false;
  }
  std::move(done)(std::move(status));
}

absl::Status Backups::SendAll(Send& send) {
  const Instant began = clock_->Now();
  const absl::StatusOr<std::unique_ptr<Checkpoint>> checkpoint = MakeCheckpoint();
  if (!checkpoint.ok()) return checkpoint.status();
  const std::string& folder = (*checkpoint)->path();
  v1::BackupChunk last;
  v1::BackupSummary& summary = *last.mutable_summary();
  SetTimestamp(began.wall, summary.mutable_created_at());
  summary.set_daemon_version(BREAKER_VERSION);

  const absl::StatusOr<size_t> breakers = CountBreakers(folder);
  if (!breakers.ok()) return breakers.status();
  summary.set_breakers(*breakers);
  const absl::StatusOr<std::vector<std::string>> names = FilesIn(folder);
  if (!names.ok()) return names.status();
  for (const std::string& name : *names) {
    const absl::StatusOr<uint64_t> size = SendFile(folder, name, send);
    if (!size.ok()) return size.status();
    summary.set_bytes(summary.bytes() + *size);
  }
  summary.set_files(names->size());
  if (!send(last)) return NobodyListens();
  Log(LogLevel::kInfo, "backup_made",
      {{"files", absl::StrCat(summary.files())},
       {"bytes", absl::StrCat(summary.bytes())},
       {"breakers", absl::StrCat(summary.breakers())},
       {"took", absl::FormatDuration(clock_->Now().mono - began.mono)}});
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Checkpoint>> Backups::MakeCheckpoint() {
  std::promise<absl::StatusOr<std::unique_ptr<Checkpoint>>> made;
  writer_->MakeCheckpoint([&made](auto checkpoint) { made.set_value(std::move(checkpoint)); });
  return made.get_future().get();
}

}  // namespace breaker::server
