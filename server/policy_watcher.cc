#include "server/policy_watcher.h"

#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/strings/str_cat.h"
#include "server/log.h"
#include "server/policy_file.h"
#include "server/rpc/convert.h"

namespace breaker::server {

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
      watcher_({path_}, "policy_watcher", [this](bool asked) { Apply(asked); }) {}

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
