#include "client/ctl/remote.h"

#include <algorithm>
#include <chrono>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cpp/src/convert.h"
#include "client/cpp/src/credentials.h"
#include "client/ctl/tls_diagnosis.h"
#include "google/protobuf/util/json_util.h"
#include "grpcpp/grpcpp.h"

namespace breaker::ctl {

namespace {

constexpr uint32_t kPageSize = 1000;
constexpr absl::Duration kDiagnosisTimeout = absl::Seconds(1);

// What to look at when the daemon does not know who asks.
std::string WhoAsks(const ClientOptions& options) {
  if (!options.token_file.empty()) {
    return absl::StrCat("check the token in ", options.token_file);
  }
  if (!options.token.empty()) return "check BREAKERD_TOKEN";
  if (options.tls.has_value() && !options.tls->certificate_file.empty()) {
    return absl::StrCat("check the certificate in ", options.tls->certificate_file);
  }
  return "give --token_file FILE or BREAKERD_TOKEN, or --tls_cert and --tls_key";
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
  return v1::CircuitBreaker::NewStub(internal::OpenChannel(daemon.options, {}));
}

std::unique_ptr<v1::BreakerAdmin::Stub> ConnectAdmin(const Daemon& daemon) {
  return v1::BreakerAdmin::NewStub(internal::OpenChannel(daemon.options, {}));
}

std::unique_ptr<grpc::health::v1::Health::Stub> ConnectHealth(const Daemon& daemon) {
  return grpc::health::v1::Health::NewStub(internal::OpenChannel(daemon.options, {}));
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

std::string InWords(const Daemon& daemon, absl::StatusCode code, absl::string_view message) {
  const std::string breakerd = absl::StrCat("breakerd at ", daemon.options.target);
  switch (code) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded: {
      const std::string fault =
          DiagnoseTls(daemon.options, std::min(daemon.timeout, kDiagnosisTimeout));
      const absl::string_view why = fault.empty() ? message : fault;
      return absl::StrCat(breakerd, " is unavailable", why.empty() ? "" : ": ", why);
    }
    case absl::StatusCode::kUnauthenticated:
      return absl::StrCat(breakerd, " does not know who asks: ", message, "; ",
                          WhoAsks(daemon.options));
    case absl::StatusCode::kPermissionDenied:
      return absl::StrCat(breakerd, " does not permit it: ", message);
    default:
      return std::string(message);
  }
}

int Fail(const Daemon& daemon, const grpc::Status& status) {
  std::cerr << "breakerctl: "
            << InWords(daemon, static_cast<absl::StatusCode>(status.error_code()),
                       status.error_message())
            << "\n";
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return kUnavailable;
    case grpc::StatusCode::INVALID_ARGUMENT:
      return kUsage;
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
      return kDenied;
    default:
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
