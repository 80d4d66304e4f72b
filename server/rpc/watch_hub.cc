#include "server/rpc/watch_hub.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "breaker/v1/breaker.pb.h"
#include "server/rpc/convert.h"

namespace breaker::server {
namespace {

constexpr int kTicksAHeartbeat = 8;

void EraseFrom(std::vector<std::shared_ptr<WatchSubscriber>>& list, WatchSubscriber* subscriber) {
  const auto it = std::find_if(list.begin(), list.end(), [subscriber](const auto& element) {
    return element.get() == subscriber;
  });
  if (it == list.end()) return;
  std::swap(*it, list.back());
  list.pop_back();
}

WatchUpdatePtr Encode(const Key& key, const v1::WatchResponse& response) {
  return std::make_shared<const WatchUpdate>(
      WatchUpdate{key, grpc::Slice(response.SerializeAsString())});
}

WatchUpdatePtr EncodeRemoved(const Key& key) {
  v1::WatchResponse response;
  v1::CircuitUpdate* const update = response.add_updates();
  update->set_service(key.service);
  update->set_operation(key.operation);
  update->set_removed(true);
  return Encode(key, response);
}

}  // namespace

WatchUpdatePtr EncodeUpdate(const Key& key, const BreakerView& view,
                            const std::optional<Transition>& transition) {
  v1::WatchResponse response;
  ToProto(key, view, transition, response.add_updates());
  return Encode(key, response);
}

WatchHub::WatchHub(absl::Duration heartbeat, size_t max_subscriptions, LimitRefusals* refusals,
                   const Clock* clock)
    : heartbeat_(heartbeat),
      max_subscriptions_(max_subscriptions),
      refusals_(refusals),
      clock_(clock),
      thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "watch_hub");
}

WatchHub::~WatchHub() {
  {
    MutexLock lock(&queue_mu_);
    stop_ = true;
    queued_.notify_one();
  }
  thread_.join();
}

// ---------------------------------------------------------------------------------------------
// The thread

void WatchHub::Notify(Changes changes) {
  MutexLock lock(&queue_mu_);
  for (BreakerChange& change : changes) {
    Changes& waiting = queue_[change.key];
    if (waiting.size() == kMaxWaiting) waiting.erase(waiting.begin());
    waiting.push_back(std::move(change));
  }
  queued_.notify_one();
}

void WatchHub::Run() {
  const absl::Duration tick = heartbeat_ / kTicksAHeartbeat;
  MonotonicTime next_tick = clock_->Now().mono + tick;
  while (true) {
    Queue queue;
    {
      MutexLock lock(&queue_mu_);
      while (!stop_ && queue_.empty()) {
        const absl::Duration left = next_tick - clock_->Now().mono;
        if (left <= absl::ZeroDuration()) break;
        queued_.wait_for(queue_mu_, absl::ToChronoNanoseconds(left));
      }
      if (stop_) return;
      queue.swap(queue_);
    }
    for (const auto& [key, changes] : queue) {
      for (const BreakerChange& change : changes) Dispatch(change);
    }
    const MonotonicTime now = clock_->Now().mono;
    if (now >= next_tick) {
      TickAll(now);
      next_tick = now + tick;
    }
  }
}

void WatchHub::Dispatch(const BreakerChange& change) {
  const std::vector<SubscriberPtr> followers = FollowersOf(change);
  if (followers.empty()) return;
  const WatchUpdatePtr update = change.removed
                                    ? EncodeRemoved(change.key)
                                    : EncodeUpdate(change.key, change.view, change.transition);
  for (const SubscriberPtr& follower : followers) follower->Offer(update);
}

std::vector<WatchHub::SubscriberPtr> WatchHub::FollowersOf(const BreakerChange& change) {
  MutexLock lock(&topics_mu_);
  const auto it = topics_.find(change.key);
  if (it == topics_.end() && follow_all_.empty()) return {};
  // Those who follow all have topics too, of breakers that change: to keep their changes in order.
  Topic& topic = it == topics_.end() ? TopicOf(change.key) : *it->second;
  if (change.removed) {
    topic.last = BreakerVersion();  // one by that name starts anew
  } else {
    // Two threads may tell of two changes in either order; the later one holds the earlier.
    if (change.view.version <= topic.last) return {};
    topic.last = change.view.version;
  }
  std::vector<SubscriberPtr> followers = topic.followers;
  followers.insert(followers.end(), follow_all_.begin(), follow_all_.end());
  return followers;
}

