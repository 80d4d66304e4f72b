#ifndef BREAKER_TESTS_BENCH_DIE_H_
#define BREAKER_TESTS_BENCH_DIE_H_

#include <errno.h>
#include <grpcpp/support/status.h>
#include <unistd.h>

#include <cstdio>
#include <string>

namespace breaker::bench {

// Prints why the benchmark cannot go on, and ends the process.
[[noreturn]] inline void Die(const std::string& why) {
  fprintf(stderr, "%s: %s\n", program_invocation_short_name, why.c_str());
  _exit(1);
}

inline void MustBeOk(const grpc::Status& status, const std::string& rpc) {
  if (status.ok()) return;
  if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) {
    Die("the server does not implement " + rpc);
  }
  Die(rpc + ": " + status.error_message());
}

}  // namespace breaker::bench

#endif  // BREAKER_TESTS_BENCH_DIE_H_
