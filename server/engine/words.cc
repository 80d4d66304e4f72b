#include "server/engine/words.h"

#include "absl/strings/str_cat.h"

namespace breaker::server {

std::string Words(absl::Duration duration) {
  const absl::Duration seconds = absl::Trunc(duration, absl::Seconds(1));
  if (duration == seconds && duration >= absl::Seconds(1) && duration <= absl::Minutes(2)) {
    return absl::StrCat(absl::ToInt64Seconds(duration), "s");
  }
  return absl::FormatDuration(absl::Trunc(duration, absl::Microseconds(1)));
}

std::string Plural(uint64_t count, absl::string_view noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

}  // namespace breaker::server
