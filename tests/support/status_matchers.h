#ifndef BREAKER_TESTS_SUPPORT_STATUS_MATCHERS_H_
#define BREAKER_TESTS_SUPPORT_STATUS_MATCHERS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"

namespace breaker {

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

// Match an absl::Status or an absl::StatusOr: EXPECT_THAT(store.Write(batch), IsOk()).
MATCHER(IsOk, negation ? "is an error" : "is OK") {
  *result_listener << StatusOf(arg).ToString();
  return arg.ok();
}

MATCHER_P2(StatusIs, code, message,
           ::testing::PrintToString(code) + " with a message that " +
               ::testing::DescribeMatcher<std::string>(message, negation)) {
  *result_listener << StatusOf(arg).ToString();
  return StatusOf(arg).code() == code &&
         ::testing::Matches(message)(std::string(StatusOf(arg).message()));
}

inline auto StatusIs(absl::StatusCode code) { return StatusIs(code, ::testing::_); }

}  // namespace breaker

#endif  // BREAKER_TESTS_SUPPORT_STATUS_MATCHERS_H_
