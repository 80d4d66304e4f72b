#include "server/engine/distinct_workers.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/match.h"
#include "server/engine/limits.h"

namespace breaker::server {

void DistinctWorkers::Record(absl::string_view worker, int64_t bucket, const QuorumShare* share) {
  Advance(bucket);
  auto it = last_seen_.find(worker);
  if (it != last_seen_.end() && it->second > newest_ - kBuckets) {
    --last_seen_in(it->second);
    --count_;
  } else if (count_ >= kMaxTrackedWorkers || (share != nullptr && IsPastShare(worker, *share))) {
    return;
  } else if (it == last_seen_.end()) {
    // Half of the map may have left the window before it is worth a look at all of it.
    if (last_seen_.size() >= 2 * count_ + 8) Forget();
    it = last_seen_.emplace(worker, newest_).first;
  }
  it->second = newest_;
  ++last_seen_in(newest_);
  ++count_;
}

uint32_t DistinctWorkers::Count(int64_t bucket) {
  Advance(bucket);
  return count_;
}

std::vector<std::pair<std::string, int64_t>> DistinctWorkers::Save(int64_t bucket) {
  Advance(bucket);
  Forget();
  std::vector<std::pair<std::string, int64_t>> workers(last_seen_.begin(), last_seen_.end());
  std::sort(workers.begin(), workers.end(), [](const auto& a, const auto& b) {
    return std::tie(a.second, a.first) < std::tie(b.second, b.first);
  });
  return workers;
}

void DistinctWorkers::Advance(int64_t bucket) {
  const int64_t steps = std::min<int64_t>(bucket - newest_, kBuckets);
  for (int64_t i = 1; i <= steps; ++i) {
    uint32_t& left = last_seen_in(newest_ + i);
    count_ -= left;
    left = 0;
  }
  newest_ = std::max(newest_, bucket);
}

bool DistinctWorkers::IsPastShare(absl::string_view worker, const QuorumShare& share) const {
  const absl::string_view identity = worker.substr(0, worker.find('/') + 1);
  uint32_t others = 0;
  for (const auto& [name, bucket] : last_seen_) {
    if (bucket <= newest_ - kBuckets || !absl::StartsWith(name, identity)) continue;
    if (++others < share.workers) continue;
    share.exceeded.store(true, std::memory_order_relaxed);
    return true;
  }
  return false;
}

void DistinctWorkers::Forget() {
  absl::erase_if(last_seen_,
                 [this](const auto& worker) { return worker.second <= newest_ - kBuckets; });
}

}  // namespace breaker::server
