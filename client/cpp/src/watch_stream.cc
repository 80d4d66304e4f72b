#include "client/cpp/src/watch_stream.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "client/cpp/src/convert.h"

namespace breaker::internal {
namespace {

constexpr std::chrono::nanoseconds kFirstBackoff = std::chrono::milliseconds(100);
constexpr std::chrono::nanoseconds kLastBackoff = std::chrono::seconds(1);
// A daemon that knows no Watch may be replaced by one that does.
constexpr std::chrono::nanoseconds kUnimplementedBackoff = std::chrono::minutes(1);
constexpr int kMissedHeartbeats = 3;
// Keeps a message far below gRPC's bound of 4 MB.
constexpr int kMaxSubscriptionsAtOnce = 500;

}  // namespace

// One stream. Reads go on one after the other; a hold keeps the stream open for writes, which other
// threads start, until a read finds the stream ended.
class WatchStream::Reactor : public grpc::ClientBidiReactor<v1::WatchRequest, v1::WatchResponse> {
 public:
  Reactor(WatchStream* owner, uint64_t number) : owner_(owner), number_(number) {}

  void Start() {
    owner_->stub_->async()->Watch(&context_, this);
    AddHold();
    StartRead(&response_);
    StartCall();
  }
  void Cancel() { context_.TryCancel(); }

  // Guarded by the owner's mutex: whether a write is under way or none can be any more, and its
  // message.
  bool writing = false;
  v1::WatchRequest request;

  void OnReadDone(bool ok) override {
    if (ok) {
      owner_->OnRead(response_, number_);
      StartRead(&response_);
      return;
    }
    server::MutexLock lock(&owner_->mu_);
    if (!writing) RemoveHold();
    writing = closed_ = true;
  }
  void OnWriteDone(bool ok) override {
    server::MutexLock lock(&owner_->mu_);
    if (closed_) {
      RemoveHold();
    } else if (ok) {
      writing = false;
      owner_->WriteNext();
    } else {
      writing = false;  // The read will find out why.
    }
  }
  void OnDone(const grpc::Status& status) override { owner_->OnDone(status); }  // Deletes this.

 private:
  WatchStream* const owner_;
  const uint64_t number_;
  grpc::ClientContext context_;
  v1::WatchResponse response_;
  bool closed_ = false;
};

WatchStream::WatchStream(v1::CircuitBreaker::Stub* stub, std::string worker_id, Listener* listener)
    : worker_id_(std::move(worker_id)), stub_(stub), listener_(listener), backoff_(kFirstBackoff) {}

WatchStream::~WatchStream() { End(); }

void WatchStream::End() {
  server::MutexLock lock(&mu_);
  ending_ = true;
  if (reactor_ != nullptr) reactor_->Cancel();
  while (reactor_ != nullptr) ended_.wait(mu_);
}

void WatchStream::Subscribe(v1::Subscription subscription) {
  {
    server::MutexLock lock(&mu_);
    unsent_.push_back(std::move(subscription));
    if (reactor_ != nullptr) WriteNext();
    if (std::exchange(wanted_, true)) return;
  }
  Tick(std::chrono::steady_clock::now());
}

void WatchStream::Tick(SteadyTime now) {
  {
    server::MutexLock lock(&mu_);
    if (reactor_ != nullptr) {
      if (now - last_message_ > kMissedHeartbeats * heartbeat_) reactor_->Cancel();
      return;
    }
    if (!wanted_ || ending_ || now < begin_at_) return;
    unsent_.clear();  // The listener knows those; what comes meanwhile may be sent twice.
  }
  Begin(now);
}

void WatchStream::Begin(SteadyTime now) {
  std::vector<v1::Subscription> subscriptions = listener_->Subscriptions();
  server::MutexLock lock(&mu_);
  if (reactor_ != nullptr || ending_) return;  // Another thread was faster.
  unsent_.insert(unsent_.end(), std::make_move_iterator(subscriptions.begin()),
                 std::make_move_iterator(subscriptions.end()));
  last_message_ = now;
  reactor_ = std::make_unique<Reactor>(this, ++number_);
  reactor_->Start();
  WriteNext();
}

void WatchStream::WriteNext() {
  if (reactor_->writing || unsent_.empty()) return;
  reactor_->writing = true;
  reactor_->request.Clear();
  reactor_->request.set_worker_id(worker_id_);
  for (int i = 0; i < kMaxSubscriptionsAtOnce && !unsent_.empty(); ++i) {
    *reactor_->request.add_subscribe() = std::move(unsent_.front());
    unsent_.pop_front();
  }
  reactor_->StartWrite(&reactor_->request);
}

void WatchStream::OnRead(const v1::WatchResponse& message, uint64_t number) {
  {
    server::MutexLock lock(&mu_);
    if (ending_) return;
    last_message_ = std::chrono::steady_clock::now();
    backoff_ = kFirstBackoff;
    const absl::Duration heartbeat = FromProto(message.heartbeat_interval());
    if (heartbeat > absl::ZeroDuration()) {
      heartbeat_ = absl::ToChronoNanoseconds(std::min(heartbeat, absl::Hours(1)));
    }
  }
  listener_->OnMessage(message, number);
}

void WatchStream::OnDone(const grpc::Status& status) {
  bool ending;
  {
    server::MutexLock lock(&mu_);
    ending = ending_;
  }
  // Before the next stream can begin.
  if (!ending) listener_->OnEnd(status);
  server::MutexLock lock(&mu_);
  // Before End can return: the channel must not have its last user here, on a thread of gRPC.
  reactor_.reset();
  unsent_.clear();
  const bool unknown = status.error_code() == grpc::StatusCode::UNIMPLEMENTED;
  begin_at_ = std::chrono::steady_clock::now() + (unknown ? kUnimplementedBackoff : backoff_);
  backoff_ = std::min(2 * backoff_, kLastBackoff);
  ended_
      .notify_all();  // Under the lock: End, and with it the object, must not end before this does.
}

std::chrono::nanoseconds WatchStream::patience() const {
  server::MutexLock lock(&mu_);
  return kMissedHeartbeats * heartbeat_;
}

}  // namespace breaker::internal
