#ifndef BREAKER_CLIENT_WATCH_STREAM_H_
#define BREAKER_CLIENT_WATCH_STREAM_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "breaker/v1/breaker.grpc.pb.h"
#include "client/cpp/src/flush_signal.h"
#include "server/engine/mutex.h"

namespace breaker::internal {

// Keeps one Watch stream to the daemon from the first subscription on: a stream that ends or falls
// silent is replaced by a new one, with all subscriptions. Thread-safe.
class WatchStream {
 public:
  // Called on threads of gRPC, one call at a time for each stream, with no lock held.
  class Listener {
   public:
    virtual ~Listener() = default;
    // Streams are numbered from 1. The first message of one says that it is up.
    virtual void OnMessage(const v1::WatchResponse& message, uint64_t stream) = 0;
    // It is over, or never began.
    virtual void OnEnd(const grpc::Status& status) = 0;
    // All that the next stream is to subscribe to.
    virtual std::vector<v1::Subscription> Subscriptions() = 0;
  };

  // Neither is owned; both must outlive the stream.
  WatchStream(v1::CircuitBreaker::Stub* stub, std::string worker_id, Listener* listener);
  ~WatchStream();
  WatchStream(const WatchStream&) = delete;
  WatchStream& operator=(const WatchStream&) = delete;

  // Adds a subscription, and begins the first stream. The listener remembers it for those to come.
  void Subscribe(v1::Subscription subscription) ABSL_LOCKS_EXCLUDED(mu_);

  // To be called often: ends a silent stream, and begins the next one when it is time.
  void Tick(SteadyTime now) ABSL_LOCKS_EXCLUDED(mu_);

  // Ends the stream for good; the listener is not called after that.
  void End() ABSL_LOCKS_EXCLUDED(mu_);

  // For how long the daemon may be silent: three heartbeats, as it said last.
  std::chrono::nanoseconds patience() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  class Reactor;

  void Begin(SteadyTime now) ABSL_LOCKS_EXCLUDED(mu_);
  // Sends what waits to be subscribed, unless a write is under way.
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void OnRead(const v1::WatchResponse& message, uint64_t number) ABSL_LOCKS_EXCLUDED(mu_);
  void OnDone(const grpc::Status& status) ABSL_LOCKS_EXCLUDED(mu_);

  // Constant after construction.
  const std::string worker_id_;

  // Not owned.
  v1::CircuitBreaker::Stub* const stub_;
  Listener* const listener_;

  // Guarded by mu_.
  mutable server::Mutex mu_;
  std::unique_ptr<Reactor> reactor_ ABSL_GUARDED_BY(mu_);  // Null = there is no stream.
  uint64_t number_ ABSL_GUARDED_BY(mu_) = 0;
  bool wanted_ ABSL_GUARDED_BY(mu_) = false;  // since the first subscription
  bool ending_ ABSL_GUARDED_BY(mu_) = false;  // There will be no more.
  std::deque<v1::Subscription> unsent_ ABSL_GUARDED_BY(mu_);
  SteadyTime last_message_ ABSL_GUARDED_BY(mu_);
  SteadyTime begin_at_ ABSL_GUARDED_BY(mu_);
  std::chrono::nanoseconds backoff_ ABSL_GUARDED_BY(mu_);
  std::chrono::nanoseconds heartbeat_ ABSL_GUARDED_BY(mu_) = std::chrono::seconds(1);
  std::condition_variable_any ended_;
};

}  // namespace breaker::internal

#endif  // BREAKER_CLIENT_WATCH_STREAM_H_
