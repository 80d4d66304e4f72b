#ifndef BREAKER_HTTP_TRANSITION_COUNTER_H_
#define BREAKER_HTTP_TRANSITION_COUNTER_H_

#include <compare>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "server/engine/change.h"
#include "server/engine/key.h"
#include "server/engine/mutex.h"
#include "server/engine/transition.h"
#include "server/publisher.h"

namespace breaker::server {

// Counts the transitions of each breaker since the daemon started, by where they led and why.
// Knows only breakers that there are and that had one. Thread-safe.
class TransitionCounter : public ChangeListener {
 public:
  struct Kind {
    State to;
    Cause cause;
    friend auto operator<=>(const Kind&, const Kind&) = default;
  };
  using Counts = absl::btree_map<Kind, uint64_t>;

  void OnChanges(const Changes& changes) override {
    MutexLock lock(&mu_);
    for (const BreakerChange& change : changes) {
      if (change.removed) counts_.erase(change.key);
      if (change.transition.has_value()) {
        ++counts_[change.key][{change.transition->to, change.transition->cause}];
      }
    }
  }

  // Empty for a breaker that had none.
  Counts Of(const Key& key) const {
    MutexLock lock(&mu_);
    const auto found = counts_.find(key);
    return found == counts_.end() ? Counts() : found->second;
  }

 private:
  mutable Mutex mu_;
  absl::flat_hash_map<Key, Counts> counts_ ABSL_GUARDED_BY(mu_);
};

}  // namespace breaker::server

#endif  // BREAKER_HTTP_TRANSITION_COUNTER_H_
