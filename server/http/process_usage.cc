#include "server/http/process_usage.h"

#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>

namespace breaker::server {
namespace {

// When the machine was started, in Unix time.
double BootTimeSeconds() {
  std::ifstream stat("/proc/stat");
  for (std::string word; stat >> word;) {
    if (word != "btime") continue;
    double seconds = 0;
    stat >> seconds;
    return seconds;
  }
  return 0;
}

// The number in field `number` of /proc/self/stat, counted from 1; after the name in parentheses.
double StatField(int number) {
  std::ifstream file("/proc/self/stat");
  std::string line;
  std::getline(file, line);
  const size_t after_name = line.rfind(')');
  if (after_name == std::string::npos) return 0;
  std::istringstream fields(line.substr(after_name + 1));
  std::string word;
  for (int i = 3; i <= number; ++i) fields >> word;
  return std::atof(word.c_str());
}

double Seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

}  // namespace

ProcessUsage ReadProcessUsage() {
  ProcessUsage usage;
  usage.start_time_seconds =
      BootTimeSeconds() + StatField(22) / static_cast<double>(sysconf(_SC_CLK_TCK));
  usage.resident_bytes = StatField(24) * static_cast<double>(sysconf(_SC_PAGESIZE));
  rusage used = {};
  if (getrusage(RUSAGE_SELF, &used) == 0) {
    usage.cpu_seconds = Seconds(used.ru_utime) + Seconds(used.ru_stime);
  }
  return usage;
}

}  // namespace breaker::server
