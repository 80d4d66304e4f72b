#ifndef BREAKER_CTL_TLS_DIAGNOSIS_H_
#define BREAKER_CTL_TLS_DIAGNOSIS_H_

#include <string>

#include "absl/time/time.h"
#include "breaker/client.h"

namespace breaker::ctl {

// Why no rpc goes through to a daemon that can be reached: what is wrong between its side of TLS
// and ours, in words, with what to do about it. Empty if that is not it. gRPC's own errors hardly
// tell, so this makes a connection of its own; each step of that takes `timeout` at most.
std::string DiagnoseTls(const ClientOptions& options, absl::Duration timeout);

}  // namespace breaker::ctl

#endif  // BREAKER_CTL_TLS_DIAGNOSIS_H_
