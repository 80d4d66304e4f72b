#ifndef BREAKER_TESTS_SUPPORT_TALLY_H_
#define BREAKER_TESTS_SUPPORT_TALLY_H_

#include <chrono>
#include <condition_variable>

#include "absl/base/thread_annotations.h"
#include "server/engine/mutex.h"

namespace breaker::server {

// How long a test waits for what should come at once, before it fails.
inline constexpr std::chrono::seconds kPatience{30};

// Counts what happens in other threads. Thread-safe.
class Tally {
 public:
  void Add() {
    MutexLock lock(&mu_);
    ++count_;
    changed_.notify_all();
  }
  int count() {
    MutexLock lock(&mu_);
    return count_;
  }
  // Waits until it has happened `count` times. False if it does not.
  bool Await(int count) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    MutexLock lock(&mu_);
    while (count_ < count) {
      if (changed_.wait_until(mu_, end) == std::cv_status::timeout) return count_ >= count;
    }
    return true;
  }

 private:
  Mutex mu_;
  std::condition_variable_any changed_;
  int count_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace breaker::server

#endif  // BREAKER_TESTS_SUPPORT_TALLY_H_
