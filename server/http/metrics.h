#ifndef BREAKER_HTTP_METRICS_H_
#define BREAKER_HTTP_METRICS_H_

#include <prometheus/registry.h>

#include <cstddef>
#include <string>

#include "server/engine/clock.h"
#include "server/engine/registry.h"
#include "server/http/transition_counter.h"
#include "server/publisher.h"
#include "server/rpc/watch_hub.h"
#include "server/store/store_writer.h"

namespace breaker::server {

// What /metrics says, in Prometheus' text format: the breakers, the worst `max_breakers` of them,
// and the daemon. Thread-safe.
class Metrics {
 public:
  // None is owned; all must outlive this. `measured` has what others have measured.
  struct Sources {
    prometheus::Registry* measured;
    Registry* registry;
    TransitionCounter* transitions;
    Publisher* publisher;
    StoreWriter* writer;
    WatchHub* hub;
    const Clock* clock;
  };

  Metrics(const Sources& sources, size_t max_breakers)
      : sources_(sources), max_breakers_(max_breakers) {}

  std::string Text() const;

 private:
  const Sources sources_;
  const size_t max_breakers_;
};

}  // namespace breaker::server

#endif  // BREAKER_HTTP_METRICS_H_
