#include "server/http/board_feed.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <iterator>

#include "absl/hash/hash.h"
#include "server/http/board_json.h"

namespace breaker::server {
namespace {

using nlohmann::json;

constexpr absl::Duration kRowsInterval = absl::Seconds(1);
// A look at a million breakers takes its time: what browsers are told may cost this share of a
// core.
constexpr int kShareOfACore = 50;  // one part in so many
constexpr size_t kMaxWaitingChanges = 10'000;

BoardFeed::Point PointOf(const LifetimeCounts& calls) {
  return {calls.successes + calls.failures, calls.failures};
}

}  // namespace

BoardFeed::~BoardFeed() { Stop(); }

void BoardFeed::Stop() {
  {
    MutexLock lock(&mu_);
    stop_ = true;
  }
  woken_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void BoardFeed::Start(Publisher* publisher) {
  publisher_ = publisher;
  const Instant now = clock_->Now();
  const Survey survey = Look(kMaxCharted, kMaxRecentTransitions, now);
  {
    MutexLock lock(&mu_);
    started_ = clock_->Now().wall;
    interval_began_ = now.mono;
    for (const BreakerStats& stats : survey.breakers) {
      series_[stats.key].before = stats.lifetime;
      for (const Transition& transition : stats.recent_transitions) {
        history_.push_back({stats.key, transition});
      }
    }
    std::sort(history_.begin(), history_.end(), [](const HistoryEntry& a, const HistoryEntry& b) {
      return a.transition.time < b.transition.time;
    });
    while (history_.size() > kMaxHistory) history_.pop_front();
  }
  thread_ = std::thread([this] { Run(); });
  pthread_setname_np(thread_.native_handle(), "board_feed");
}

void BoardFeed::OnChanges(const Changes& changes) {
  {
    MutexLock lock(&mu_);
    // Past that, browsers get the rows of the next second.
    if (changes_.size() > kMaxWaitingChanges) return;
    std::copy(changes.begin(), changes.end(), std::back_inserter(changes_));
  }
  woken_.notify_one();
}

std::vector<BoardFeed::Point> BoardFeed::Chart(const Key& key,
                                               const LifetimeCounts& lifetime) const {
  std::vector<Point> points;
  MutexLock lock(&mu_);
  const auto found = series_.find(key);
  // One that has come in the interval that runs has no series yet.
  if (found == series_.end() && series_.size() >= kMaxCharted) return points;
  const Series series = found == series_.end() ? Series() : found->second;
  const Point running = PointOf(Since(series.before, lifetime));
  const int64_t oldest = interval_ - static_cast<int64_t>(kChartPoints) + 1;
  for (const Series::Interval& interval : series.intervals) {
    if (interval.number < oldest) continue;
    points.resize(static_cast<size_t>(interval.number - oldest), Point());
    points.push_back(interval.point);
  }
  if (points.empty() && running.first == 0) return points;
  points.resize(kChartPoints - 1, Point());
  points.push_back(running);
  return points;
}

json BoardFeed::History(const std::string& search, size_t count) const {
  json transitions = json::array();
  MutexLock lock(&mu_);
  for (auto entry = history_.rbegin(); entry != history_.rend() && transitions.size() < count;
       ++entry) {
    if (Matches(entry->key, search)) transitions.push_back(ToJson(entry->key, entry->transition));
  }
  return transitions;
}

// ---------------------------------------------------------------------------------------------
// The thread

void BoardFeed::Run() {
  while (true) {
    Changes changes;
    bool interval_is_over;
    {
      MutexLock lock(&mu_);
      if (!stop_ && changes_.empty()) {
        woken_.wait_for(mu_, absl::ToChronoNanoseconds(kRowsInterval));
      }
      if (stop_) return;
      changes.swap(changes_);
      interval_is_over = clock_->Now().mono - interval_began_ >= kChartInterval;
    }
    TellChanges(changes);
    const Instant now = clock_->Now();
    if (interval_is_over) EndInterval(now);
    if (now.mono >= next_rows_) TellRows(now);
  }
}

void BoardFeed::TellChanges(const Changes& changes) {
  for (const BreakerChange& change : changes) {
    if (change.removed) {
      {
        MutexLock lock(&mu_);
        series_.erase(change.key);
      }
      shown_.erase(change.key);
      streams_->Send("removed",
                     Dump({{"service", change.key.service}, {"operation", change.key.operation}}));
    }
    if (!change.transition.has_value()) continue;
    {
      MutexLock lock(&mu_);
      Remember(change.key, *change.transition);
    }
    if (streams_->empty()) continue;
    Changes more;
    const auto stats = registry_->GetStats(change.key, clock_->Now(), &more);
    Publish(std::move(more));
    json event = ToJson(change.key, *change.transition);
    event["row"] = stats.ok() ? RowToJson(*stats) : json(nullptr);
    streams_->Send("transition", Dump(event));
  }
}

void BoardFeed::Remember(const Key& key, const Transition& transition) {
  // What happened while the feed started may have been found by its look at the breakers as well.
  const auto is_this = [&](const HistoryEntry& entry) {
    return entry.transition == transition && entry.key == key;
  };
  if (transition.time <= started_ && std::any_of(history_.begin(), history_.end(), is_this)) return;
  history_.push_back({key, transition});
  if (history_.size() > kMaxHistory) history_.pop_front();
}

void BoardFeed::EndInterval(Instant now) {
  MonotonicTime began;
  {
    MutexLock lock(&mu_);
    began = interval_began_;
  }
  Changes changes;
  std::vector<std::pair<Key, LifetimeCounts>> used;
  registry_->ForEach(
      [&](const Breaker& breaker) { return breaker.last_used() >= began; },
      /*transitions=*/0, now, &changes,
      [&](BreakerStats stats) { used.emplace_back(std::move(stats.key), stats.lifetime); });
  Publish(std::move(changes));
  {
    MutexLock lock(&mu_);
    for (const auto& [key, lifetime] : used) {
      if (!series_.contains(key) && series_.size() >= kMaxCharted) continue;
      Series& series = series_[key];
      const Point point = PointOf(Since(series.before, lifetime));
      series.before = lifetime;
      if (point.first > 0) series.intervals.push_back({interval_, point});
      if (series.intervals.size() >= kChartPoints) series.intervals.pop_front();
    }
    ++interval_;
    interval_began_ = now.mono;
  }
  streams_->Send("interval", Dump({{"time", ToJson(now.wall)}}));
}

void BoardFeed::TellRows(Instant now) {
  if (streams_->empty()) {
    shown_.clear();
    return;
  }
  const Survey survey = Look(kMaxShown, /*transitions=*/1, now);
  json rows = json::array();
  absl::flat_hash_map<Key, size_t> shown;
  for (const BreakerStats& stats : survey.breakers) {
    json row = RowToJson(stats);
    const std::vector<Point> chart = Chart(stats.key, stats.lifetime);
    if (!chart.empty()) row["point"] = chart.back();
    const size_t hash = absl::HashOf(Dump(row));
    shown[stats.key] = hash;
    const auto before = shown_.find(stats.key);
    if (before == shown_.end() || before->second != hash) rows.push_back(std::move(row));
  }
  for (const auto& [key, hash] : shown_) {
    if (shown.contains(key)) continue;
    streams_->Send("removed", Dump({{"service", key.service}, {"operation", key.operation}}));
  }
  shown_ = std::move(shown);
  const std::string data = Dump({{"time", ToJson(now.wall)},
                                 {"store_failing", writer_->stats().degraded},
                                 {"total", survey.total},
                                 {"counts", CountsToJson(survey)},
                                 {"breakers", std::move(rows)}});
  const absl::Duration took = clock_->Now().mono - now.mono;
  next_rows_ = now.mono + std::max(kRowsInterval, took * kShareOfACore);
  streams_->Send("rows", data);
}

Survey BoardFeed::Look(size_t max_breakers, size_t transitions, Instant now) {
  SurveyOptions options;
  options.max_breakers = max_breakers;
  options.transitions = transitions;
  Changes changes;
  Survey survey = TakeSurvey(registry_, options, now, &changes);
  Publish(std::move(changes));
  return survey;
}

void BoardFeed::Publish(Changes changes) {
  if (!changes.empty()) publisher_->Publish(std::move(changes), [] {});
}

}  // namespace breaker::server
