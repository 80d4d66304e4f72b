#ifndef BREAKER_ENGINE_POLICY_TABLE_H_
#define BREAKER_ENGINE_POLICY_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "server/engine/clock.h"
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

// Where an operator has set a policy. The numbers are those of the contract.
enum class PolicyOrigin : uint8_t { kFile = 1, kApi = 2 };

// A policy that an operator has set for a key, which may be (service, "*") or ("*", "*").
struct OperatorPolicy {
  Key key;
  PolicyPtr policy;
  WallTime updated_at;
  PolicyOrigin origin;
};

// The operators' policies, and which policy applies to a breaker. Where the api and the policy file
// both have one for a key, the api's holds. Not thread-safe.
class PolicyTable {
 public:
  // Sets what the api says of a key.
  void Set(Key key, PolicyPtr policy, WallTime updated_at);
  // Takes it away; false if the api says nothing of the key.
  bool Erase(const KeyView& key);

  // Replaces all that the file says. Gives the keys of which it now says something else.
  std::vector<Key> ReplaceFile(const absl::btree_map<Key, Policy>& policies, WallTime now);

  // All that hold, in the order of their keys.
  std::vector<OperatorPolicy> All() const;

  // An operator's for exactly this breaker, else an operator's for its service, else the worker's
  // (null = it brought none), else an operator's for everything, else the built-in one.
  ResolvedPolicy Resolve(const KeyView& key, const PolicyPtr& worker_policy) const;

 private:
  struct Dated {
    PolicyPtr policy;
    WallTime updated_at;
  };
  using Layer = absl::btree_map<Key, Dated>;

  const PolicyPtr* Find(const KeyView& key) const;

  Layer api_;
  Layer file_;
};

}  // namespace breaker::server

#endif  // BREAKER_ENGINE_POLICY_TABLE_H_
