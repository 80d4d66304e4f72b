#include "server/policy_watcher.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <filesystem>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "server/log.h"
#include "server/policy_file.h"
#include "server/rpc/convert.h"

namespace breaker::server {
namespace {

constexpr int kLookEveryMs = 1000;

std::string DirectoryOf(const std::string& path) {
  const std::string directory = std::filesystem::path(path).parent_path();
  return directory.empty() ? "." : directory;
}

}  // namespace

absl::StatusOr<size_t> ApplyPolicyFile(const std::string& path, Registry* registry, Instant now,
                                       Changes* changes) {
  const absl::StatusOr<std::vector<v1::SetPolicyRequest>> read = ReadPolicies(path);
  if (!read.ok()) return read.status();
  absl::btree_map<Key, Policy> policies;
  for (const v1::SetPolicyRequest& request : *read) {
    absl::StatusOr<Policy> policy = PolicyFrom(request.policy());
    if (!policy.ok()) return policy.status();
    policies.insert({Key(request.service(), request.operation()), *std::move(policy)});
  }
  return registry->SetFilePolicies(policies, now, changes);
}

PolicyWatcher::PolicyWatcher(std::string path, Registry* registry, Publisher* publisher,
                             const Clock* clock)
    : path_(std::move(path)),
      registry_(registry),
      publisher_(publisher),
      clock_(clock),
      inotify_(inotify_init1(IN_CLOEXEC | IN_NONBLOCK)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  // The directory, not the file: what replaces the file is another one. In a ConfigMap what changes
  // is a symlink beside it.
  constexpr uint32_t kEvents = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE;
  if (inotify_ >= 0 && inotify_add_watch(inotify_, DirectoryOf(path_).c_str(), kEvents) < 0) {
    close(inotify_);
    inotify_ = -1;
  }
  thread_ = std::thread([this] { Run(); });
  pthread_setname_np(thread_.native_handle(), "policy_watcher");
}

PolicyWatcher::~PolicyWatcher() {
  stop_ = true;
  Wake();
  thread_.join();
  if (inotify_ >= 0) close(inotify_);
  close(wake_);
}

void PolicyWatcher::Reload() {
  reload_ = true;
  Wake();
}

void PolicyWatcher::Wake() {
  const uint64_t one = 1;
  // Fails only if it is awake already.
  [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof(one));
}

std::optional<PolicyWatcher::Identity> PolicyWatcher::Look() const {
  struct stat found;
  if (stat(path_.c_str(), &found) != 0) return std::nullopt;
  return Identity{found.st_dev, found.st_ino, found.st_size,
                  int64_t{found.st_ctim.tv_sec} * 1'000'000'000 + found.st_ctim.tv_nsec};
}

void PolicyWatcher::Run() {
  std::optional<Identity> applied;  // The caller's may be another by now.
  std::optional<Identity> seen;
  bool told = true;
  while (!stop_) {
    const bool asked = reload_.exchange(false);
    const std::optional<Identity> found = Look();
    // A file that is being written is left alone until it is closed, or has not changed for a
    // while.
    if (asked || (found != applied && (told || found == seen))) {
      applied = found;
      Apply(asked);
    }
    seen = found;
    told = Wait();
  }
}

bool PolicyWatcher::Wait() {
  pollfd wakers[] = {{wake_, POLLIN, 0}, {inotify_, POLLIN, 0}};  // a negative one is passed over
  poll(wakers, 2, kLookEveryMs);
  bool told = false;
  char events[4096];
  while (inotify_ >= 0 && read(inotify_, events, sizeof(events)) > 0) told = true;
  uint64_t count;
  [[maybe_unused]] const ssize_t woken = read(wake_, &count, sizeof(count));
  return told;
}

void PolicyWatcher::Apply(bool asked) {
  Changes changes;
  const absl::StatusOr<size_t> changed = ApplyPolicyFile(path_, registry_, clock_->Now(), &changes);
  if (!changed.ok()) {
    Log(LogLevel::kError, "policies_not_loaded", {{"reason", changed.status().message()}});
    return;
  }
  if (asked || *changed > 0) {
    Log(LogLevel::kInfo, "policies_loaded", {{"file", path_}, {"changed", absl::StrCat(*changed)}});
  }
  publisher_->Publish(std::move(changes), [] {});
}

}  // namespace breaker::server
