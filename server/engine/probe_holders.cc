#include "server/engine/probe_holders.h"

namespace breaker::server {

void ProbeHolders::Join(absl::string_view worker_id) {
  MutexLock lock(&mu_);
  ++workers_[worker_id].connections;
}

std::vector<Key> ProbeHolders::Leave(absl::string_view worker_id) {
  MutexLock lock(&mu_);
  const auto it = workers_.find(worker_id);
  if (it == workers_.end() || --it->second.connections > 0) return {};
  const absl::flat_hash_set<Key>& probed = it->second.probed;
  std::vector<Key> keys(probed.begin(), probed.end());
  workers_.erase(it);
  return keys;
}

void ProbeHolders::Note(absl::string_view worker_id, const KeyView& key) {
  MutexLock lock(&mu_);
  const auto it = workers_.find(worker_id);
  if (it != workers_.end()) it->second.probed.insert(Key(key));
}

}  // namespace breaker::server
