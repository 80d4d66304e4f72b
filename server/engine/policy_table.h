#ifndef BREAKER_ENGINE_POLICY_TABLE_H_
#define BREAKER_ENGINE_POLICY_TABLE_H_

#include <cstddef>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "server/engine/key.h"
#include "server/engine/policy.h"

namespace breaker::server {

// Stands for every operation of a service, or for every service.
inline constexpr absl::string_view kAny = "*";

// A policy and who set it.
struct ResolvedPolicy {
  PolicyPtr policy;
  PolicySource source;
};

// The operators' policies, and which policy applies to a breaker. Not thread-safe.
class PolicyTable {
 public:
  // `key` may be (service, "*") or ("*", "*").
  void Set(Key key, PolicyPtr policy);
  // False if there is none by that name.
  bool Erase(const KeyView& key);

  // An operator's for exactly this breaker, else an operator's for its service, else the worker's
  // (null = it brought none), else an operator's for everything, else the built-in one.
  ResolvedPolicy Resolve(const KeyView& key, const PolicyPtr& worker_policy) const;

 private:
  const PolicyPtr* Find(const KeyView& key) const;

  absl::btree_map<Key, PolicyPtr> policies_;
};

}  // namespace breaker::server

#endif  // BREAKER_ENGINE_POLICY_TABLE_H_
