#include "server/engine/policy_table.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace breaker::server {

void PolicyTable::Set(Key key, PolicyPtr policy, WallTime updated_at) {
  api_.insert_or_assign(std::move(key), Dated{std::move(policy), updated_at});
}

bool PolicyTable::Erase(const KeyView& key) { return api_.erase(Key(key)) > 0; }

std::vector<Key> PolicyTable::ReplaceFile(const absl::btree_map<Key, Policy>& policies,
                                          WallTime now) {
  std::vector<Key> changed;
  Layer replaced;
  for (const auto& [key, policy] : policies) {
    const auto old = file_.find(key);
    if (old != file_.end() && *old->second.policy == policy) {
      replaced.insert(*old);
    } else {
      replaced.insert({key, Dated{std::make_shared<const Policy>(policy), now}});
      changed.push_back(key);
    }
  }
  for (const auto& [key, dated] : file_) {
    if (!policies.contains(key)) changed.push_back(key);
  }
  file_ = std::move(replaced);
  return changed;
}

std::vector<OperatorPolicy> PolicyTable::All() const {
  std::vector<OperatorPolicy> all;
  for (const auto& [key, dated] : api_) {
    all.push_back({key, dated.policy, dated.updated_at, PolicyOrigin::kApi});
  }
  for (const auto& [key, dated] : file_) {
    if (api_.contains(key)) continue;
    all.push_back({key, dated.policy, dated.updated_at, PolicyOrigin::kFile});
  }
  std::sort(all.begin(), all.end(), [](const OperatorPolicy& a, const OperatorPolicy& b) {
    return KeyView(a.key) < KeyView(b.key);
  });
  return all;
}

ResolvedPolicy PolicyTable::Resolve(const KeyView& key, const PolicyPtr& worker_policy) const {
  if (const PolicyPtr* exact = Find(key)) return {*exact, PolicySource::kOperator};
  if (const PolicyPtr* service = Find({key.service, kAny})) {
    return {*service, PolicySource::kOperator};
  }
  if (worker_policy != nullptr) return {worker_policy, PolicySource::kWorker};
  if (const PolicyPtr* everything = Find({kAny, kAny})) {
    return {*everything, PolicySource::kOperator};
  }
  return {BuiltInPolicy(), PolicySource::kBuiltIn};
}

const PolicyPtr* PolicyTable::Find(const KeyView& key) const {
  for (const Layer* layer : {&api_, &file_}) {
    if (layer->empty()) continue;
    const auto it = layer->find(Key(key));
    if (it != layer->end()) return &it->second.policy;
  }
  return nullptr;
}

}  // namespace breaker::server
