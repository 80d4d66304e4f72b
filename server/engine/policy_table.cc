#include "server/engine/policy_table.h"

#include <utility>

namespace breaker::server {

void PolicyTable::Set(Key key, PolicyPtr policy) {
  policies_.insert_or_assign(std::move(key), std::move(policy));
}

bool PolicyTable::Erase(const KeyView& key) { return policies_.erase(Key(key)) > 0; }

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
  if (policies_.empty()) return nullptr;
  const auto it = policies_.find(Key(key));
  return it == policies_.end() ? nullptr : &it->second;
}

}  // namespace breaker::server
