#include "server/publisher.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/log.h"

namespace breaker::server {

void Publisher::Publish(Changes changes, StoreWriter::Done done) {
  std::vector<Key> transitioned;
  for (const BreakerChange& change : changes) {
    if (!change.transition.has_value()) continue;
    const Transition& transition = *change.transition;
    Log(LogLevel::kInfo, "transition",
        {{"service", change.key.service},
         {"operation", change.key.operation},
         {"from", Name(transition.from)},
         {"to", Name(transition.to)},
         {"cause", Name(transition.cause)},
         {"generation", absl::StrCat(transition.generation)},
         {"reason", transition.reason}});
    transitioned.push_back(change.key);
  }
  if (transitioned.empty()) {
    Tell(std::move(changes));
    std::move(done)();
    return;
  }
  // Nobody hears of a state that a crash could take back.
  writer_->Persist(transitioned,
                   [this, changes = std::move(changes), done = std::move(done)]() mutable {
                     Tell(std::move(changes));
                     std::move(done)();
                   });
}

void Publisher::Tell(Changes changes) {
  for (ChangeListener* const listener : listeners_) listener->OnChanges(changes);
  hub_->Notify(std::move(changes));
}

}  // namespace breaker::server
