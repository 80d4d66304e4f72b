#ifndef BREAKER_CLIENT_FLUSH_SIGNAL_H_
#define BREAKER_CLIENT_FLUSH_SIGNAL_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "server/engine/mutex.h"

namespace breaker::internal {

class Cell;

using SteadyTime = std::chrono::steady_clock::time_point;

// By which cells tell the flushing thread what there is to send, and how much memory that may take.
// Thread-safe.
class FlushSignal {
 public:
  // Runs of outcomes that may wait in all cells together.
  static constexpr int kMaxWaitingRuns = 4096;

  // Notes a cell that has something to send. It must not be noted already.
  void Note(Cell* cell);
  // Takes all that were noted, as a list by Cell::next_noted.
  Cell* TakeNoted() { return noted_.exchange(nullptr); }

  // Wakes the flushing thread.
  void FlushSoon() ABSL_LOCKS_EXCLUDED(mu_);
  // Waits for that, until `deadline`; says whether it came.
  bool WaitUntil(SteadyTime deadline) ABSL_LOCKS_EXCLUDED(mu_);

  // Whether one more run may wait; then it counts as waiting until RunsLeft.
  bool AdmitRun();
  bool HasRoom() const { return waiting_runs_.load(std::memory_order_relaxed) < kMaxWaitingRuns; }
  void RunsLeft(int count) { waiting_runs_.fetch_sub(count, std::memory_order_relaxed); }

  // Outcomes that were given up.
  void CountDropped(uint64_t count) { dropped_.fetch_add(count, std::memory_order_relaxed); }
  uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  std::atomic<Cell*> noted_ = nullptr;
  std::atomic<bool> requested_ = false;
  std::atomic<int> waiting_runs_ = 0;
  std::atomic<uint64_t> dropped_ = 0;

  // Taken by whoever raises requested_, so that the thread that waits cannot miss it. Innermost.
  server::Mutex mu_;
  std::condition_variable_any wake_;
};

}  // namespace breaker::internal

#endif  // BREAKER_CLIENT_FLUSH_SIGNAL_H_
