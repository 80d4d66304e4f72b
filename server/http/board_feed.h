#ifndef BREAKER_HTTP_BOARD_FEED_H_
#define BREAKER_HTTP_BOARD_FEED_H_

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "server/engine/change.h"
#include "server/engine/clock.h"
#include "server/engine/key.h"
#include "server/engine/mutex.h"
#include "server/engine/registry.h"
#include "server/http/event_streams.h"
#include "server/publisher.h"
#include "server/store/store_writer.h"
#include "server/survey.h"

namespace breaker::server {

// What the board shows beside the breakers as they are now: how their failures went over the last
// minutes, and the transitions of all of them; and the news that browsers are sent. Owns one
// thread, which does nothing but wait while no browser is there and no breaker is used.
// Thread-safe.
class BoardFeed : public ChangeListener {
 public:
  static constexpr size_t kMaxShown = 2000;      // breakers that browsers hear of, the worst
  static constexpr size_t kMaxCharted = 10'000;  // breakers that have a chart
  static constexpr size_t kMaxHistory = 1000;    // transitions
  static constexpr absl::Duration kChartInterval = absl::Seconds(5);
  static constexpr size_t kChartPoints = 60;

  // Calls and failures of one chart interval.
  using Point = std::pair<uint64_t, uint64_t>;

  // None is owned; all must outlive the feed.
  BoardFeed(Registry* registry, StoreWriter* writer, EventStreams* streams, const Clock* clock)
      : registry_(registry), writer_(writer), streams_(streams), clock_(clock) {}
  // Stops.
  ~BoardFeed() override;

  BoardFeed(const BoardFeed&) = delete;
  BoardFeed& operator=(const BoardFeed&) = delete;

  // Takes the history from the breakers that there are, and starts. The publisher, which is not
  // owned, must live until the feed is destroyed.
  void Start(Publisher* publisher);
  // Ends the thread. Changes may go on coming.
  void Stop();

  void OnChanges(const Changes& changes) override ABSL_LOCKS_EXCLUDED(mu_);

  // The points of a breaker, oldest first, the last of the interval that runs; empty if it has no
  // calls to show. `lifetime` is what the breaker has counted by now.
  std::vector<Point> Chart(const Key& key, const LifetimeCounts& lifetime) const
      ABSL_LOCKS_EXCLUDED(mu_);

  // Up to `count` transitions, newest first, of breakers whose name has `search` in it.
  nlohmann::json History(const std::string& search, size_t count) const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // How a breaker's calls went.
  struct Series {
    struct Interval {
      int64_t number;
      Point point;
    };
    LifetimeCounts before;           // the interval that runs
    std::deque<Interval> intervals;  // that are over and had calls, oldest first
  };
  struct HistoryEntry {
    Key key;
    Transition transition;
  };

  void Run();
  void TellChanges(const Changes& changes) ABSL_LOCKS_EXCLUDED(mu_);
  void EndInterval(Instant now) ABSL_LOCKS_EXCLUDED(mu_);
  void TellRows(Instant now);
  Survey Look(size_t max_breakers, size_t transitions, Instant now);
  void Publish(Changes changes);
  void Remember(const Key& key, const Transition& transition) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Not owned.
  Registry* const registry_;
  StoreWriter* const writer_;
  EventStreams* const streams_;
  const Clock* const clock_;
  Publisher* publisher_ = nullptr;  // from Start on

  // Used by the thread alone.
  absl::flat_hash_map<Key, size_t> shown_;  // what browsers were told last, as a hash
  MonotonicTime next_rows_;

  mutable Mutex mu_;
  std::condition_variable_any woken_;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  Changes changes_ ABSL_GUARDED_BY(mu_);                   // to tell of
  std::deque<HistoryEntry> history_ ABSL_GUARDED_BY(mu_);  // oldest first
  WallTime started_ ABSL_GUARDED_BY(mu_);                  // when it had all that there was before
  absl::flat_hash_map<Key, Series> series_ ABSL_GUARDED_BY(mu_);
  int64_t interval_ ABSL_GUARDED_BY(mu_) = 0;  // the number of the one that runs
  MonotonicTime interval_began_ ABSL_GUARDED_BY(mu_);

  std::thread thread_;
};

}  // namespace breaker::server

#endif  // BREAKER_HTTP_BOARD_FEED_H_
