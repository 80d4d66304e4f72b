#ifndef BREAKER_ENGINE_WORDS_H_
#define BREAKER_ENGINE_WORDS_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace breaker {

// "60s", "90s", "2m30s", "1.5s", "15ms": whole seconds up to two minutes stay seconds, as people
// write timeouts; longer ones and fractions as absl::FormatDuration has them, to the microsecond.
std::string Words(absl::Duration duration);

// "1 call", "2 calls".
std::string Plural(uint64_t count, absl::string_view noun);

}  // namespace breaker

#endif  // BREAKER_ENGINE_WORDS_H_
