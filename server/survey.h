#ifndef BREAKER_SURVEY_H_
#define BREAKER_SURVEY_H_

#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "server/engine/change.h"
#include "server/engine/clock.h"
#include "server/engine/registry.h"

namespace breaker::server {

// What there is to see of all breakers at about one time.
struct Survey {
  std::vector<BreakerStats> breakers;   // the worst of those that match, the worst first
  size_t total = 0;                     // breakers there are
  size_t matched = 0;                   // of them, those that match
  std::array<size_t, 4> by_state = {};  // of all, by State

  size_t count(State state) const { return by_state[static_cast<size_t>(state)]; }
};

struct SurveyOptions {
  size_t max_breakers = 0;
  size_t transitions = 0;  // to be had of each breaker
  std::string search;      // as Matches
};

// Whether `search` is a part of "service/operation", in any case of ASCII letters; empty is.
bool Matches(const Key& key, absl::string_view search);

// Looks at every breaker, for which it holds a lock for some dozens of them at a time.
Survey TakeSurvey(Registry* registry, const SurveyOptions& options, Instant now, Changes* changes);

// Whether a breaker is in more trouble than another: OPEN before HALF_OPEN before CLOSED, then
// those that an operator has a hand on, then by the rate of failures and by calls; by name where
// nothing else tells them apart.
bool IsWorse(const BreakerStats& a, const BreakerStats& b);

// Failures among the calls of the window, in [0, 1]; 0 without calls.
double FailureRate(const BreakerStats& stats);

}  // namespace breaker::server

#endif  // BREAKER_SURVEY_H_
