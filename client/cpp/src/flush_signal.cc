#include "client/cpp/src/flush_signal.h"

#include "client/cpp/src/cell.h"

namespace breaker::internal {

void FlushSignal::Note(Cell* cell) {
  cell->next_noted = noted_.load();
  while (!noted_.compare_exchange_weak(cell->next_noted, cell)) {
  }
}

void FlushSignal::FlushSoon() {
  if (requested_.exchange(true)) return;
  server::MutexLock lock(&mu_);
  wake_.notify_one();
}

bool FlushSignal::WaitUntil(SteadyTime deadline) {
  server::MutexLock lock(&mu_);
  while (!requested_.load()) {
    if (wake_.wait_until(mu_, deadline) == std::cv_status::timeout) break;
  }
  return requested_.exchange(false);
}

bool FlushSignal::AdmitRun() {
  if (waiting_runs_.fetch_add(1, std::memory_order_relaxed) < kMaxWaitingRuns) return true;
  RunsLeft(1);
  return false;
}

}  // namespace breaker::internal
