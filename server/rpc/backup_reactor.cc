#include "server/rpc/backup_reactor.h"

#include "server/rpc/grpc_status.h"

namespace breaker::server {

BackupReactor* BackupReactor::Start(Backups* backups) {
  auto* const reactor = new BackupReactor();
  // Says at once that the daemon is there: the first chunk may take a while.
  reactor->StartSendInitialMetadata();
  const absl::Status begun = backups->Begin(
      [reactor](const v1::BackupChunk& chunk) { return reactor->Send(chunk); },
      [reactor](const absl::Status& status) { reactor->Finish(ToGrpcStatus(status)); });
  if (!begun.ok()) reactor->Finish(ToGrpcStatus(begun));
  return reactor;
}

BackupReactor* BackupReactor::Refuse(const absl::Status& status) {
  auto* const reactor = new BackupReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

bool BackupReactor::Send(const v1::BackupChunk& chunk) {
  MutexLock lock(&mu_);
  if (broken_) return false;
  is_writing_ = true;
  StartWrite(&chunk);
  while (is_writing_) written_.wait(mu_);
  return !broken_;
}

void BackupReactor::OnWriteDone(bool ok) {
  MutexLock lock(&mu_);
  is_writing_ = false;
  broken_ = !ok;
  written_.notify_one();
}

void BackupReactor::OnDone() { delete this; }

}  // namespace breaker::server
