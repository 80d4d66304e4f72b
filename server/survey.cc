#include "server/survey.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace breaker::server {
namespace {

// The worst first: a smaller number is worse.
int Trouble(State state) {
  switch (state) {
    case State::kOpen:
      return 0;
    case State::kHalfOpen:
      return 1;
    case State::kClosed:
      return 2;
  }
  return 2;
}

// Leaves the `count` worst, in no order.
void KeepWorst(size_t count, std::vector<BreakerStats>* breakers) {
  if (breakers->size() <= count) return;
  std::nth_element(breakers->begin(), breakers->begin() + static_cast<ptrdiff_t>(count),
                   breakers->end(), IsWorse);
  breakers->erase(breakers->begin() + static_cast<ptrdiff_t>(count), breakers->end());
}

}  // namespace

bool Matches(const Key& key, absl::string_view search) {
  return search.empty() ||
         absl::StrContains(absl::AsciiStrToLower(absl::StrCat(key.service, "/", key.operation)),
                           absl::AsciiStrToLower(search));
}

double FailureRate(const BreakerStats& stats) {
  const uint64_t calls = stats.window.total();
  return calls == 0 ? 0 : static_cast<double>(stats.window.failures) / static_cast<double>(calls);
}

bool IsWorse(const BreakerStats& a, const BreakerStats& b) {
  const auto rank = [](const BreakerStats& stats) {
    return std::make_tuple(Trouble(stats.state), !stats.override.has_value(), -FailureRate(stats),
                           -static_cast<double>(stats.window.total()));
  };
  const auto rank_a = rank(a);
  const auto rank_b = rank(b);
  return rank_a != rank_b ? rank_a < rank_b : a.key < b.key;
}

Survey TakeSurvey(Registry* registry, const SurveyOptions& options, Instant now, Changes* changes) {
  Survey survey;
  const auto count = [&survey](State state) {
    ++survey.total;
    ++survey.by_state[static_cast<size_t>(state)];
  };
  registry->ForEach(
      [&](const Breaker& breaker) {
        if (Matches(breaker.key(), options.search)) return true;
        count(breaker.state());  // what does not match costs no more than a look
        return false;
      },
      options.transitions, now, changes,
      [&](BreakerStats stats) {
        count(stats.state);
        ++survey.matched;
        survey.breakers.push_back(std::move(stats));
        // Now and then, so that it costs little a breaker.
        if (survey.breakers.size() >= 2 * options.max_breakers + 64) {
          KeepWorst(options.max_breakers, &survey.breakers);
        }
      });
  KeepWorst(options.max_breakers, &survey.breakers);
  std::sort(survey.breakers.begin(), survey.breakers.end(), IsWorse);
  return survey;
}

}  // namespace breaker::server
