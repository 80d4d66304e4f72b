#ifndef BREAKER_ENGINE_CHANGE_H_
#define BREAKER_ENGINE_CHANGE_H_

#include <compare>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "server/engine/key.h"
#include "server/engine/policy.h"
#include "server/engine/snapshot.h"
#include "server/engine/transition.h"

namespace breaker::server {

// Orders what is known of one breaker by time.
struct BreakerVersion {
  uint64_t generation = 0;
  uint32_t policy = 0;  // grows with every change of policy

  friend auto operator<=>(const BreakerVersion&, const BreakerVersion&) = default;
};

// What someone who decides on a breaker's behalf has to know of it; see CircuitUpdate in
// breaker.proto.
struct BreakerView {
  State state = State::kClosed;
  BreakerVersion version;
  absl::Duration retry_after;  // while not CLOSED
  std::optional<Override> override;
  PolicyPtr policy;
  double ramp_fraction = 1;
};

// A breaker that has changed its state or its policy, has come or is gone.
struct BreakerChange {
  Key key;
  BreakerView view = {};                      // as it was right after
  std::optional<Transition> transition = {};  // nullopt = its state is what it was
  bool removed = false;
};

// Where a call puts the changes that it caused, in order. Changes are to be stored before the
// call is answered.
using Changes = std::vector<BreakerChange>;

}  // namespace breaker::server

#endif  // BREAKER_ENGINE_CHANGE_H_
