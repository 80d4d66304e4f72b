#include "breaker/client.h"

#include <cxxabi.h>
#include <unistd.h>

#include <cstdlib>
#include <typeinfo>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "breaker/v1/breaker.pb.h"
#include "client/cpp/src/convert.h"
#include "client/cpp/src/daemon.h"

namespace breaker {
inline namespace client {
namespace {

using internal::FromProto;
using internal::ToProto;
using Stub = v1::CircuitBreaker::Stub;

// Marks the status of a refusal; the payload is the answer of Acquire.
constexpr char kRefusalUrl[] = "type.googleapis.com/breaker.v1.AcquireResponse";

// When a daemon that is away is asked again, at the earliest.
constexpr absl::Duration kAwayRetryAfter = absl::Milliseconds(100);

std::string DefaultWorkerId() {
  char host[256] = {};
  gethostname(host, sizeof(host) - 1);
  return absl::StrCat(host, ":", getpid());
}

ClientOptions WithDefaults(ClientOptions options) {
  if (options.worker_id.empty()) options.worker_id = DefaultWorkerId();
  if (!options.verdict) options.verdict = DefaultVerdict;
  return options;
}

// For people: whole seconds, or milliseconds below one.
absl::Duration RoundUp(absl::Duration duration) {
  return absl::Ceil(duration,
                    duration < absl::Seconds(1) ? absl::Milliseconds(1) : absl::Seconds(1));
}

// A string field that is not UTF-8 would make the daemon reject the whole report.
std::string ToAscii(std::string_view label) {
  std::string ascii(label);
  for (char& c : ascii) {
    if (!absl::ascii_isprint(static_cast<unsigned char>(c))) c = '?';
  }
  return ascii;
}

absl::Status SendReport(internal::Daemon& daemon, const Key& key, uint64_t permit_id,
                        Outcome outcome, absl::Duration took, std::string_view label) {
  v1::ReportRequest request;
  request.set_service(key.service);
  request.set_operation(key.operation);
  request.set_worker_id(daemon.worker_id());
  request.set_permit_id(permit_id);
  request.set_outcome(ToProto(outcome));
  *request.mutable_duration() = ToProto(took);
  request.set_error(ToAscii(label));
  v1::ReportResponse response;
  return daemon.Call(&Stub::Report, request, &response);
}

}  // namespace

std::string_view StateName(State state) {
  switch (state) {
    case State::kClosed:
      return "CLOSED";
    case State::kOpen:
      return "OPEN";
    case State::kHalfOpen:
      return "HALF_OPEN";
  }
  return "UNKNOWN";
}

Outcome DefaultVerdict(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return Outcome::kSuccess;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kCancelled:
      return Outcome::kIgnored;
    default:
      return Outcome::kFailure;
  }
}

bool IsRefusal(const absl::Status& status) { return status.GetPayload(kRefusalUrl).has_value(); }

absl::Duration RefusalRetryAfter(const absl::Status& status) {
  const auto payload = status.GetPayload(kRefusalUrl);
  v1::AcquireResponse refusal;
  if (payload.has_value()) refusal.ParseFromString(std::string(*payload));
  return FromProto(refusal.retry_after());
}

std::string internal::TypeName(const std::exception& error) {
  int failed = 0;
  const char* mangled = typeid(error).name();
  const std::unique_ptr<char, decltype(&std::free)> name(
      abi::__cxa_demangle(mangled, nullptr, nullptr, &failed), &std::free);
  return failed == 0 ? name.get() : mangled;
}

// ---------------------------------------------------------------------------------------------
// Permit

Permit::Permit(Permit&& other) noexcept { *this = std::move(other); }

Permit& Permit::operator=(Permit&& other) noexcept {
  if (this == &other) return *this;
  Ignore();
  allowed_ = other.allowed_;
  probe_ = other.probe_;
  shadow_ = other.shadow_;
  daemon_unavailable_ = other.daemon_unavailable_;
  state_ = other.state_;
  retry_after_ = other.retry_after_;
  key_ = std::move(other.key_);
  permit_id_ = other.permit_id_;
  start_ = other.start_;
  daemon_ = std::exchange(other.daemon_, nullptr);
  return *this;
}

Permit::~Permit() { Ignore(); }

absl::Status Permit::status() const {
  if (allowed_) return absl::OkStatus();
  const std::string name = absl::StrCat(key_.service, "/", key_.operation);
  absl::Status status = absl::UnavailableError(
      daemon_unavailable_
          ? absl::StrCat(name, " is refused: breakerd is unavailable")
          : absl::StrCat(name, " is ", std::string(StateName(state_)), ", retry in ",
                         absl::FormatDuration(RoundUp(retry_after_))));
  v1::AcquireResponse refusal;
  *refusal.mutable_retry_after() = ToProto(retry_after_);
  status.SetPayload(kRefusalUrl, absl::Cord(refusal.SerializeAsString()));
  return status;
}

void Permit::Report(Outcome outcome, std::string_view label, std::optional<absl::Duration> took) {
  internal::Daemon* const daemon = std::exchange(daemon_, nullptr);
  if (daemon == nullptr) return;
  if (!took.has_value()) took = absl::FromChrono(std::chrono::steady_clock::now() - start_);
  // One that fails is lost; see the class comment.
  SendReport(*daemon, key_, permit_id_, outcome, *took, label).IgnoreError();
}

// ---------------------------------------------------------------------------------------------
// Client

Client::Client(ClientOptions options)
    : options_(WithDefaults(std::move(options))),
      daemon_(std::make_unique<internal::Daemon>(options_.target, options_.worker_id,
                                                 options_.rpc_timeout)) {}

Client::~Client() = default;

absl::StatusOr<Permit> Client::Acquire(const Key& key, const std::optional<Policy>& policy) {
  v1::AcquireRequest request;
  request.set_service(key.service);
  request.set_operation(key.operation);
  request.set_worker_id(daemon_->worker_id());
  if (policy.has_value()) {
    *request.mutable_policy() = ToProto(*policy);
  } else if (options_.policy.has_value()) {
    *request.mutable_policy() = ToProto(*options_.policy);
  }
  v1::AcquireResponse response;
  const absl::Status status = daemon_->Call(&Stub::Acquire, request, &response);
  if (absl::IsUnavailable(status)) return WithoutDaemon(key);
  if (!status.ok()) return status;

  Permit permit;
  permit.key_ = key;
  permit.allowed_ = response.allowed();
  permit.probe_ = response.probe();
  permit.shadow_ = response.shadow();
  permit.state_ = FromProto(response.state());
  permit.retry_after_ = FromProto(response.retry_after());
  permit.permit_id_ = response.permit_id();
  permit.start_ = std::chrono::steady_clock::now();
  if (permit.allowed_ && !permit.shadow_) permit.daemon_ = daemon_.get();
  return permit;
}

absl::Status Client::Report(const Key& key, Outcome outcome, absl::Duration took,
                            std::string_view label) {
  return SendReport(*daemon_, key, /*permit_id=*/0, outcome, took, label);
}

absl::StatusOr<Stats> Client::GetStats(const Key& key) {
  v1::GetStatsRequest request;
  request.set_service(key.service);
  request.set_operation(key.operation);
  v1::CircuitStats response;
  const absl::Status status = daemon_->Call(&Stub::GetStats, request, &response);
  if (!status.ok()) return status;
  return FromProto(response);
}

absl::StatusOr<Permit> Client::Admit(const Key& key, const std::optional<Policy>& policy) {
  absl::StatusOr<Permit> permit = Acquire(key, policy);
  if (permit.ok() || absl::IsInvalidArgument(permit.status())) return permit;
  return WithoutDaemon(key);
}

Permit Client::WithoutDaemon(const Key& key) const {
  Permit permit;
  permit.key_ = key;
  permit.daemon_unavailable_ = true;
  permit.allowed_ = options_.on_daemon_unavailable == OnDaemonUnavailable::kAllow;
  permit.state_ = permit.allowed_ ? State::kClosed : State::kOpen;
  if (!permit.allowed_) permit.retry_after_ = kAwayRetryAfter;
  return permit;
}

Outcome Client::Conclude(const absl::Status& status, const Verdict& verdict, Permit& permit) const {
  const Outcome outcome = verdict ? verdict(status) : options_.verdict(status);
  permit.Report(outcome,
                outcome == Outcome::kFailure ? absl::StatusCodeToString(status.code()) : "");
  return outcome;
}

}  // namespace client
}  // namespace breaker
