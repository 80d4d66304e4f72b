#ifndef BREAKER_HTTP_PROCESS_USAGE_H_
#define BREAKER_HTTP_PROCESS_USAGE_H_

namespace breaker::server {

// What this process has taken so far, as the system says (proc(5)); 0 where it does not say.
struct ProcessUsage {
  double start_time_seconds = 0;  // Unix time
  double cpu_seconds = 0;
  double resident_bytes = 0;
};
ProcessUsage ReadProcessUsage();

}  // namespace breaker::server

#endif  // BREAKER_HTTP_PROCESS_USAGE_H_
