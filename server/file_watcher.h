#ifndef BREAKER_FILE_WATCHER_H_
#define BREAKER_FILE_WATCHER_H_

#include <sys/stat.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace breaker::server {

// Calls back whenever one of some files has changed: written in place, replaced, gone, or behind a
// symlink that now leads elsewhere, as Kubernetes changes a ConfigMap or a Secret. Owns one thread,
// which the kernel wakes; it looks for itself once a second too, for changes that the kernel does
// not tell of, as on network file systems.
class FileWatcher {
 public:
  // Starts, with one call of `changed` soon: the files may be others than those that the caller has
  // read. `changed(asked)` runs in the thread of this, called `name` (15 characters at most);
  // `asked` = Reload was called, and somebody waits for a word on it.
  FileWatcher(std::vector<std::string> paths, const char* name, std::function<void(bool)> changed);
  // Stops.
  ~FileWatcher();

  FileWatcher(const FileWatcher&) = delete;
  FileWatcher& operator=(const FileWatcher&) = delete;

  // Has `changed` called soon, whether or not a file has changed. Thread-safe.
  void Reload();

 private:
  // What tells one content of a path from another, symlinks followed; nullopt = there is none.
  struct Identity {
    dev_t device;
    ino_t inode;
    off_t size;
    int64_t changed_at;  // ns, st_ctim

    friend bool operator==(const Identity&, const Identity&) = default;
  };
  using Identities = std::vector<std::optional<Identity>>;  // one a path
  Identities Look() const;

  void Run();
  // Until a directory has changed, Wake was called or a second is over. Says whether the kernel
  // told of a change.
  bool Wait();
  void Wake();

  const std::vector<std::string> paths_;
  const std::function<void(bool)> changed_;

  int inotify_ = -1;  // -1 = the kernel does not tell
  int wake_ = -1;     // an eventfd
  std::atomic<bool> stop_{false};
  std::atomic<bool> reload_{false};
  std::thread thread_;
};

}  // namespace breaker::server

#endif  // BREAKER_FILE_WATCHER_H_
