#ifndef BREAKER_TESTS_SUPPORT_TRANSITIONS_IN_H_
#define BREAKER_TESTS_SUPPORT_TRANSITIONS_IN_H_

#include <vector>

#include "server/engine/change.h"

namespace breaker::server {

struct KeyedTransition {
  Key key;
  Transition transition;
};

// Those of the changes that are changes of state, in order.
inline std::vector<KeyedTransition> TransitionsIn(const Changes& changes) {
  std::vector<KeyedTransition> transitions;
  for (const BreakerChange& change : changes) {
    if (change.transition.has_value()) transitions.push_back({change.key, *change.transition});
  }
  return transitions;
}

}  // namespace breaker::server

#endif  // BREAKER_TESTS_SUPPORT_TRANSITIONS_IN_H_
