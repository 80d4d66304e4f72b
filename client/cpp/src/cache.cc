#include "client/cpp/src/cache.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "client/cpp/src/convert.h"
#include "client/cpp/src/denial.h"

namespace breaker::internal {
namespace {

constexpr auto kFlushInterval = std::chrono::milliseconds(100);
constexpr auto kLongestFarewell = std::chrono::seconds(1);
constexpr size_t kMaxPolicies = 1024;

}  // namespace

Cache::Cache(const ClientOptions& options, v1::CircuitBreaker::Stub* stub)
    : wanted_(options.mode == Mode::kCached ||
              options.on_daemon_unavailable == OnDaemonUnavailable::kLocal),
      own_policy_(options.policy.has_value() ? &*options.policy : nullptr),
      surroundings_{.worker_id = options.worker_id, .clock = {}, .signal = {}},
      cells_(options.max_cached_breakers, &surroundings_) {
  if (options.mode == Mode::kRemote) return;
  WatchStream::Listener* const listener = this;
  exchange_ = std::make_unique<Exchange>(stub, options.worker_id, &surroundings_.signal, listener);
  thread_ = std::thread([this] { Run(); });
  pthread_setname_np(thread_.native_handle(), "breaker_client");
}

Cache::~Cache() {
  if (exchange_ == nullptr) return;
  stop_ = true;
  surroundings_.signal.FlushSoon();
  thread_.join();
  exchange_->batcher.Finish(std::chrono::steady_clock::now() + kLongestFarewell);
  exchange_->stream.End();
}

void Cache::Run() {
  SteadyTime next_flush = std::chrono::steady_clock::now() + kFlushInterval;
  SteadyTime next_batch = SteadyTime::max();
  while (!stop_) {
    bool flush = surroundings_.signal.WaitUntil(std::min(next_flush, next_batch));
    const SteadyTime now = std::chrono::steady_clock::now();
    if (now >= next_flush) {
      next_flush = now + kFlushInterval;
      flush = true;
      exchange_->stream.Tick(now);
      std::optional<uint64_t> doubted;
      {
        server::MutexLock lock(&mu_);
        if (doubt_at_.has_value() && now >= *doubt_at_) {
          doubt_at_.reset();
          doubted = stream_;
        }
      }
      if (doubted.has_value()) {
        cells_.ForEach([&](Cell& cell) { cell.DistrustUnlessFrom(*doubted); });
      }
    }
    next_batch = exchange_->batcher.Pump(now, flush);
  }
}

// ---------------------------------------------------------------------------------------------
// The stream

void Cache::Follow(Cell* cell) {
  if (exchange_ == nullptr || !cell->BeginSubscription()) return;
  exchange_->stream.Subscribe(SubscriptionTo(*cell));
}

void Cache::OnMessage(const v1::WatchResponse& message, uint64_t stream) {
  const SteadyTime now = std::chrono::steady_clock::now();
  bool is_new;
  bool doubt = false;
  {
    server::MutexLock lock(&mu_);
    is_new = std::exchange(stream_, stream) != stream;
    if (is_new) {
      stream_denial_ = absl::OkStatus();
      // What the stream before has said holds for as long as it was to hold.
      const SteadyTime until = surroundings_.trusted_until.load();
      doubt = now >= until;
      if (!doubt && !doubt_at_.has_value()) doubt_at_ = until;
    }
  }
  if (doubt) cells_.ForEach([&](Cell& cell) { cell.DistrustUnlessFrom(stream); });
  for (const v1::CircuitUpdate& update : message.updates()) {
    Cell* const cell = cells_.Find({.service = update.service(), .operation = update.operation()});
    if (cell != nullptr) cell->Update(update, stream, now);
  }
  surroundings_.trusted_until.store(now + exchange_->stream.patience());
  if (is_new) exchange_->batcher.SetConnected(true);
}

void Cache::OnEnd(const grpc::Status& status) {
  exchange_->batcher.SetConnected(false);
  if (absl::Status denial = DenialIn(status); !denial.ok()) {
    server::MutexLock lock(&mu_);
    stream_denial_ = std::move(denial);
  }
  if (status.error_code() == grpc::StatusCode::INVALID_ARGUMENT ||
      status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED ||
      status.error_code() == grpc::StatusCode::PERMISSION_DENIED ||
      status.error_code() == grpc::StatusCode::NOT_FOUND) {  // for who may only look
    // One subscription is not to the daemon's liking: each begins anew with its next call, and the
    // one in question finds out by its own rpc.
    cells_.ForEach([](Cell& cell) {
      cell.EndSubscription();
      cell.DistrustUnlessFrom(0);
    });
  }
}

std::vector<v1::Subscription> Cache::Subscriptions() {
  std::vector<v1::Subscription> subscriptions;
  cells_.ForEach([&](Cell& cell) {
    if (cell.subscribed()) subscriptions.push_back(SubscriptionTo(cell));
  });
  return subscriptions;
}

v1::Subscription Cache::SubscriptionTo(const Cell& cell) {
  v1::Subscription subscription;
  subscription.set_service(cell.key().service);
  subscription.set_operation(cell.key().operation);
  if (const Policy* const policy = cell.brought())
    *subscription.mutable_policy() = ToProto(*policy);
  return subscription;
}

// ---------------------------------------------------------------------------------------------

const Policy* Cache::Keep(const Policy* policy) {
  if (policy == nullptr || policy == own_policy_) return policy;
  std::string serialized = ToProto(*policy).SerializeAsString();
  server::MutexLock lock(&mu_);
  const auto found = policies_.find(serialized);
  if (found != policies_.end()) return found->second.get();
  if (policies_.size() >= kMaxPolicies) return nullptr;
  return policies_.emplace(std::move(serialized), std::make_unique<const Policy>(*policy))
      .first->second.get();
}

absl::Status Cache::denial() const {
  if (exchange_ == nullptr) return absl::OkStatus();
  {
    server::MutexLock lock(&mu_);
    if (!stream_denial_.ok()) return stream_denial_;
  }
  return exchange_->batcher.denial();
}

CacheStats Cache::Stats() const {
  return {.breakers = cells_.size(), .dropped_outcomes = surroundings_.signal.dropped()};
}

}  // namespace breaker::internal
