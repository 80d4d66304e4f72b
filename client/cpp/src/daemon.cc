#include "client/cpp/src/daemon.h"

#include <algorithm>
#include <utility>

#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"

namespace breaker::internal {
namespace {

constexpr auto kPingInterval = std::chrono::milliseconds(100);
constexpr absl::Duration kLongestTimeout = absl::Hours(1);

std::shared_ptr<grpc::Channel> OpenChannel(const std::string& target) {
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
  // The daemon is a neighbour, not a site on the web.
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  auto channel = grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), args);
  channel->GetState(/*try_to_connect=*/true);  // rather than within the first call's deadline
  return channel;
}

// CANCELLED too: the client cancels no rpc of a caller, so it was a daemon that is shutting down.
bool SaysAway(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE ||
         status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED ||
         status.error_code() == grpc::StatusCode::CANCELLED;
}

}  // namespace

struct Daemon::Ping {
  grpc::ClientContext context;
  v1::ListStatsRequest request;
  v1::ListStatsResponse response;
};

Daemon::Daemon(const std::string& target, std::string worker_id, absl::Duration rpc_timeout)
    : worker_id_(std::move(worker_id)),
      rpc_timeout_(absl::ToChronoNanoseconds(std::min(rpc_timeout, kLongestTimeout))),
      stub_(v1::CircuitBreaker::NewStub(OpenChannel(target))) {}

Daemon::~Daemon() {
  server::MutexLock lock(&mu_);
  if (ping_ != nullptr) ping_->context.TryCancel();
  while (ping_ != nullptr) ping_ended_.wait(mu_);
}

void Daemon::SetDeadline(grpc::ClientContext& context) const {
  context.set_deadline(std::chrono::system_clock::now() + rpc_timeout_);
}

absl::Status Daemon::Conclude(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  if (SaysAway(status)) {
    server::MutexLock lock(&mu_);
    away_ = true;
    return absl::UnavailableError("breakerd is unavailable: " + status.error_message());
  }
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

bool Daemon::IsAway() {
  Ping* ping;
  {
    server::MutexLock lock(&mu_);
    if (!away_) return false;
    const auto now = std::chrono::steady_clock::now();
    if (ping_ != nullptr || now < next_ping_) return true;
    next_ping_ = now + kPingInterval;
    ping_ = std::make_unique<Ping>();
    ping = ping_.get();
  }
  ping->request.set_page_size(1);
  SetDeadline(ping->context);
  stub_->async()->ListStats(&ping->context, &ping->request, &ping->response,
                            [this](const grpc::Status& status) { EndPing(status); });
  return true;
}

void Daemon::EndPing(const grpc::Status& status) {
  server::MutexLock lock(&mu_);
  away_ = SaysAway(status);
  ping_.reset();
  ping_ended_.notify_all();  // Under the lock: the destructor must not end before this does.
}

}  // namespace breaker::internal
