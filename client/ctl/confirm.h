// Asking before something is done to many breakers at once.
#ifndef BREAKER_CTL_CONFIRM_H_
#define BREAKER_CTL_CONFIRM_H_

#include <string>

#include "breaker/client.h"

namespace breaker::ctl {

// Whether a key stands for many: (service, "*") or ("*", "*").
bool IsWildcard(const Key& key);

// Asks on the terminal; `yes` answers for the user. Where there is no terminal to ask on, says so
// on stderr and gives false.
bool Confirm(const std::string& question, bool yes);

}  // namespace breaker::ctl

#endif  // BREAKER_CTL_CONFIRM_H_
