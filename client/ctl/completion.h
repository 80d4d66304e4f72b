// Completion of breakerctl's command line in a shell.
#ifndef BREAKER_CTL_COMPLETION_H_
#define BREAKER_CTL_COMPLETION_H_

#include <string>

#include "CLI/CLI.hpp"

namespace breaker::ctl {

enum class Shell { kBash, kZsh };

// A script that has the shell complete what `app` takes: its commands and options, and the breakers
// that the daemon knows where one is to be named.
std::string CompletionScript(const CLI::App& app, Shell shell);

}  // namespace breaker::ctl

#endif  // BREAKER_CTL_COMPLETION_H_
