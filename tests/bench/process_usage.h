#ifndef BREAKER_TESTS_BENCH_PROCESS_USAGE_H_
#define BREAKER_TESTS_BENCH_PROCESS_USAGE_H_

#include <sys/types.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <string>

#include "absl/time/time.h"

namespace breaker::bench {

// Of the memory that a process maps, what is in RAM.
inline int64_t ResidentBytes(pid_t pid) {
  int64_t total = 0, resident = 0;
  std::ifstream("/proc/" + std::to_string(pid) + "/statm") >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

// What all threads of a process have used so far, in user and kernel mode.
inline absl::Duration CpuTime(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  // Fields 14 and 15; the second is the name, in brackets, and may hold anything.
  stat.ignore(1 << 12, ')');
  std::string skipped;
  for (int field = 3; field < 14; ++field) stat >> skipped;
  int64_t user = 0, kernel = 0;
  stat >> user >> kernel;
  return absl::Seconds(static_cast<double>(user + kernel) / sysconf(_SC_CLK_TCK));
}

}  // namespace breaker::bench

#endif  // BREAKER_TESTS_BENCH_PROCESS_USAGE_H_
