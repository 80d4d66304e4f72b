#ifndef BREAKER_CLIENT_CACHE_H_
#define BREAKER_CLIENT_CACHE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "breaker/client.h"
#include "client/cpp/src/cell.h"
#include "client/cpp/src/cell_table.h"
#include "client/cpp/src/report_batcher.h"
#include "client/cpp/src/watch_stream.h"
#include "server/engine/mutex.h"

namespace breaker::internal {

// What a client keeps between calls: its cells and, in cached mode, what keeps them current and
// sends their outcomes: a Watch stream, a batcher, and one thread. Thread-safe.
class Cache : private WatchStream::Listener {
 public:
  // `stub` is not owned and must outlive the cache. `options` has a worker_id.
  Cache(const ClientOptions& options, v1::CircuitBreaker::Stub* stub);
  // Sends all outcomes, for at most a second.
  ~Cache() override;
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;

  // Null if there is none. Takes no lock.
  Cell* Find(const Key& key) const { return cells_.Find(key); }
  // Null if there are as many as there may be.
  Cell* FindOrCreate(const Key& key) { return cells_.FindOrCreate(key); }

  // Whether cells are of any use.
  bool wanted() const { return wanted_; }

  // A policy like that which lives as long as the cache; null if `policy` is null, or if there are
  // as many as there may be.
  const Policy* Keep(const Policy* policy) ABSL_LOCKS_EXCLUDED(mu_);

  // From now on the daemon keeps the cell current, if the client is in cached mode. For a key and a
  // policy that it has accepted: others would end the stream of all.
  void Follow(Cell* cell);

  const Surroundings& surroundings() const { return surroundings_; }
  CacheStats Stats() const;
  // OK, or why the daemon does not accept the stream or the outcomes.
  absl::Status denial() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // What a client in cached mode has besides.
  struct Exchange {
    Exchange(v1::CircuitBreaker::Stub* stub, const std::string& worker_id, FlushSignal* signal,
             WatchStream::Listener* listener)
        : batcher(stub, worker_id, signal), stream(stub, worker_id, listener) {}
    ReportBatcher batcher;
    WatchStream stream;
  };

  void Run();
  void OnMessage(const v1::WatchResponse& message, uint64_t stream) override;
  void OnEnd(const grpc::Status& status) override;
  std::vector<v1::Subscription> Subscriptions() override;
  static v1::Subscription SubscriptionTo(const Cell& cell);

  // Constant after construction.
  const bool wanted_;
  const Policy* const own_policy_;  // The client's, which needs not be kept; null = none.

  Surroundings surroundings_;
  CellTable cells_;
  std::unique_ptr<Exchange> exchange_;  // Null = remote mode.
  std::atomic<bool> stop_ = false;
  std::thread thread_;

  // Guarded by mu_; no other lock is taken with it.
  mutable server::Mutex mu_;
  absl::flat_hash_map<std::string, std::unique_ptr<const Policy>> policies_
      ABSL_GUARDED_BY(mu_);                   // by their serialized form
  uint64_t stream_ ABSL_GUARDED_BY(mu_) = 0;  // the last one that is up
  // When cells are to be doubted that the last stream has not confirmed.
  std::optional<SteadyTime> doubt_at_ ABSL_GUARDED_BY(mu_);
  absl::Status stream_denial_ ABSL_GUARDED_BY(mu_);  // OK = it was not the last word.
};

}  // namespace breaker::internal

#endif  // BREAKER_CLIENT_CACHE_H_
