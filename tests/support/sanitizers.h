#ifndef BREAKER_TESTS_SUPPORT_SANITIZERS_H_
#define BREAKER_TESTS_SUPPORT_SANITIZERS_H_

namespace breaker::testing {

// What the test is built with.
#ifdef __SANITIZE_ADDRESS__
inline constexpr bool kAddressSanitizer = true;
#else
inline constexpr bool kAddressSanitizer = false;
#endif
#ifdef __SANITIZE_THREAD__
inline constexpr bool kThreadSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
#endif

// What gRPC frees looks like a race to ThreadSanitizer, which compares each such block with all
// that came before: to be skipped if it takes thousands of rpcs, or megabytes.
inline constexpr char kTakesMinutes[] = "takes minutes under ThreadSanitizer";

}  // namespace breaker::testing

#endif  // BREAKER_TESTS_SUPPORT_SANITIZERS_H_
