#ifndef BREAKER_HTTP_HTTP_SERVICE_H_
#define BREAKER_HTTP_HTTP_SERVICE_H_

#include <prometheus/registry.h>

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/engine/clock.h"
#include "server/engine/registry.h"
#include "server/http/board_api.h"
#include "server/http/board_feed.h"
#include "server/http/event_streams.h"
#include "server/http/http_server.h"
#include "server/http/metrics.h"
#include "server/http/transition_counter.h"
#include "server/operations.h"
#include "server/publisher.h"
#include "server/rpc/watch_hub.h"
#include "server/store/store_writer.h"

namespace breaker::server {

// All that the daemon serves over HTTP: /metrics, /healthz and the board.
class HttpService {
 public:
  struct Options {
    std::string listen;
    std::string admin_token;  // empty = nobody may change anything
    size_t metrics_max_breakers = 10'000;
  };

  // None is owned; all must outlive this. `measured` has what others have measured.
  struct Sources {
    prometheus::Registry* measured;
    Registry* registry;
    StoreWriter* writer;
    WatchHub* hub;
    const Clock* clock;
  };

  HttpService(Options options, const Sources& sources);

  HttpService(const HttpService&) = delete;
  HttpService& operator=(const HttpService&) = delete;

  // Who has to hear of changes, for as long as this lives.
  std::vector<ChangeListener*> listeners() { return {&transitions_, &feed_}; }

  // Opens the port. Neither is owned; both must live until Stop. UNAVAILABLE if there is no port.
  absl::Status Start(Publisher* publisher, Operations* operations);

  // From now on /healthz says that the daemon stops, and no browser hears of anything.
  void Drain();
  // Closes the port and ends the threads.
  void Stop();

  int port() const { return server_->port(); }

 private:
  HttpResponse Health() const;

  const Options options_;
  const Sources sources_;
  std::atomic<bool> draining_{false};

  // In the order of construction; each uses only those above it.
  TransitionCounter transitions_;
  EventStreams streams_;
  BoardFeed feed_;
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<BoardApi> board_;
  std::unique_ptr<HttpServer> server_;
};

}  // namespace breaker::server

#endif  // BREAKER_HTTP_HTTP_SERVICE_H_
