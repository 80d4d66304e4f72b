#ifndef BREAKER_POLICY_WATCHER_H_
#define BREAKER_POLICY_WATCHER_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "server/engine/change.h"
#include "server/engine/clock.h"
#include "server/engine/registry.h"
#include "server/file_watcher.h"
#include "server/publisher.h"

namespace breaker::server {

// Puts the policies of a file in effect; all of them, or after an error none. Gives how many are
// not what they were.
absl::StatusOr<size_t> ApplyPolicyFile(const std::string& path, Registry* registry, Instant now,
                                       Changes* changes);

// Applies a policy file anew whenever it has changed. A file with an error, or that is gone,
// changes nothing and is logged. Owns the thread of a FileWatcher.
class PolicyWatcher {
 public:
  // Starts. The file was applied before, by the caller. None is owned; all must outlive this.
  PolicyWatcher(std::string path, Registry* registry, Publisher* publisher, const Clock* clock);

  PolicyWatcher(const PolicyWatcher&) = delete;
  PolicyWatcher& operator=(const PolicyWatcher&) = delete;

  // Has the file applied soon, whether or not it has changed. Thread-safe.
  void Reload() { watcher_.Reload(); }

 private:
  // `asked` = somebody waits for a word on it.
  void Apply(bool asked);

  const std::string path_;
  Registry* const registry_;
  Publisher* const publisher_;
  const Clock* const clock_;
  FileWatcher watcher_;  // last: its thread uses the others
};

}  // namespace breaker::server

#endif  // BREAKER_POLICY_WATCHER_H_
