#ifndef BREAKER_RPC_WATCH_HUB_H_
#define BREAKER_RPC_WATCH_HUB_H_

#include <grpcpp/support/slice.h>

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/engine/change.h"
#include "server/engine/clock.h"
#include "server/engine/key.h"
#include "server/engine/mutex.h"
#include "server/rpc/limit_refusals.h"

namespace breaker::server {

// News of one breaker, encoded once for all who are to have it.
struct WatchUpdate {
  Key key;
  grpc::Slice message;  // a v1::WatchResponse that holds one CircuitUpdate
};
using WatchUpdatePtr = std::shared_ptr<const WatchUpdate>;

WatchUpdatePtr EncodeUpdate(const Key& key, const BreakerView& view,
                            const std::optional<Transition>& transition = std::nullopt);

// Someone who follows breakers. Its calls come from any thread, for one breaker in the order of its
// changes; none may block.
class WatchSubscriber {
 public:
  virtual ~WatchSubscriber() = default;
  virtual void Offer(WatchUpdatePtr update) = 0;
  // Comes several times a heartbeat interval: the time to break a silence that gets too long.
  virtual void Tick(MonotonicTime now) = 0;
  // Nothing more will come.
  virtual void Close() = 0;
};

// Brings changes of breakers to those who follow them. Owns one thread, which does that and the
// heartbeats, so that who causes a change waits for no one. Thread-safe.
//
// What waits for the thread is bounded: of a breaker that changes faster than that, only the last
// kMaxWaiting changes are kept.
//
// Lock order: topics_mu_, then a shard's mutex, then what subscribers lock. queue_mu_ is held
// alone.
class WatchHub {
 public:
  // Starts. `clock` and `refusals` are not owned and must outlive the hub.
  WatchHub(absl::Duration heartbeat, const Clock* clock)
      : WatchHub(heartbeat, /*max_subscriptions=*/0, nullptr, clock) {}
  // A subscriber may follow so many breakers by their names; 0 = no limit.
  WatchHub(absl::Duration heartbeat, size_t max_subscriptions, LimitRefusals* refusals,
           const Clock* clock);
  // Stops.
  ~WatchHub();

  WatchHub(const WatchHub&) = delete;
  WatchHub& operator=(const WatchHub&) = delete;

  // Tells all followers of these breakers, soon.
  void Notify(Changes changes) ABSL_LOCKS_EXCLUDED(queue_mu_);

  // From now on the subscriber hears Tick and Close. False if the hub is closed.
  bool Join(std::shared_ptr<WatchSubscriber> subscriber) ABSL_LOCKS_EXCLUDED(topics_mu_);

  // Has a subscriber that joined follow a breaker: offers it the state that `read` gives, then
  // every change after that. The error of `read`, which is called with a lock held;
  // RESOURCE_EXHAUSTED, and no call of `read`, if it follows all that it may.
  absl::Status Follow(WatchSubscriber* subscriber, const Key& key,
                      absl::FunctionRef<absl::StatusOr<BreakerView>()> read)
      ABSL_LOCKS_EXCLUDED(topics_mu_);
  // Has it follow every breaker that there is and that will be; it has to read by itself, after
  // this call, what they were before their first change.
  void FollowAll(WatchSubscriber* subscriber) ABSL_LOCKS_EXCLUDED(topics_mu_);

  // Ends all that it follows. It may still hear of what is under way.
  void Leave(WatchSubscriber* subscriber) ABSL_LOCKS_EXCLUDED(topics_mu_);

  // Closes all subscribers; from now on none can join.
  void Close() ABSL_LOCKS_EXCLUDED(topics_mu_);

  absl::Duration heartbeat() const { return heartbeat_; }
  size_t subscribers() const ABSL_LOCKS_EXCLUDED(topics_mu_);

 private:
  static constexpr size_t kMaxWaiting = 16;

  using SubscriberPtr = std::shared_ptr<WatchSubscriber>;
  struct Topic {
    explicit Topic(const Key& named) : key(named) {}

    const Key key;
    std::vector<SubscriberPtr> followers;
    BreakerVersion last;  // that was handed on
  };
  struct Member {
    SubscriberPtr subscriber;
    absl::flat_hash_set<Topic*> topics;
    bool all = false;
  };
  using Queue = absl::flat_hash_map<Key, Changes>;

  void Run();
  void Dispatch(const BreakerChange& change) ABSL_LOCKS_EXCLUDED(topics_mu_);
  // Who is to hear of the change. None if they know better already.
  std::vector<SubscriberPtr> FollowersOf(const BreakerChange& change)
      ABSL_LOCKS_EXCLUDED(topics_mu_);
  void TickAll(MonotonicTime now) ABSL_LOCKS_EXCLUDED(topics_mu_);
  // Whether the member follows as many breakers as it may, and this is not one of them.
  bool IsFull(const Member& member, const Key& key) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(topics_mu_);
  Topic& TopicOf(const Key& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(topics_mu_);
  void Unfollow(WatchSubscriber* subscriber, Topic* topic)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(topics_mu_);

  // Constant after construction.
  const absl::Duration heartbeat_;
  const size_t max_subscriptions_;  // of one subscriber; 0 = no limit

  // Not owned.
  LimitRefusals* const refusals_;
  const Clock* const clock_;

  Mutex queue_mu_;
  std::condition_variable_any queued_;
  Queue queue_ ABSL_GUARDED_BY(queue_mu_);  // by breaker, in order of change
  bool stop_ ABSL_GUARDED_BY(queue_mu_) = false;

  mutable Mutex topics_mu_;
  absl::flat_hash_map<Key, std::unique_ptr<Topic>> topics_ ABSL_GUARDED_BY(topics_mu_);
  absl::flat_hash_map<WatchSubscriber*, Member> members_ ABSL_GUARDED_BY(topics_mu_);
  std::vector<SubscriberPtr> follow_all_ ABSL_GUARDED_BY(topics_mu_);
  bool closed_ ABSL_GUARDED_BY(topics_mu_) = false;

  std::thread thread_;
};

}  // namespace breaker::server

#endif  // BREAKER_RPC_WATCH_HUB_H_
