#include "tests/bench/watcher.h"

#include "tests/bench/die.h"

namespace breaker::bench {

Watcher::~Watcher() {
  Cancel();
  std::unique_lock<std::mutex> lock(mu_);
  changed_.wait(lock, [this] { return done_; });
}

void Watcher::Cancel() {
  {
    const std::lock_guard<std::mutex> lock(mu_);
    cancelled_ = true;
  }
  context_.TryCancel();
}

void Watcher::OnReadDone(bool ok) {
  if (!ok) return;
  on_message_(response_);
  StartRead(&response_);
}

void Watcher::OnDone(const grpc::Status& status) {
  const std::lock_guard<std::mutex> lock(mu_);
  if (!cancelled_) {
    MustBeOk(status, "Watch");
    Die("a Watch stream ended");
  }
  done_ = true;
  changed_.notify_one();
}

}  // namespace breaker::bench
