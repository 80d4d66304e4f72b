#ifndef BREAKER_RPC_WATCH_SLOTS_H_
#define BREAKER_RPC_WATCH_SLOTS_H_

#include <cstddef>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "server/engine/mutex.h"
#include "server/rpc/limit_refusals.h"

namespace breaker::server {

// How many Watch streams each connection has, and that it has no more than it may. Thread-safe.
class WatchSlots {
 public:
  // One stream's place. Gives it back when it goes; the WatchSlots must outlive it.
  class Slot {
   public:
    Slot() = default;
    Slot(WatchSlots* slots, std::string connection)
        : slots_(slots), connection_(std::move(connection)) {}
    Slot(Slot&& other) noexcept
        : slots_(std::exchange(other.slots_, nullptr)), connection_(std::move(other.connection_)) {}
    Slot& operator=(Slot&& other) noexcept {
      std::swap(slots_, other.slots_);
      std::swap(connection_, other.connection_);
      return *this;
    }
    ~Slot() {
      if (slots_ != nullptr) slots_->GiveBack(connection_);
    }

   private:
    WatchSlots* slots_ = nullptr;
    std::string connection_;
  };

  // `max_watches` of one connection; 0 = no limit. `refusals` is not owned and must outlive this.
  WatchSlots(size_t max_watches, LimitRefusals* refusals)
      : max_watches_(max_watches), refusals_(refusals) {}

  // RESOURCE_EXHAUSTED if the connection, as gRPC names its peer, has all that it may.
  absl::StatusOr<Slot> Take(const std::string& connection) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void GiveBack(const std::string& connection) ABSL_LOCKS_EXCLUDED(mu_);

  const size_t max_watches_;
  LimitRefusals* const refusals_;

  Mutex mu_;
  absl::flat_hash_map<std::string, size_t> taken_ ABSL_GUARDED_BY(mu_);
};

}  // namespace breaker::server

#endif  // BREAKER_RPC_WATCH_SLOTS_H_
