#ifndef BREAKER_CLIENT_DAEMON_H_
#define BREAKER_CLIENT_DAEMON_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "breaker/client.h"
#include "breaker/v1/breaker.grpc.pb.h"
#include "server/engine/mutex.h"

namespace breaker::internal {

// The daemon as a client sees it: a channel, a deadline on each rpc, and whether the daemon is
// there at all. Thread-safe.
//
// The daemon is away from the moment that an rpc finds it unreachable or slower than the deadline,
// or that it does not know who asks. From then on no caller waits for it. Passing calls start
// pings, one at a time, and the first that is answered in time brings the daemon back.
class Daemon {
 public:
  using Stub = v1::CircuitBreaker::Stub;

  // `options` has a worker_id. With options that CheckAccess finds wrong the daemon is never there.
  explicit Daemon(const ClientOptions& options);
  // Cancels a ping that is under way and waits for its end.
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  // Runs one rpc. UNAVAILABLE and UNAUTHENTICATED, and no other error, say that the daemon is away.
  template <typename Request, typename Response>
  absl::Status Call(grpc::Status (Stub::*rpc)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    if (absl::Status away = Away(); !away.ok()) return away;
    grpc::ClientContext context;
    SetDeadline(context);
    return Conclude((stub_.get()->*rpc)(&context, request, response));
  }

  // OK, or the last error that says that the daemon is away, or that an rpc was not permitted.
  // Starts pings as callers do.
  absl::Status Status() ABSL_LOCKS_EXCLUDED(mu_);

  const std::string& worker_id() const { return worker_id_; }
  // For rpcs that end otherwise than by a deadline; they do not say whether the daemon is away.
  Stub* stub() { return stub_.get(); }

 private:
  struct Ping;

  void SetDeadline(grpc::ClientContext& context) const;
  // Notes when the daemon turns out to be away.
  absl::Status Conclude(const grpc::Status& status) ABSL_LOCKS_EXCLUDED(mu_);
  // Why the daemon is away, OK if it is not. Starts a ping if it is time for one.
  absl::Status Away() ABSL_LOCKS_EXCLUDED(mu_);
  void EndPing(const grpc::Status& status) ABSL_LOCKS_EXCLUDED(mu_);

  // Constant after construction.
  const std::string worker_id_;
  const std::chrono::nanoseconds rpc_timeout_;
  const absl::Status access_;  // Not OK = there is nobody to be asked.
  const std::unique_ptr<Stub> stub_;

  std::atomic<bool> denied_ = false;  // status_ is of an rpc that was not permitted.

  // Guarded by mu_.
  server::Mutex mu_;
  bool away_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<Ping> ping_ ABSL_GUARDED_BY(mu_);  // Null = none is under way.
  std::chrono::steady_clock::time_point next_ping_ ABSL_GUARDED_BY(mu_);
  std::condition_variable_any ping_ended_;
};

}  // namespace breaker::internal

#endif  // BREAKER_CLIENT_DAEMON_H_
