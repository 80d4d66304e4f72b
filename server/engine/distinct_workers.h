#ifndef BREAKER_ENGINE_DISTINCT_WORKERS_H_
#define BREAKER_ENGINE_DISTINCT_WORKERS_H_

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "server/engine/quorum_share.h"
#include "server/engine/sliding_window.h"

namespace breaker::server {

// How many distinct workers were seen within a SlidingWindow, in the numbers of that window's
// buckets. Follows at most kMaxTrackedWorkers workers of one window; further ones are not counted.
// Not thread-safe. Every call is O(1), amortised.
class DistinctWorkers {
 public:
  // `bucket` never falls from call to call. Of the workers of one identity, whose names begin alike
  // up to the first '/', at most the `share` is counted at once; null = all.
  void Record(absl::string_view worker, int64_t bucket, const QuorumShare* share = nullptr);
  uint32_t Count(int64_t bucket);

  // Each worker of the window with the bucket in which it was last seen, oldest first.
  std::vector<std::pair<std::string, int64_t>> Save(int64_t bucket);

 private:
  static constexpr int kBuckets = SlidingWindow::kBuckets;

  uint32_t& last_seen_in(int64_t bucket) { return last_seen_in_[bucket % kBuckets]; }
  void Advance(int64_t bucket);
  void Forget();
  // Whether as many others of its identity are in the window already.
  bool IsPastShare(absl::string_view worker, const QuorumShare& share) const;

  absl::flat_hash_map<std::string, int64_t> last_seen_;  // bucket; some may have left the window
  std::array<uint32_t, kBuckets> last_seen_in_ = {};     // workers by the bucket they were last in
  uint32_t count_ = 0;                                   // sum over it
  int64_t newest_ = 0;
};

}  // namespace breaker::server

#endif  // BREAKER_ENGINE_DISTINCT_WORKERS_H_
