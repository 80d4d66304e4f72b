#ifndef BREAKER_CLIENT_TOKEN_SOURCE_H_
#define BREAKER_CLIENT_TOKEN_SOURCE_H_

#include <chrono>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/engine/mutex.h"

namespace breaker::internal {

// What can travel in a header, as words for an error.
inline constexpr absl::string_view kTokenRule = "1 to 4096 visible characters of ASCII";
bool IsToken(absl::string_view token);

// The token in a file, without the white space around it. No error shows what the file holds.
absl::StatusOr<std::string> ReadToken(const std::string& path);

// The token that goes with each rpc. Thread-safe.
class TokenSource {
 public:
  // Reads the file if there is one, else it is `token` for ever.
  TokenSource(std::string token, std::string file);
  TokenSource(const TokenSource&) = delete;
  TokenSource& operator=(const TokenSource&) = delete;

  // "Bearer TOKEN"; empty if there was no token in the file so far. What the file holds is known
  // after a second at most; where it holds no token, the last one stays.
  std::string Authorization() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // Constant after construction.
  const std::string file_;  // Empty = there is none.

  // Guarded by mu_.
  server::Mutex mu_;
  std::string authorization_ ABSL_GUARDED_BY(mu_);
  std::chrono::steady_clock::time_point next_read_ ABSL_GUARDED_BY(mu_);
};

}  // namespace breaker::internal

#endif  // BREAKER_CLIENT_TOKEN_SOURCE_H_
