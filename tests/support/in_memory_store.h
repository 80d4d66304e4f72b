#ifndef BREAKER_TESTS_SUPPORT_IN_MEMORY_STORE_H_
#define BREAKER_TESTS_SUPPORT_IN_MEMORY_STORE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "server/engine/mutex.h"
#include "server/store/state_store.h"

namespace breaker::server {

// A StateStore that keeps what is written for as long as it lives. Tests may look into it from any
// thread while another one uses it.
class InMemoryStore : public StateStore {
 public:
  absl::StatusOr<PermitEpoch> Open() override {
    MutexLock lock(&mu_);
    epoch_.number = (epoch_.number + 1) % (1 << 20);
    open_ = true;
    return epoch_;
  }

  absl::Status Load(const StoreReader& reader) override {
    std::map<Key, BreakerSnapshot> breakers;
    std::map<Key, StoredPolicy> policies;
    std::map<uint64_t, SessionMark> sessions;
    {
      MutexLock lock(&mu_);
      if (!open_) return absl::UnavailableError("the store is not open");
      breakers = breakers_;
      policies = policies_;
      sessions = sessions_;
    }
    for (const auto& [name, mark] : sessions) reader.session(mark);
    for (const auto& [key, stored] : policies) reader.policy(stored);
    for (const auto& [key, snapshot] : breakers) reader.breaker(snapshot);
    return absl::OkStatus();
  }

  absl::Status Write(const StoreBatch& batch) override {
    MutexLock lock(&mu_);
    if (!open_) return absl::UnavailableError("the store is not open");
    for (const auto& [key, snapshot] : batch.breakers) Put(key, snapshot, breakers_);
    for (const auto& [key, policy] : batch.policies) Put(key, policy, policies_);
    for (const SessionMark& mark : batch.sessions) sessions_.insert_or_assign(mark.session, mark);
    for (const uint64_t name : batch.forgotten_sessions) sessions_.erase(name);
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<Checkpoint>> MakeCheckpoint() override {
    return absl::UnimplementedError("a store in memory has no files");
  }

  // Becomes another store, empty and closed.
  void Replace() {
    MutexLock lock(&mu_);
    epoch_ = {epoch_.secret + 1, 0};
    open_ = false;
    breakers_.clear();
    policies_.clear();
    sessions_.clear();
  }

  std::map<Key, BreakerSnapshot> breakers() {
    MutexLock lock(&mu_);
    return breakers_;
  }
  std::map<Key, StoredPolicy> policies() {
    MutexLock lock(&mu_);
    return policies_;
  }
  std::map<uint64_t, SessionMark> sessions() {
    MutexLock lock(&mu_);
    return sessions_;
  }
  std::optional<BreakerSnapshot> Find(const Key& key) {
    MutexLock lock(&mu_);
    const auto it = breakers_.find(key);
    return it == breakers_.end() ? std::nullopt : std::optional(it->second);
  }

 private:
  template <typename T>
  static void Put(const Key& key, const std::optional<T>& value, std::map<Key, T>& into) {
    if (value.has_value()) {
      into.insert_or_assign(key, *value);
    } else {
      into.erase(key);
    }
  }

  Mutex mu_;
  PermitEpoch epoch_ ABSL_GUARDED_BY(mu_) = {0x5eed, 0};
  bool open_ ABSL_GUARDED_BY(mu_) = false;
  std::map<Key, BreakerSnapshot> breakers_ ABSL_GUARDED_BY(mu_);
  std::map<Key, StoredPolicy> policies_ ABSL_GUARDED_BY(mu_);
  std::map<uint64_t, SessionMark> sessions_ ABSL_GUARDED_BY(mu_);  // by name
};

}  // namespace breaker::server

#endif  // BREAKER_TESTS_SUPPORT_IN_MEMORY_STORE_H_
