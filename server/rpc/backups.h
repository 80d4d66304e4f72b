#ifndef BREAKER_RPC_BACKUPS_H_
#define BREAKER_RPC_BACKUPS_H_

#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "breaker/v1/admin.pb.h"
#include "server/engine/clock.h"
#include "server/engine/mutex.h"
#include "server/store/checkpoint.h"
#include "server/store/store_writer.h"

namespace breaker::server {

// Makes backups, one at a time, each on a thread of its own, "backup", which does all that is to be
// done on the disk but for the checkpoint. Thread-safe.
class Backups {
 public:
  // Sends a chunk, and waits until it may be followed by another. False if nobody takes it.
  using Send = absl::AnyInvocable<bool(const v1::BackupChunk&)>;
  using Done = absl::AnyInvocable<void(absl::Status) &&>;

  // Neither is owned; both must outlive this.
  Backups(StoreWriter* writer, const Clock* clock) : writer_(writer), clock_(clock) {}
  // Waits for the one that is under way.
  ~Backups();

  Backups(const Backups&) = delete;
  Backups& operator=(const Backups&) = delete;

  // Sends a backup by send(chunk) and then calls done(status), both on its thread. Nothing of it is
  // left on the disk when `done` is called, and another one may begin. FAILED_PRECONDITION: one is
  // under way; then neither is called.
  absl::Status Begin(Send send, Done done) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Run(Send send, Done done) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status SendAll(Send& send);
  absl::StatusOr<std::unique_ptr<Checkpoint>> MakeCheckpoint();

  StoreWriter* const writer_;
  const Clock* const clock_;

  Mutex mu_;
  bool under_way_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_ ABSL_GUARDED_BY(mu_);  // of the last one
};

}  // namespace breaker::server

#endif  // BREAKER_RPC_BACKUPS_H_
