#ifndef BREAKER_PUBLISHER_H_
#define BREAKER_PUBLISHER_H_

#include "server/engine/registry.h"
#include "server/store/store_writer.h"

namespace breaker {

// Takes the transitions of breakers to all who must know of them: the log and the store.
// Thread-safe.
class Publisher {
 public:
  // Not owned; must outlive the publisher.
  explicit Publisher(StoreWriter* writer) : writer_(writer) {}

  // Calls `done` once they are stored, as StoreWriter::Persist does. Not to be called with a lock
  // held.
  void Publish(const Transitions& transitions, StoreWriter::Done done);

 private:
  StoreWriter* const writer_;
};

}  // namespace breaker

#endif  // BREAKER_PUBLISHER_H_
