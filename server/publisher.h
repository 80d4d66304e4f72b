#ifndef BREAKER_PUBLISHER_H_
#define BREAKER_PUBLISHER_H_

#include "server/engine/change.h"
#include "server/rpc/watch_hub.h"
#include "server/store/store_writer.h"

namespace breaker::server {

// Takes changes of breakers to all who must know of them: transitions to the log and the store,
// then everything to those who watch. Thread-safe.
class Publisher {
 public:
  // Neither is owned; both must outlive the publisher.
  Publisher(StoreWriter* writer, WatchHub* hub) : writer_(writer), hub_(hub) {}

  // Calls `done` once the transitions are stored, as StoreWriter::Persist does; at once if there
  // are none. Not to be called with a lock held.
  void Publish(Changes changes, StoreWriter::Done done);

 private:
  StoreWriter* const writer_;
  WatchHub* const hub_;
};

}  // namespace breaker::server

#endif  // BREAKER_PUBLISHER_H_
