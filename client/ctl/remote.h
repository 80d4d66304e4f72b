// What the commands that call the daemon share: stubs, JSON, and how things are said.
#ifndef BREAKER_CTL_REMOTE_H_
#define BREAKER_CTL_REMOTE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "breaker/v1/admin.grpc.pb.h"
#include "breaker/v1/breaker.grpc.pb.h"
#include "client/ctl/commands.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace breaker::ctl {

std::unique_ptr<v1::CircuitBreaker::Stub> Connect(const Daemon& daemon);
std::unique_ptr<v1::BreakerAdmin::Stub> ConnectAdmin(const Daemon& daemon);
std::unique_ptr<grpc::health::v1::Health::Stub> ConnectHealth(const Daemon& daemon);

// Every page of ListStats. `service` empty = all of them, and so `states`.
grpc::Status ListAll(const Daemon& daemon, const std::string& service,
                     const std::vector<v1::CircuitState>& states, v1::ListStatsResponse* all);

void SetDeadline(const Daemon& daemon, grpc::ClientContext& context);

// Why the daemon did not do it, in words that say what to do about it. For UNAVAILABLE it asks the
// daemon's port what is wrong; `message` may be empty then.
std::string InWords(const Daemon& daemon, absl::StatusCode code, absl::string_view message);

// Says on stderr what went wrong, and gives the exit status for it.
int Fail(const Daemon& daemon, const grpc::Status& status);

// With the contract's field names, and fields that are 0 or empty too.
std::string ToJson(const google::protobuf::Message& message);
// The same on one line, without its end.
std::string ToJsonLine(const google::protobuf::Message& message);

// "in 27s", "12s ago".
std::string Relative(const google::protobuf::Timestamp& time);

// "14:03:09.120", by the user's own time zone.
std::string LocalTime(absl::Time time);

// "FORCED_OPEN by ana: migration (ends in 27s)".
std::string OverrideInWords(const v1::Override& override);

}  // namespace breaker::ctl

#endif  // BREAKER_CTL_REMOTE_H_
