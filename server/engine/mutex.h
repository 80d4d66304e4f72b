#ifndef BREAKER_ENGINE_MUTEX_H_
#define BREAKER_ENGINE_MUTEX_H_

#include <mutex>

#include "absl/base/thread_annotations.h"

namespace breaker::server {

// std::mutex with the annotations that let clang check what it guards. Not absl::Mutex:
// ThreadSanitizer cannot see into the uninstrumented Abseil of the distribution and reports its
// correct uses as races.
class ABSL_LOCKABLE Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mu_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mu_.unlock(); }

  // For std::condition_variable_any, which unlocks and locks again while it waits.
  void lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mu_.lock(); }
  void unlock() ABSL_UNLOCK_FUNCTION() { mu_.unlock(); }

 private:
  std::mutex mu_;
};

// Holds a Mutex for as long as it lives.
class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex* mu) ABSL_EXCLUSIVE_LOCK_FUNCTION(mu) : mu_(mu) { mu_->Lock(); }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mu_->Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex* const mu_;
};

}  // namespace breaker::server

#endif  // BREAKER_ENGINE_MUTEX_H_
