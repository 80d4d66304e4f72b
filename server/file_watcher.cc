#include "server/file_watcher.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <filesystem>
#include <utility>

namespace breaker::server {
namespace {

constexpr int kLookEveryMs = 1000;

std::string DirectoryOf(const std::string& path) {
  const std::string directory = std::filesystem::path(path).parent_path();
  return directory.empty() ? "." : directory;
}

}  // namespace

FileWatcher::FileWatcher(std::vector<std::string> paths, const char* name,
                         std::function<void(bool)> changed)
    : paths_(std::move(paths)),
      changed_(std::move(changed)),
      inotify_(inotify_init1(IN_CLOEXEC | IN_NONBLOCK)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  // The directories, not the files: what replaces a file is another one. In a ConfigMap what
  // changes is a symlink beside it. One that cannot be watched is looked at once a second all the
  // same.
  constexpr uint32_t kEvents = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE;
  for (const std::string& path : paths_) {
    if (inotify_ >= 0) inotify_add_watch(inotify_, DirectoryOf(path).c_str(), kEvents);
  }
  thread_ = std::thread([this] { Run(); });
  pthread_setname_np(thread_.native_handle(), name);
}

FileWatcher::~FileWatcher() {
  stop_ = true;
  Wake();
  thread_.join();
  if (inotify_ >= 0) close(inotify_);
  close(wake_);
}

void FileWatcher::Reload() {
  reload_ = true;
  Wake();
}

void FileWatcher::Wake() {
  const uint64_t one = 1;
  // Fails only if it is awake already.
  [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof(one));
}

FileWatcher::Identities FileWatcher::Look() const {
  Identities identities;
  for (const std::string& path : paths_) {
    struct stat found;
    std::optional<Identity>& identity = identities.emplace_back();
    if (stat(path.c_str(), &found) != 0) continue;
    identity = Identity{found.st_dev, found.st_ino, found.st_size,
                        int64_t{found.st_ctim.tv_sec} * 1'000'000'000 + found.st_ctim.tv_nsec};
  }
  return identities;
}

void FileWatcher::Run() {
  Identities applied;  // None yet: the caller's may be others by now.
  Identities seen;
  bool told = true;
  while (!stop_) {
    const bool asked = reload_.exchange(false);
    const Identities found = Look();
    // A file that is being written is left alone until it is closed, or has not changed for a
    // while.
    if (asked || (found != applied && (told || found == seen))) {
      applied = found;
      changed_(asked);
    }
    seen = found;
    told = Wait();
  }
}

bool FileWatcher::Wait() {
  pollfd wakers[] = {{wake_, POLLIN, 0}, {inotify_, POLLIN, 0}};  // a negative one is passed over
  poll(wakers, 2, kLookEveryMs);
  bool told = false;
  char events[4096];
  while (inotify_ >= 0 && read(inotify_, events, sizeof(events)) > 0) told = true;
  uint64_t count;
  [[maybe_unused]] const ssize_t woken = read(wake_, &count, sizeof(count));
  return told;
}

}  // namespace breaker::server
