// What the commands that only ask questions share: a stub, JSON, and how an rpc's failure is said.
#ifndef BREAKER_CTL_REMOTE_H_
#define BREAKER_CTL_REMOTE_H_

#include <memory>
#include <string>

#include "breaker/v1/breaker.grpc.pb.h"
#include "client/ctl/commands.h"

namespace breaker::ctl {

std::unique_ptr<v1::CircuitBreaker::Stub> Connect(const Daemon& daemon);

void SetDeadline(const Daemon& daemon, grpc::ClientContext& context);

// Says on stderr what went wrong, and gives the exit status for it.
int Fail(const Daemon& daemon, const grpc::Status& status);

// With the contract's field names, and fields that are 0 or empty too.
std::string ToJson(const google::protobuf::Message& message);

// "in 27s", "12s ago".
std::string Relative(const google::protobuf::Timestamp& time);

}  // namespace breaker::ctl

#endif  // BREAKER_CTL_REMOTE_H_