void WatchHub::TickAll(MonotonicTime now) {
  std::vector<SubscriberPtr> all;
  {
    MutexLock lock(&topics_mu_);
    all.reserve(members_.size());
    for (const auto& [subscriber, member] : members_) all.push_back(member.subscriber);
  }
  for (const SubscriberPtr& subscriber : all) subscriber->Tick(now);
}

// ---------------------------------------------------------------------------------------------
// Members

bool WatchHub::Join(SubscriberPtr subscriber) {
  MutexLock lock(&topics_mu_);
  if (closed_) return false;
  WatchSubscriber* const name = subscriber.get();
  members_[name].subscriber = std::move(subscriber);
  return true;
}

absl::Status WatchHub::Follow(WatchSubscriber* subscriber, const Key& key,
                              absl::FunctionRef<absl::StatusOr<BreakerView>()> read) {
  // With the lock held, so that the state comes before any change that the subscriber will hear of.
  MutexLock lock(&topics_mu_);
  const auto member = members_.find(subscriber);
  if (member == members_.end()) return absl::OkStatus();  // it has left
  if (IsFull(member->second, key)) {
    return refusals_->Refuse(Limit::kSubscriptions,
                             absl::StrCat("subscriptions of this stream: it has ",
                                          max_subscriptions_, ", which is --max_subscriptions"));
  }
  const absl::StatusOr<BreakerView> view = read();
  if (!view.ok()) return view.status();
  Topic& topic = TopicOf(key);
  // Where nobody else follows, nobody else needs to hear of what led to this state.
  if (topic.followers.empty() && follow_all_.empty()) topic.last = view->version;
  if (member->second.topics.insert(&topic).second) {
    topic.followers.push_back(member->second.subscriber);
  }
  subscriber->Offer(EncodeUpdate(key, *view));
  return absl::OkStatus();
}

void WatchHub::FollowAll(WatchSubscriber* subscriber) {
  MutexLock lock(&topics_mu_);
  const auto member = members_.find(subscriber);
  if (member == members_.end() || std::exchange(member->second.all, true)) return;
  follow_all_.push_back(member->second.subscriber);
}

void WatchHub::Leave(WatchSubscriber* subscriber) {
  MutexLock lock(&topics_mu_);
  const auto member = members_.find(subscriber);
  if (member == members_.end()) return;
  for (Topic* topic : member->second.topics) Unfollow(subscriber, topic);
  if (member->second.all) {
    EraseFrom(follow_all_, subscriber);
    if (follow_all_.empty()) {
      absl::erase_if(topics_, [](const auto& topic) { return topic.second->followers.empty(); });
    }
  }
  members_.erase(member);
}

void WatchHub::Close() {
  std::vector<SubscriberPtr> all;
  {
    MutexLock lock(&topics_mu_);
    closed_ = true;
    for (const auto& [subscriber, member] : members_) all.push_back(member.subscriber);
  }
  for (const SubscriberPtr& subscriber : all) subscriber->Close();
}

size_t WatchHub::subscribers() const {
  MutexLock lock(&topics_mu_);
  return members_.size();
}

bool WatchHub::IsFull(const Member& member, const Key& key) const {
  if (max_subscriptions_ == 0 || member.topics.size() < max_subscriptions_) return false;
  const auto topic = topics_.find(key);
  return topic == topics_.end() || !member.topics.contains(topic->second.get());
}

WatchHub::Topic& WatchHub::TopicOf(const Key& key) {
  std::unique_ptr<Topic>& topic = topics_[key];
  if (topic == nullptr) topic = std::make_unique<Topic>(key);
  return *topic;
}

void WatchHub::Unfollow(WatchSubscriber* subscriber, Topic* topic) {
  EraseFrom(topic->followers, subscriber);
  if (topic->followers.empty() && follow_all_.empty()) topics_.erase(topic->key);
}

}  // namespace breaker::server
