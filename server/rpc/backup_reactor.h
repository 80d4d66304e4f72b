#ifndef BREAKER_RPC_BACKUP_REACTOR_H_
#define BREAKER_RPC_BACKUP_REACTOR_H_

#include <grpcpp/grpcpp.h>

#include <condition_variable>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "breaker/v1/admin.pb.h"
#include "server/engine/mutex.h"
#include "server/rpc/backups.h"

namespace breaker::server {

// One Backup stream: what the thread of the backup sends goes to the client, and waits for it, so
// that no more than a chunk is in memory. A client that goes away, or is not there to take its time
// once the server shuts down, ends the backup.
//
// Lives until gRPC is done with it.
class BackupReactor : public grpc::ServerWriteReactor<v1::BackupChunk> {
 public:
  // For gRPC, which then owns it, in effect. `backups` is not owned and must outlive the server.
  static BackupReactor* Start(Backups* backups);
  // The same, for a call that gets no backup.
  static BackupReactor* Refuse(const absl::Status& status);

  void OnWriteDone(bool ok) override ABSL_LOCKS_EXCLUDED(mu_);
  void OnDone() override;

 private:
  BackupReactor() = default;

  // Returns when the chunk is on its way; false if it cannot be.
  bool Send(const v1::BackupChunk& chunk) ABSL_LOCKS_EXCLUDED(mu_);

  Mutex mu_;
  std::condition_variable_any written_;
  bool is_writing_ ABSL_GUARDED_BY(mu_) = false;
  bool broken_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace breaker::server

#endif  // BREAKER_RPC_BACKUP_REACTOR_H_
