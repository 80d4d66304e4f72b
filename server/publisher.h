#ifndef BREAKER_PUBLISHER_H_
#define BREAKER_PUBLISHER_H_

#include <utility>
#include <vector>

#include "server/engine/change.h"
#include "server/rpc/watch_hub.h"
#include "server/store/store_writer.h"

namespace breaker::server {

// Someone in this process who wants to know of changes.
class ChangeListener {
 public:
  virtual ~ChangeListener() = default;
  // Comes from any thread, when the changes are stored; those of a breaker may come out of order
  // where two calls cross. May not block.
  virtual void OnChanges(const Changes& changes) = 0;
};

// Takes changes of breakers to all who must know of them: transitions to the log and the store,
// then everything to those who watch. Thread-safe.
class Publisher {
 public:
  // None is owned; all must outlive the publisher.
  Publisher(StoreWriter* writer, WatchHub* hub, std::vector<ChangeListener*> listeners = {})
      : writer_(writer), hub_(hub), listeners_(std::move(listeners)) {}

  // Calls `done` once the transitions are stored, as StoreWriter::Persist does; at once if there
  // are none. Not to be called with a lock held.
  void Publish(Changes changes, StoreWriter::Done done);

 private:
  void Tell(Changes changes);

  StoreWriter* const writer_;
  WatchHub* const hub_;
  const std::vector<ChangeListener*> listeners_;
};

}  // namespace breaker::server

#endif  // BREAKER_PUBLISHER_H_
