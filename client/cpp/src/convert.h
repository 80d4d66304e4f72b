// The public types of the client, to and from the wire contract, and to the engine.
#ifndef BREAKER_CLIENT_CONVERT_H_
#define BREAKER_CLIENT_CONVERT_H_

#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "breaker/client.h"
#include "breaker/v1/breaker.pb.h"
#include "server/engine/policy.h"
#include "server/engine/snapshot.h"

namespace breaker::internal {

// What a Duration message cannot hold becomes the nearest that it can.
google::protobuf::Duration ToProto(absl::Duration duration);
v1::Outcome ToProto(Outcome outcome);
v1::Policy ToProto(const Policy& policy);

// A string field that is not UTF-8 would make the daemon reject the whole message.
std::string ToAscii(std::string_view label);

absl::Duration FromProto(const google::protobuf::Duration& duration);
absl::Time FromProto(const google::protobuf::Timestamp& time);
State FromProto(v1::CircuitState state);
Policy FromProto(const v1::Policy& policy);
Override FromProto(const v1::Override& override);
Stats FromProto(const v1::CircuitStats& stats);

// Fields that are not set take the built-in defaults.
server::Policy ToEngine(const Policy& policy);
server::Override ToEngine(const Override& override);

}  // namespace breaker::internal

#endif  // BREAKER_CLIENT_CONVERT_H_
