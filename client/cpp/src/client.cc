#include "breaker/client.h"

#include <cxxabi.h>
#include <unistd.h>

#include <cstdlib>
#include <typeinfo>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "breaker/v1/breaker.pb.h"
#include "client/cpp/src/access.h"
#include "client/cpp/src/cache.h"
#include "client/cpp/src/cell.h"
#include "client/cpp/src/convert.h"
#include "client/cpp/src/daemon.h"

namespace breaker {
namespace {

using internal::Cell;
using internal::FromProto;
using internal::ToAscii;
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

Permit& Permit::operator=(Permit&& other) noexcept {
  if (this == &other) return *this;
  Ignore();
  allowed_ = other.allowed_;
  probe_ = other.probe_;
  shadow_ = other.shadow_;
  daemon_unavailable_ = other.daemon_unavailable_;
  grantor_ = std::exchange(other.grantor_, Grantor::kNone);
  state_ = other.state_;
  ticket_ = other.ticket_;
  start_ = other.start_;
  cell_ = other.cell_;
  daemon_ = other.daemon_;
  retry_after_ = other.retry_after_;
  key_ = std::move(other.key_);
  return *this;
}

const Key& Permit::key() const { return cell_ != nullptr ? cell_->key() : *key_; }

absl::Status Permit::status() const {
  if (allowed_) return absl::OkStatus();
  const std::string name = absl::StrCat(key().service, "/", key().operation);
  absl::Status status = absl::UnavailableError(
      daemon_unavailable_ && cell_ == nullptr
          ? absl::StrCat(name, " is refused: breakerd is unavailable")
          : absl::StrCat(name, " is ", std::string(StateName(state_)), ", retry in ",
                         absl::FormatDuration(RoundUp(retry_after_))));
  v1::AcquireResponse refusal;
  *refusal.mutable_retry_after() = ToProto(retry_after_);
  status.SetPayload(kRefusalUrl, absl::Cord(refusal.SerializeAsString()));
  return status;
}

void Permit::Give(Outcome outcome, std::string_view label, std::optional<absl::Duration> took) {
  const std::chrono::nanoseconds duration = took.has_value()
                                                ? absl::ToChronoNanoseconds(*took)
                                                : std::chrono::steady_clock::now() - start_;
  const absl::string_view error(label.data(), label.size());
  switch (std::exchange(grantor_, Grantor::kNone)) {
    case Grantor::kNone:
      break;
    case Grantor::kCell:
      cell_->Record(ticket_, outcome, error, duration);
      break;
    case Grantor::kLocalBreaker:
      cell_->RecordLocally(ticket_, outcome, error, duration);
      break;
    case Grantor::kDaemon:
      // One that fails is lost; see the class comment.
      SendReport(*daemon_, key(), ticket_, outcome, absl::FromChrono(duration), label)
          .IgnoreError();
      break;
  }
}

// ---------------------------------------------------------------------------------------------
// Client

absl::StatusOr<std::unique_ptr<Client>> Client::Create(ClientOptions options) {
  if (absl::Status status = internal::CheckAccess(options); !status.ok()) return status;
  if (absl::Status status = internal::CheckAccessFiles(options); !status.ok()) return status;
  return std::make_unique<Client>(std::move(options));
}

Client::Client(ClientOptions options)
    : options_(WithDefaults(std::move(options))),
      daemon_(std::make_unique<internal::Daemon>(options_)),
      cache_(std::make_unique<internal::Cache>(options_, daemon_->stub())) {}

Client::~Client() = default;

const Policy* Client::PolicyOf(const std::optional<Policy>& policy) const {
  if (policy.has_value()) return &*policy;
  return options_.policy.has_value() ? &*options_.policy : nullptr;
}

absl::StatusOr<Permit> Client::Acquire(const Key& key, const std::optional<Policy>& policy) {
  const auto now = std::chrono::steady_clock::now();
  const Policy* const brought = PolicyOf(policy);
  Cell* const cell = cache_->Find(key);
  const uint64_t generation = cell == nullptr ? 0 : cell->AllowedAtOnce(now, brought);
  if (generation == 0) return AcquireSlowly(key, cell, brought, now);
  Permit permit;
  permit.allowed_ = true;
  permit.grantor_ = Permit::Grantor::kCell;
  permit.ticket_ = generation;
  permit.start_ = now;
  permit.cell_ = cell;
  return permit;
}

absl::StatusOr<Permit> Client::AcquireSlowly(const Key& key, Cell* cell, const Policy* policy,
                                             std::chrono::steady_clock::time_point now) {
  if (cell == nullptr) return Ask(key, cell, policy);
  const Cell::Answer answer = cell->Decide(now, policy);
  switch (answer.kind) {
    case Cell::Answer::Kind::kAsk:
      return Ask(key, cell, policy);
    case Cell::Answer::Kind::kAskAlone: {
      const absl::Cleanup end = [cell] { cell->EndAsking(); };
      return Ask(key, cell, policy);
    }
    case Cell::Answer::Kind::kDenied:
      return WithoutDaemon(key, cell, policy);
    case Cell::Answer::Kind::kAllowed:
    case Cell::Answer::Kind::kRefused:
      break;
  }
  return ByCell(cell, answer, now);
}

Permit Client::ByCell(Cell* cell, const internal::CellAnswer& answer,
                      std::chrono::steady_clock::time_point now) {
  Permit permit;
  permit.allowed_ = answer.kind == Cell::Answer::Kind::kAllowed;
  permit.shadow_ = answer.shadow;
  if (permit.allowed_ && !permit.shadow_) permit.grantor_ = Permit::Grantor::kCell;
  permit.state_ = answer.state;
  permit.ticket_ = answer.ticket;
  permit.start_ = now;
  permit.cell_ = cell;
  permit.retry_after_ = answer.retry_after;
  return permit;
}

absl::StatusOr<Permit> Client::Ask(const Key& key, Cell* cell, const Policy* policy) {
  v1::AcquireRequest request;
  request.set_service(key.service);
  request.set_operation(key.operation);
  request.set_worker_id(daemon_->worker_id());
  if (policy != nullptr) *request.mutable_policy() = ToProto(*policy);
  v1::AcquireResponse response;
  const absl::Status status = daemon_->Call(&Stub::Acquire, request, &response);
  const auto now = std::chrono::steady_clock::now();
  if (absl::IsPermissionDenied(status)) {
    if (cell == nullptr && cache_->wanted()) cell = cache_->FindOrCreate(key);
    if (cell != nullptr) cell->Deny(now);
    return WithoutDaemon(key, cell, policy);
  }
  // It may be so for ever while the stream, which was begun before, says that a probe is due.
  if (absl::IsUnauthenticated(status)) return WithoutDaemon(key, cell, policy);
  if (absl::IsUnavailable(status)) {
    const Cell::Answer refusal = cell != nullptr ? cell->RefuseUnanswered(now) : Cell::Answer();
    if (refusal.kind == Cell::Answer::Kind::kAsk) return WithoutDaemon(key, cell, policy);
    return ByCell(cell, refusal, now);
  }
  if (!status.ok()) return status;

  if (cell == nullptr && cache_->wanted()) cell = cache_->FindOrCreate(key);
  if (cell != nullptr) {
    cell->Learn(response, now, cache_->Keep(policy));
    cache_->Follow(cell);
  }
  Permit permit;
  permit.allowed_ = response.allowed();
  permit.probe_ = response.probe();
  permit.shadow_ = response.shadow();
  if (permit.allowed_ && !permit.shadow_) permit.grantor_ = Permit::Grantor::kDaemon;
  permit.state_ = FromProto(response.state());
  permit.ticket_ = response.permit_id();
  permit.start_ = now;
  permit.cell_ = cell;
  permit.daemon_ = daemon_.get();
  permit.retry_after_ = FromProto(response.retry_after());
  if (cell == nullptr) permit.key_ = std::make_unique<const Key>(key);
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

absl::Status Client::daemon_status() const {
  const absl::Status status = daemon_->Status();
  return status.ok() ? cache_->denial() : status;
}

CacheStats Client::cache_stats() const { return cache_->Stats(); }

absl::StatusOr<Permit> Client::Admit(const Key& key, const std::optional<Policy>& policy) {
  absl::StatusOr<Permit> permit = Acquire(key, policy);
  if (permit.ok() || absl::IsInvalidArgument(permit.status())) return permit;
  return WithoutDaemon(key, cache_->Find(key), PolicyOf(policy));
}

Permit Client::WithoutDaemon(const Key& key, Cell* cell, const Policy* policy) {
  Permit permit;
  permit.daemon_unavailable_ = true;
  permit.start_ = std::chrono::steady_clock::now();
  const bool local = options_.on_daemon_unavailable == OnDaemonUnavailable::kLocal;
  if (local && cell == nullptr) cell = cache_->FindOrCreate(key);
  if (local && cell != nullptr) {
    const Cell::Answer answer = cell->DecideLocally(permit.start_, policy);
    permit.allowed_ = answer.kind == Cell::Answer::Kind::kAllowed;
    permit.probe_ = answer.probe;
    permit.shadow_ = answer.shadow;
    if (permit.allowed_ && !permit.shadow_) permit.grantor_ = Permit::Grantor::kLocalBreaker;
    permit.state_ = answer.state;
    permit.ticket_ = answer.ticket;
    permit.cell_ = cell;
    permit.retry_after_ = answer.retry_after;
    return permit;
  }
  permit.key_ = std::make_unique<const Key>(key);
  permit.allowed_ = options_.on_daemon_unavailable != OnDaemonUnavailable::kDeny;
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

}  // namespace breaker
