#include "client/cpp/src/daemon.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cpp/src/access.h"
#include "client/cpp/src/credentials.h"
#include "grpcpp/support/channel_arguments.h"

namespace breaker::internal {
namespace {

constexpr auto kPingInterval = std::chrono::milliseconds(100);
// Of a daemon that answers, but does not know who asks; a token is not read again any sooner.
constexpr auto kUnknownPingInterval = std::chrono::seconds(1);
constexpr absl::Duration kLongestTimeout = absl::Hours(1);

std::shared_ptr<grpc::Channel> Connect(const ClientOptions& options, const absl::Status& access) {
  // On which nothing will be sent.
  if (!access.ok()) return OpenChannel({.target = options.target}, {});
  grpc::ChannelArguments args;
  // A connection of our own, which lives and dies with this client.
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // A daemon that comes back is found within a second. The minimum is what one attempt to connect
  // may take.
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  // A peer whose host vanished without a word: sent data that is not acknowledged for this long
  // ends the connection (it becomes TCP_USER_TIMEOUT), so that a new one can be made.
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
  auto channel = OpenChannel(options, args);
  channel->GetState(/*try_to_connect=*/true);  // rather than within the first call's deadline
  return channel;
}

// CANCELLED too: the client cancels no rpc of a caller, so it was a daemon that is shutting down.
bool SaysAway(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE ||
         status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED ||
         status.error_code() == grpc::StatusCode::CANCELLED ||
         status.error_code() == grpc::StatusCode::UNAUTHENTICATED;
}

// UNAVAILABLE for all that say away, but for who is not known.
absl::Status ToAbsl(const grpc::Status& status) {
  if (SaysAway(status) && status.error_code() != grpc::StatusCode::UNAUTHENTICATED) {
    return absl::UnavailableError("breakerd is unavailable: " + status.error_message());
  }
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

}  // namespace

struct Daemon::Ping {
  grpc::ClientContext context;
  v1::ListStatsRequest request;
  v1::ListStatsResponse response;
};

Daemon::Daemon(const ClientOptions& options)
    : worker_id_(options.worker_id),
      rpc_timeout_(absl::ToChronoNanoseconds(std::min(options.rpc_timeout, kLongestTimeout))),
      access_(CheckAccess(options)),
      stub_(v1::CircuitBreaker::NewStub(Connect(options, access_))) {}

Daemon::~Daemon() {
  server::MutexLock lock(&mu_);
  if (ping_ != nullptr) ping_->context.TryCancel();
  while (ping_ != nullptr) ping_ended_.wait(mu_);
}

void Daemon::SetDeadline(grpc::ClientContext& context) const {
  context.set_deadline(std::chrono::system_clock::now() + rpc_timeout_);
}

absl::Status Daemon::Status() {
  if (absl::Status away = Away(); !away.ok()) return away;
  server::MutexLock lock(&mu_);
  return status_;
}

absl::Status Daemon::Conclude(const grpc::Status& status) {
  const bool denied = status.error_code() == grpc::StatusCode::PERMISSION_DENIED;
  if (!SaysAway(status) && !denied && !denied_.load(std::memory_order_relaxed)) {
    return ToAbsl(status);
  }
  absl::Status result = ToAbsl(status);
  server::MutexLock lock(&mu_);
  away_ = away_ || SaysAway(status);
  denied_ = denied;
  if (!away_ || SaysAway(status)) status_ = SaysAway(status) || denied ? result : absl::OkStatus();
  return result;
}

absl::Status Daemon::Away() {
  if (!access_.ok()) {
    return absl::UnavailableError(absl::StrCat("breakerd is not asked: ", access_.message()));
  }
  Ping* ping;
  absl::Status result;
  {
    server::MutexLock lock(&mu_);
    if (!away_) return absl::OkStatus();
    result = status_;
    const auto now = std::chrono::steady_clock::now();
    if (ping_ != nullptr || now < next_ping_) return result;
    next_ping_ = now + kPingInterval;
    ping_ = std::make_unique<Ping>();
    ping = ping_.get();
  }
  ping->request.set_page_size(1);
  SetDeadline(ping->context);
  stub_->async()->ListStats(&ping->context, &ping->request, &ping->response,
                            [this](const grpc::Status& status) { EndPing(status); });
  return result;
}

void Daemon::EndPing(const grpc::Status& status) {
  server::MutexLock lock(&mu_);
  away_ = SaysAway(status);
  status_ = away_ ? ToAbsl(status) : absl::OkStatus();
  if (absl::IsUnauthenticated(status_)) {
    next_ping_ = std::chrono::steady_clock::now() + kUnknownPingInterval;
  }
  ping_.reset();
  ping_ended_.notify_all();  // Under the lock: the destructor must not end before this does.
}

}  // namespace breaker::internal
