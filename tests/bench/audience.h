#ifndef BREAKER_TESTS_BENCH_AUDIENCE_H_
#define BREAKER_TESTS_BENCH_AUDIENCE_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "breaker/v1/breaker.pb.h"
#include "tests/bench/die.h"
#include "tests/bench/watcher.h"
#include "tests/support/channel.h"

namespace breaker::bench {

struct AudienceOptions {
  int watchers = 1;
  int watchers_a_connection = 1;
  // What an update tells, such as the name of a breaker that is open.
  std::function<std::string(const v1::CircuitUpdate&)> news;
};

// Many watchers of one server.
template <typename Stub>
class Audience {
 public:
  // Returns when all have heard of all breakers that `request` subscribes to. It must outlive the
  // audience.
  Audience(const std::string& target, const AudienceOptions& options,
           const v1::WatchRequest* request)
      : options_(options), missing_(int64_t{options.watchers} * request->subscribe_size()) {
    for (int i = 0; i < options.watchers; ++i) {
      if (i % options.watchers_a_connection == 0) {
        stubs_.push_back(std::make_unique<Stub>(NewChannel(target)));
      }
      watchers_.push_back(std::make_unique<Watcher>(
          *stubs_.back(), request, [this](const v1::WatchResponse& message) { Hear(message); }));
    }
    std::unique_lock<std::mutex> lock(mu_);
    if (!changed_.wait_for(lock, std::chrono::minutes(1), [this] { return missing_ <= 0; })) {
      Die("not all watchers heard of all breakers");
    }
  }

  ~Audience() {
    for (const auto& watcher : watchers_) watcher->Cancel();
  }

  // From before `trigger` until every watcher has heard this news.
  absl::Duration TimeUntilAllKnow(const std::string& news, const std::function<void()>& trigger) {
    {
      const std::lock_guard<std::mutex> lock(mu_);
      expected_ = news;
      missing_ = options_.watchers;
    }
    const absl::Time start = absl::Now();
    trigger();
    std::unique_lock<std::mutex> lock(mu_);
    if (!changed_.wait_for(lock, std::chrono::seconds(30), [this] { return missing_ == 0; })) {
      Die(absl::StrCat(missing_, " of ", options_.watchers, " watchers do not know within 30 s"));
    }
    return last_heard_ - start;
  }

  // The message that the last watcher heard last.
  v1::WatchResponse last_message() {
    const std::lock_guard<std::mutex> lock(mu_);
    return last_message_;
  }

 private:
  void Hear(const v1::WatchResponse& message) {
    const std::lock_guard<std::mutex> lock(mu_);
    for (const v1::CircuitUpdate& update : message.updates()) {
      // At first, everything.
      if (expected_.has_value() && options_.news(update) != *expected_) continue;
      if (--missing_ != 0) continue;
      last_heard_ = absl::Now();
      last_message_ = message;
      changed_.notify_one();
    }
  }

  const AudienceOptions options_;

  std::mutex mu_;
  std::condition_variable changed_;
  // Guarded by mu_.
  std::optional<std::string> expected_;
  int64_t missing_;  // updates until all know
  absl::Time last_heard_;
  v1::WatchResponse last_message_;

  std::vector<std::unique_ptr<Stub>> stubs_;
  std::vector<std::unique_ptr<Watcher>> watchers_;
};

}  // namespace breaker::bench

#endif  // BREAKER_TESTS_BENCH_AUDIENCE_H_
