#ifndef BREAKER_CLIENT_DAEMON_H_
#define BREAKER_CLIENT_DAEMON_H_

#include <chrono>
#include <condition_variable>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "breaker/v1/breaker.grpc.pb.h"
#include "server/engine/mutex.h"

namespace breaker::internal {

// The daemon as a client sees it: a channel, a deadline on each rpc, and whether the daemon is
// there at all. Thread-safe.
//
// The daemon is away from the moment that an rpc finds it unreachable or slower than the deadline.
// From then on no caller waits for it. Passing calls start pings, one at a time, and the first
// that is answered in time brings the daemon back.
class Daemon {
 public:
  using Stub = v1::CircuitBreaker::Stub;

  Daemon(const std::string& target, std::string worker_id, absl::Duration rpc_timeout);
  // Cancels a ping that is under way and waits for its end.
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  // Runs one rpc. UNAVAILABLE, and no other error, says that the daemon is away.
  template <typename Request, typename Response>
  absl::Status Call(grpc::Status (Stub::*rpc)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    if (IsAway()) return absl::UnavailableError("breakerd is unavailable");
    grpc::ClientContext context;
    SetDeadline(context);
    return Conclude((stub_.get()->*rpc)(&context, request, response));
  }

  const std::string& worker_id() const { return worker_id_; }
  // For rpcs that end otherwise than by a deadline; they do not say whether the daemon is away.
  Stub* stub() { return stub_.get(); }

 private:
  struct Ping;

  void SetDeadline(grpc::ClientContext& context) const;
  // Notes when the daemon turns out to be away.
  absl::Status Conclude(const grpc::Status& status) ABSL_LOCKS_EXCLUDED(mu_);
  // Starts a ping if the daemon is away and it is time for one.
  bool IsAway() ABSL_LOCKS_EXCLUDED(mu_);
  void EndPing(const grpc::Status& status) ABSL_LOCKS_EXCLUDED(mu_);

  // Constant after construction.
  const std::string worker_id_;
  const std::chrono::nanoseconds rpc_timeout_;
  const std::unique_ptr<Stub> stub_;

  // Guarded by mu_.
  server::Mutex mu_;
  bool away_ ABSL_GUARDED_BY(mu_) = false;
  std::unique_ptr<Ping> ping_ ABSL_GUARDED_BY(mu_);  // Null = none is under way.
  std::chrono::steady_clock::time_point next_ping_ ABSL_GUARDED_BY(mu_);
  std::condition_variable_any ping_ended_;
};

}  // namespace breaker::internal

#endif  // BREAKER_CLIENT_DAEMON_H_
