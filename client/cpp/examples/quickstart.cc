// quickstart [TARGET]: guards one call with the circuit breaker demo/quickstart.
#include <iostream>
#include <string>

#include "breaker/client.h"

int main(int argc, char** argv) {
  // A worker leaves rpc_timeout at its 50 ms. Here even the first call, which waits for the
  // connection, is to be guarded.
  breaker::Client client(
      {.target = argc > 1 ? argv[1] : "127.0.0.1:50051", .rpc_timeout = absl::Seconds(5)});
  const absl::StatusOr<std::string> greeting = client.Execute(
      {"demo", "quickstart"},
      [] { return std::string("hello"); },             // the call; may return a StatusOr too
      [] { return std::string("hello from cache"); },  // instead of it while the circuit is open
      breaker::Policy{.failure_threshold = 3, .recovery_timeout = absl::Seconds(10)});
  std::cout << *greeting << "\n";

  const absl::StatusOr<breaker::Stats> stats = client.GetStats({"demo", "quickstart"});
  if (!stats.ok()) {
    std::cerr << stats.status() << "\n";
    return 1;
  }
  std::cout << "demo/quickstart is " << breaker::StateName(stats->state) << " after "
            << stats->success_count << " successes\n";
}
