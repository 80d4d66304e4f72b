#ifndef BREAKER_CLIENT_REPORT_BATCHER_H_
#define BREAKER_CLIENT_REPORT_BATCHER_H_

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "breaker/v1/breaker.grpc.pb.h"
#include "client/cpp/src/cell.h"
#include "client/cpp/src/flush_signal.h"
#include "server/engine/mutex.h"

namespace breaker::internal {

// Sends what cells have noted with the signal to the daemon, each outcome exactly once: in numbered
// batches, one at a time, each again until it is answered. Answered batches are kept until the
// daemon has stored them, and sent again in their order after the connection was lost.
//
// Limits: see there; past them the oldest answered batch is not kept any more. While a batch waits
// for its answer no other is made: outcomes stay in their cells. So it is while the daemon does not
// know who sends them. Of what it does not permit it leaves out a part, which counts as dropped; a
// batch of nothing else is given up after Limits::denied, for those behind it.
//
// Batches are sent only while the Watch stream is up, which shares the connection: so its end is
// mostly known before anything goes out on the next one. If it is not, the daemon notices: each
// batch names the kept one before it, and a daemon that has not had that applies nothing, at which
// all are sent again. As only what is kept is named, and the oldest names none, no daemon waits for
// what is gone. Thread-safe, except that Pump is for one thread.
class ReportBatcher {
 public:
  static constexpr size_t kMaxRunsOfABatch = 1000;

  struct Limits {
    // Of answered batches that wait to be stored.
    size_t batches = 4096;
    size_t runs = 32'768;
    std::chrono::nanoseconds age = std::chrono::minutes(5);
    // For how long those are sent again that are not permitted.
    std::chrono::nanoseconds denied = std::chrono::seconds(5);
  };

  // Neither is owned; both must outlive the batcher.
  ReportBatcher(v1::CircuitBreaker::Stub* stub, std::string worker_id, FlushSignal* signal,
                Limits limits);
  ReportBatcher(v1::CircuitBreaker::Stub* stub, std::string worker_id, FlushSignal* signal)
      : ReportBatcher(stub, std::move(worker_id), signal, Limits()) {}
  // Cancels what is under way.
  ~ReportBatcher();
  ReportBatcher(const ReportBatcher&) = delete;
  ReportBatcher& operator=(const ReportBatcher&) = delete;

  // The stream is up, or down.
  void SetConnected(bool connected) ABSL_LOCKS_EXCLUDED(mu_);

  // Sends the next batch if it may go now; `flush` says that unsent outcomes are not to wait any
  // longer. Says when to call again at the latest.
  SteadyTime Pump(SteadyTime now, bool flush) ABSL_LOCKS_EXCLUDED(mu_);

  // OK, or why the daemon did not accept the last batch.
  absl::Status denial() const ABSL_LOCKS_EXCLUDED(mu_);

  // Sends all there is, until that is done, fails or takes too long.
  void Finish(SteadyTime deadline) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // A batch from when it is made until it is forgotten.
  struct Batch {
    v1::ReportBatchRequest request;
    bool answered = false;
    SteadyTime answered_at;
    bool unsent = true;  // on this connection
  };
  using Batches = std::deque<std::unique_ptr<Batch>>;  // by number
  struct Call;

  void Send(Batches::iterator batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void OnDone(const grpc::Status& status) ABSL_LOCKS_EXCLUDED(mu_);
  // Whether permission may have been lost by a mistake that is corrected soon.
  bool IsDeniedForShort(SteadyTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The daemon will never accept it.
  void GiveUp(const Batch& batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Forget(uint64_t stored_sequence, SteadyTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Drop(Batches::iterator batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SendAllAgain() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Batches::iterator FirstUnsent() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Takes what cells have; a request without runs if there is nothing.
  v1::ReportBatchRequest Collect();

  // Constant after construction.
  const std::string worker_id_;
  const uint64_t session_id_;
  const Limits limits_;

  // Not owned.
  v1::CircuitBreaker::Stub* const stub_;
  FlushSignal* const signal_;

  // Used by the thread that calls Pump.
  std::vector<OutcomeRun> runs_;
  bool more_ = false;  // Collect has left something.

  // Guarded by mu_, which is taken before the signal's, and never with a cell's.
  mutable server::Mutex mu_;
  bool connected_ ABSL_GUARDED_BY(mu_) = false;
  bool flush_ ABSL_GUARDED_BY(mu_) = false;  // Unsent outcomes are not to wait.
  Batches batches_ ABSL_GUARDED_BY(mu_);
  size_t kept_runs_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t last_sequence_ ABSL_GUARDED_BY(mu_) = 0;
  std::unique_ptr<Call> call_ ABSL_GUARDED_BY(mu_);  // Null = none is under way.
  bool last_failed_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status denial_ ABSL_GUARDED_BY(mu_);
  // When batches began not to be permitted, and the last such answer.
  SteadyTime denied_since_ ABSL_GUARDED_BY(mu_);
  std::optional<SteadyTime> last_denied_ ABSL_GUARDED_BY(mu_);
  SteadyTime next_ ABSL_GUARDED_BY(mu_);  // Not before this is a batch sent.
  std::condition_variable_any done_;
};

}  // namespace breaker::internal

#endif  // BREAKER_CLIENT_REPORT_BATCHER_H_
