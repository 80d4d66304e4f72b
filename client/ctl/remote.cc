#include "client/ctl/remote.h"

#include <chrono>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cpp/src/convert.h"
#include "google/protobuf/util/json_util.h"
#include "grpcpp/grpcpp.h"

namespace breaker::ctl {

namespace {

constexpr uint32_t kPageSize = 1000;

std::shared_ptr<grpc::Channel> NewChannel(const Daemon& daemon) {
  grpc::ChannelArguments args;
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(daemon.target, grpc::InsecureChannelCredentials(), args);
}

std::string Json(const google::protobuf::Message& message, bool add_whitespace) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = add_whitespace;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  if (!status.ok()) std::cerr << "breakerctl: " << status.ToString() << "\n";
  return json;
}

}  // namespace

std::unique_ptr<v1::CircuitBreaker::Stub> Connect(const Daemon& daemon) {
  return v1::CircuitBreaker::NewStub(NewChannel(daemon));
}

std::unique_ptr<v1::BreakerAdmin::Stub> ConnectAdmin(const Daemon& daemon) {
  return v1::BreakerAdmin::NewStub(NewChannel(daemon));
}

std::unique_ptr<grpc::health::v1::Health::Stub> ConnectHealth(const Daemon& daemon) {
  return grpc::health::v1::Health::NewStub(NewChannel(daemon));
}

grpc::Status ListAll(const Daemon& daemon, const std::string& service,
                     const std::vector<v1::CircuitState>& states, v1::ListStatsResponse* all) {
  v1::ListStatsRequest request;
  request.set_service(service);
  request.mutable_states()->Add(states.begin(), states.end());
  request.set_page_size(kPageSize);
  const auto stub = Connect(daemon);
  do {
    grpc::ClientContext context;
    SetDeadline(daemon, context);
    v1::ListStatsResponse page;
    const grpc::Status status = stub->ListStats(&context, request, &page);
    if (!status.ok()) return status;
    request.set_page_token(page.next_page_token());
    all->MergeFrom(page);
  } while (!request.page_token().empty());
  all->clear_next_page_token();
  return grpc::Status::OK;
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

std::string ToJson(const google::protobuf::Message& message) { return Json(message, true); }

std::string ToJsonLine(const google::protobuf::Message& message) { return Json(message, false); }

std::string Relative(const google::protobuf::Timestamp& time) {
  const absl::Duration from_now = internal::FromProto(time) - absl::Now();
  const absl::Duration distance = absl::AbsDuration(from_now);
  const std::string text = absl::FormatDuration(absl::Trunc(
      distance, distance < absl::Seconds(1) ? absl::Milliseconds(1) : absl::Seconds(1)));
  return from_now > absl::ZeroDuration() ? absl::StrCat("in ", text) : absl::StrCat(text, " ago");
}

std::string LocalTime(absl::Time time) {
  return absl::FormatTime("%H:%M:%E3S", time, absl::LocalTimeZone());
}

std::string OverrideInWords(const v1::Override& override) {
  std::string words = v1::Override::Mode_Name(override.mode());
  if (!override.actor().empty()) absl::StrAppend(&words, " by ", override.actor());
  if (!override.reason().empty()) absl::StrAppend(&words, ": ", override.reason());
  if (override.has_expires_at()) {
    absl::StrAppend(&words, " (ends ", Relative(override.expires_at()), ")");
  }
  return words;
}

}  // namespace breaker::ctl
