#include "server/ticker.h"

#include <pthread.h>

#include <chrono>
#include <utility>

namespace breaker::server {
namespace {

constexpr std::chrono::milliseconds kInterval(10);

}  // namespace

Ticker::Ticker(Registry* registry, Publisher* publisher, const Clock* clock)
    : registry_(registry), publisher_(publisher), clock_(clock), thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "ticker");
}

Ticker::~Ticker() {
  {
    MutexLock lock(&mu_);
    stop_ = true;
  }
  stopped_.notify_one();
  thread_.join();
}

void Ticker::Run() {
  while (true) {
    {
      MutexLock lock(&mu_);
      if (!stop_) stopped_.wait_for(mu_, kInterval);
      if (stop_) return;
    }
    Changes changes;
    registry_->Tick(clock_->Now(), &changes);
    if (!changes.empty()) publisher_->Publish(std::move(changes), [] {});
  }
}

}  // namespace breaker::server
