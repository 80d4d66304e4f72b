#ifndef BREAKER_TICKER_H_
#define BREAKER_TICKER_H_

#include <condition_variable>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "server/engine/clock.h"
#include "server/engine/mutex.h"
#include "server/engine/registry.h"
#include "server/publisher.h"

namespace breaker {

// Lets time take its course on the registry's breakers, a hundred times a second: an OPEN time that
// is over shows without any traffic. What a call is answered never waits for this: every call looks
// at the clock itself. Owns one thread.
class Ticker {
 public:
  // Starts. None is owned; all must outlive the ticker.
  Ticker(Registry* registry, Publisher* publisher, const Clock* clock);
  // Stops.
  ~Ticker();

  Ticker(const Ticker&) = delete;
  Ticker& operator=(const Ticker&) = delete;

 private:
  void Run();

  Registry* const registry_;
  Publisher* const publisher_;
  const Clock* const clock_;

  Mutex mu_;
  std::condition_variable_any stopped_;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace breaker

#endif  // BREAKER_TICKER_H_
