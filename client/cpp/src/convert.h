// The public types of the client, to and from the wire contract.
#ifndef BREAKER_CLIENT_CONVERT_H_
#define BREAKER_CLIENT_CONVERT_H_

#include "absl/time/time.h"
#include "breaker/client.h"
#include "breaker/v1/breaker.pb.h"

namespace breaker {
inline namespace client {
namespace internal {

// What a Duration message cannot hold becomes the nearest that it can.
google::protobuf::Duration ToProto(absl::Duration duration);
v1::Outcome ToProto(Outcome outcome);
v1::Policy ToProto(const Policy& policy);

absl::Duration FromProto(const google::protobuf::Duration& duration);
absl::Time FromProto(const google::protobuf::Timestamp& time);
State FromProto(v1::CircuitState state);
Policy FromProto(const v1::Policy& policy);
Stats FromProto(const v1::CircuitStats& stats);

}  // namespace internal
}  // namespace client
}  // namespace breaker

#endif  // BREAKER_CLIENT_CONVERT_H_
