#ifndef BREAKER_HTTP_EVENT_STREAMS_H_
#define BREAKER_HTTP_EVENT_STREAMS_H_

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/engine/mutex.h"

namespace breaker::server {

// Brings events to browsers that follow them, as server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html). Thread-safe.
//
// What waits for a browser that reads too slowly is bounded: past that it is dropped, and the
// browser is told by an event named "resync".
class EventStreams {
 public:
  static constexpr size_t kMaxStreams = 64;
  static constexpr size_t kMaxWaitingBytes = 4 << 20;

  // One that follows.
  class Stream {
   public:
    // The next bytes to send: "" when `timeout` has passed without an event, nullopt when the
    // stream is closed.
    std::optional<std::string> Next(absl::Duration timeout);

   private:
    friend class EventStreams;
    using Event = std::shared_ptr<const std::string>;

    void Offer(const Event& event);
    void Close();

    Mutex mu_;
    std::condition_variable_any offered_;
    std::deque<Event> waiting_ ABSL_GUARDED_BY(mu_);
    size_t waiting_bytes_ ABSL_GUARDED_BY(mu_) = 0;
    bool closed_ ABSL_GUARDED_BY(mu_) = false;
  };

  // Null if there are as many as there may be, or all are closed. It follows for as long as the
  // caller keeps it.
  std::shared_ptr<Stream> Open();

  // Sends an event to all; `data` is one line.
  void Send(absl::string_view event, absl::string_view data);

  bool empty() const;

  // Ends all streams; from now on none is opened.
  void Close();

 private:
  std::vector<std::shared_ptr<Stream>> Live() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable Mutex mu_;  // before a stream's
  std::vector<std::weak_ptr<Stream>> streams_ ABSL_GUARDED_BY(mu_);
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace breaker::server

#endif  // BREAKER_HTTP_EVENT_STREAMS_H_
