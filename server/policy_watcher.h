#ifndef BREAKER_POLICY_WATCHER_H_
#define BREAKER_POLICY_WATCHER_H_

#include <sys/stat.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "server/engine/change.h"
#include "server/engine/clock.h"
#include "server/engine/registry.h"
#include "server/publisher.h"

namespace breaker::server {

// Puts the policies of a file in effect; all of them, or after an error none. Gives how many are
// not what they were.
absl::StatusOr<size_t> ApplyPolicyFile(const std::string& path, Registry* registry, Instant now,
                                       Changes* changes);

// Applies a policy file anew whenever it has changed: written in place, replaced, or behind a
// symlink that now leads elsewhere, as Kubernetes changes a ConfigMap. A file with an error, or
// that is gone, changes nothing and is logged. Owns one thread, which the kernel wakes; it looks
// for itself once a second too, for changes that the kernel does not tell of, as on network file
// systems.
class PolicyWatcher {
 public:
  // Starts. The file was applied before, by the caller. None is owned; all must outlive this.
  PolicyWatcher(std::string path, Registry* registry, Publisher* publisher, const Clock* clock);
  // Stops.
  ~PolicyWatcher();

  PolicyWatcher(const PolicyWatcher&) = delete;
  PolicyWatcher& operator=(const PolicyWatcher&) = delete;

  // Has the file applied soon, whether or not it has changed. Thread-safe.
  void Reload();

 private:
  // What tells one content of the path from another, symlinks followed; nullopt = there is none.
  struct Identity {
    dev_t device;
    ino_t inode;
    off_t size;
    int64_t changed_at;  // ns, st_ctim

    friend bool operator==(const Identity&, const Identity&) = default;
  };
  std::optional<Identity> Look() const;

  void Run();
  // Until the directory has changed, Wake was called or a second is over. Says whether the kernel
  // told of a change.
  bool Wait();
  void Wake();
  // `asked` = somebody waits for a word on it.
  void Apply(bool asked);

  const std::string path_;
  Registry* const registry_;
  Publisher* const publisher_;
  const Clock* const clock_;

  int inotify_ = -1;  // -1 = the kernel does not tell
  int wake_ = -1;     // an eventfd
  std::atomic<bool> stop_{false};
  std::atomic<bool> reload_{false};
  std::thread thread_;
};

}  // namespace breaker::server

#endif  // BREAKER_POLICY_WATCHER_H_
