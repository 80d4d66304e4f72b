#include "server/publisher.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/log.h"

namespace breaker {

void Publisher::Publish(const Transitions& transitions, StoreWriter::Done done) {
  std::vector<Key> keys;
  keys.reserve(transitions.size());
  for (const BreakerTransition& changed : transitions) {
    const Transition& transition = changed.transition;
    Log(LogLevel::kInfo, "transition",
        {{"service", changed.key.service},
         {"operation", changed.key.operation},
         {"from", Name(transition.from)},
         {"to", Name(transition.to)},
         {"cause", Name(transition.cause)},
         {"generation", absl::StrCat(transition.generation)},
         {"reason", transition.reason}});
    keys.push_back(changed.key);
  }
  writer_->Persist(keys, std::move(done));
}

}  // namespace breaker
