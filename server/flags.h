#ifndef BREAKER_FLAGS_H_
#define BREAKER_FLAGS_H_

#include <optional>

#include "server/daemon.h"

namespace breaker {

// What the command line asks for: options to run with, or an exit status where all is said already
// (--help, --version, an error).
struct ParsedFlags {
  std::optional<DaemonOptions> options;
  int exit_status = 0;
};

// Reads the command line and the environment (each flag as BREAKERD_NAME); nothing else does.
// Prints help to stdout and errors, a sentence each, to stderr.
ParsedFlags ParseFlags(int argc, const char* const* argv);

}  // namespace breaker

#endif  // BREAKER_FLAGS_H_
