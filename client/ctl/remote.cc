#include "client/ctl/remote.h"

#include <chrono>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cpp/src/convert.h"
#include "google/protobuf/util/json_util.h"
#include "grpcpp/grpcpp.h"

namespace breaker::ctl {

std::unique_ptr<v1::CircuitBreaker::Stub> Connect(const Daemon& daemon) {
  grpc::ChannelArguments args;
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return v1::CircuitBreaker::NewStub(
      grpc::CreateCustomChannel(daemon.target, grpc::InsecureChannelCredentials(), args));
}

void SetDeadline(const Daemon& daemon, grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() +
                       absl::ToChronoNanoseconds(daemon.timeout));
}

int Fail(const Daemon& daemon, const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      std::cerr << "breakerctl: breakerd at " << daemon.target
                << " is unavailable: " << status.error_message() << "\n";
      return kUnavailable;
    case grpc::StatusCode::INVALID_ARGUMENT:
      std::cerr << "breakerctl: " << status.error_message() << "\n";
      return kUsage;
    default:
      std::cerr << "breakerctl: " << status.error_message() << "\n";
      return kError;
  }
}

std::string ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  if (!status.ok()) std::cerr << "breakerctl: " << status.ToString() << "\n";
  return json;
}

std::string Relative(const google::protobuf::Timestamp& time) {
  const absl::Duration from_now = client::internal::FromProto(time) - absl::Now();
  const absl::Duration distance = absl::AbsDuration(from_now);
  const std::string text = absl::FormatDuration(absl::Trunc(
      distance, distance < absl::Seconds(1) ? absl::Milliseconds(1) : absl::Seconds(1)));
  return from_now > absl::ZeroDuration() ? absl::StrCat("in ", text) : absl::StrCat(text, " ago");
}

}  // namespace breaker::ctl
