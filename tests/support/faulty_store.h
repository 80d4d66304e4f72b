#ifndef BREAKER_TESTS_SUPPORT_FAULTY_STORE_H_
#define BREAKER_TESTS_SUPPORT_FAULTY_STORE_H_

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "server/engine/mutex.h"
#include "server/store/state_store.h"
#include "tests/support/tally.h"

namespace breaker::server {

// Another store, with a disk that can be told to fail or to hang. Tests steer it from any thread
// while another one uses it.
class FaultyStore : public StateStore {
 public:
  // `store` is not owned and must outlive it.
  explicit FaultyStore(StateStore* store) : store_(store) {}

  // From now on every Open, or every Write, fails, or works again.
  void FailOpens(bool fail) {
    MutexLock lock(&mu_);
    fail_opens_ = fail;
  }
  void FailWrites(bool fail) {
    MutexLock lock(&mu_);
    fail_writes_ = fail;
  }

  // From now on every Write hangs before it does anything.
  void BlockWrites() {
    MutexLock lock(&mu_);
    allowed_ = 0;
  }
  // Lets that many of them through.
  void AllowWrites(int count) {
    MutexLock lock(&mu_);
    allowed_ += count;
    changed_.notify_all();
  }
  // Waits until `count` writes have come since the beginning, whether they hang or are done. False
  // if they do not come.
  bool AwaitWrites(size_t count) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    MutexLock lock(&mu_);
    while (batches_.size() < count) {
      if (changed_.wait_until(mu_, end) == std::cv_status::timeout) return false;
    }
    return true;
  }

  // The keys of breakers of each Write that has come so far.
  std::vector<std::vector<Key>> batches() {
    MutexLock lock(&mu_);
    return batches_;
  }
  int opens() {
    MutexLock lock(&mu_);
    return opens_;
  }

  absl::StatusOr<PermitEpoch> Open() override {
    {
      MutexLock lock(&mu_);
      ++opens_;
      if (fail_opens_) return absl::UnavailableError("no disk");
    }
    return store_->Open();
  }

  absl::Status Load(const StoreReader& reader) override { return store_->Load(reader); }

  absl::Status Write(const StoreBatch& batch) override {
    {
      MutexLock lock(&mu_);
      std::vector<Key>& keys = batches_.emplace_back();
      for (const auto& [key, snapshot] : batch.breakers) keys.push_back(key);
      changed_.notify_all();
      while (allowed_ == 0) changed_.wait(mu_);
      --allowed_;
      if (fail_writes_) return absl::UnavailableError("disk full");
    }
    return store_->Write(batch);
  }

  absl::StatusOr<std::unique_ptr<Checkpoint>> MakeCheckpoint() override {
    return store_->MakeCheckpoint();
  }

 private:
  StateStore* const store_;

  Mutex mu_;
  std::condition_variable_any changed_;
  bool fail_opens_ ABSL_GUARDED_BY(mu_) = false;
  bool fail_writes_ ABSL_GUARDED_BY(mu_) = false;
  int allowed_ ABSL_GUARDED_BY(mu_) = 1'000'000;
  int opens_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<std::vector<Key>> batches_ ABSL_GUARDED_BY(mu_);
};

}  // namespace breaker::server

#endif  // BREAKER_TESTS_SUPPORT_FAULTY_STORE_H_
