#ifndef BREAKER_ENGINE_PROBE_HOLDERS_H_
#define BREAKER_ENGINE_PROBE_HOLDERS_H_

#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "server/engine/key.h"
#include "server/engine/mutex.h"

namespace breaker::server {

// Which workers are connected, and where each may hold a probe, so that those of one that goes can
// be given back. Knows nothing of workers that are not connected. Thread-safe.
class ProbeHolders {
 public:
  // A connection of the worker has begun.
  void Join(absl::string_view worker_id) ABSL_LOCKS_EXCLUDED(mu_);

  // One has ended. If it was the last: the breakers of which the worker was granted a probe since
  // it joined; it may have reported them since.
  std::vector<Key> Leave(absl::string_view worker_id) ABSL_LOCKS_EXCLUDED(mu_);

  // The worker was granted a probe.
  void Note(absl::string_view worker_id, const KeyView& key) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Worker {
    int connections = 0;
    absl::flat_hash_set<Key> probed;
  };

  Mutex mu_;
  absl::flat_hash_map<std::string, Worker> workers_ ABSL_GUARDED_BY(mu_);
};

}  // namespace breaker::server

#endif  // BREAKER_ENGINE_PROBE_HOLDERS_H_
