#include "server/rpc/watch_reactor.h"

#include <grpcpp/impl/codegen/proto_utils.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/errors.h"
#include "server/rpc/convert.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/source.h"
#include "server/rpc/validate.h"

namespace breaker::server {
namespace {

grpc::Slice EncodeHeartbeat(absl::Duration interval) {
  v1::WatchResponse response;
  response.set_heartbeat(true);
  SetDuration(interval, response.mutable_heartbeat_interval());
  return grpc::Slice(response.SerializeAsString());
}

}  // namespace

WatchReactor* WatchReactor::Start(const Environment& environment,
                                  const grpc::CallbackServerContext* context, Caller caller,
                                  WatchSlots::Slot slot) {
  const std::shared_ptr<WatchReactor> reactor(
      new WatchReactor(environment, context, std::move(caller), std::move(slot)));
  reactor->self_ = reactor;
  if (!environment.hub->Join(reactor)) {
    reactor->Close();
    return reactor.get();
  }
  {
    MutexLock lock(&reactor->mu_);  // tells the interval, unless a tick of the hub just has
    if (!reactor->is_sending_ && !reactor->ended_) reactor->Send({reactor->heartbeat_});
  }
  reactor->StartRead(&reactor->request_);
  return reactor.get();
}

WatchReactor::WatchReactor(const Environment& environment,
                           const grpc::CallbackServerContext* context, Caller caller,
                           WatchSlots::Slot slot)
    : environment_(environment),
      caller_(std::move(caller)),
      heartbeat_(EncodeHeartbeat(environment.hub->heartbeat())),
      context_(context),
      slot_(std::move(slot)) {}

// ---------------------------------------------------------------------------------------------
// What the worker says

void WatchReactor::OnReadDone(bool ok) {
  if (!ok) return;  // it will say no more; updates go on
  v1::WatchRequest request;
  if (!grpc::SerializationTraits<v1::WatchRequest>::Deserialize(&request_, &request).ok()) {
    End(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "the message is not a WatchRequest"));
    return;
  }
  if (const absl::Status status = Handle(request); !status.ok()) {
    End(ToGrpcStatus(status));
    return;
  }
  StartRead(&request_);
}

absl::Status WatchReactor::Handle(const v1::WatchRequest& request) {
  if (absl::Status status = CheckWorkerId(request.worker_id()); !status.ok()) return status;
  if (!worker_id_.has_value()) {
    worker_id_ = request.worker_id();
    std::string storage;
    worker_name_ = std::string(caller_.WorkerName(*worker_id_, &storage));
    if (!caller_.is_viewer()) environment_.registry->WorkerJoined(worker_name_);
  } else if (!request.worker_id().empty() && request.worker_id() != *worker_id_) {
    return errors::InvalidField("worker_id", absl::StrCat("\"", request.worker_id(), "\""),
                                absl::StrCat("\"", *worker_id_, "\", which the stream began with"));
  }
  for (const v1::Subscription& subscription : request.subscribe()) {
    if (absl::Status status = Subscribe(subscription); !status.ok()) return status;
  }
  if (request.all()) {
    environment_.hub->FollowAll(this);
    {
      MutexLock lock(&mu_);
      reading_all_ = true;
      read_up_to_.reset();
    }
    ReadPage();
  }
  return absl::OkStatus();
}

absl::Status WatchReactor::Subscribe(const v1::Subscription& subscription) {
  const absl::StatusOr<KeyView> key = KeyFrom(subscription);
  if (!key.ok()) return key.status();
  if (absl::Status status = caller_.CheckService(key->service); !status.ok()) return status;
  if (caller_.is_viewer()) return FollowOnly(*key);
  std::optional<Policy> policy;
  if (subscription.has_policy()) {
    absl::StatusOr<Policy> brought = PolicyFrom(subscription.policy());
    if (!brought.ok()) return brought.status();
    policy = *std::move(brought);
  }
  Changes changes;
  const RpcCreator creator(context_, caller_, *worker_id_);
  absl::Status status = environment_.hub->Follow(this, Key(*key), [&] {
    return environment_.registry->Subscribe(*key, policy.has_value() ? &*policy : nullptr,
                                            environment_.clock->Now(), &changes, &creator);
  });
  Publish(std::move(changes));
  return status;
}

absl::Status WatchReactor::FollowOnly(const KeyView& key) {
  Changes changes;
  absl::Status status =
      environment_.hub->Follow(this, Key(key), [&]() -> absl::StatusOr<BreakerView> {
        std::optional<BreakerView> view =
            environment_.registry->View(key, environment_.clock->Now(), &changes);
        if (!view.has_value()) return errors::NoSuchBreaker(key);
        return *std::move(view);
      });
  Publish(std::move(changes));
  return status;
}

void WatchReactor::ReadPage() {
  std::optional<Key> after;
  {
    MutexLock lock(&mu_);
    if (!reading_all_) return;
    after = read_up_to_;
  }
  const std::vector<Key> keys = environment_.registry->KeysAfter("", after, kKeysAPage);
  {
    MutexLock lock(&mu_);
    reading_all_ = !keys.empty();
    if (reading_all_) read_up_to_ = keys.back();
  }
  Changes changes;
  const Instant now = environment_.clock->Now();
  for (const Key& key : keys) {
    if (!caller_.MayName(key.service)) continue;
    const std::optional<BreakerView> view = environment_.registry->View(key, now, &changes);
    if (view.has_value()) Offer(EncodeUpdate(key, *view));
  }
  Publish(std::move(changes));
}

void WatchReactor::Publish(Changes changes) {
  if (!changes.empty()) environment_.publisher->Publish(std::move(changes), [] {});
}

// ---------------------------------------------------------------------------------------------
// What the worker is told

void WatchReactor::Offer(WatchUpdatePtr update) {
  if (!caller_.MayName(update->key.service)) return;  // it follows all breakers
  MutexLock lock(&mu_);
  if (ended_) return;
  if (!is_sending_ && waiting_.empty()) {
    Send({update->message});
    return;
  }
  std::vector<WatchUpdatePtr>& of_breaker = waiting_[update->key];
  if (of_breaker.size() == kMaxWaiting) of_breaker.clear();
  of_breaker.push_back(std::move(update));
  SendNext();
}

void WatchReactor::Tick(MonotonicTime now) {
  if (caller_.revoked()) {
    return End(grpc::Status(grpc::StatusCode::UNAUTHENTICATED,
                            "who calls is not known any more, or has other rights now"));
  }
  MutexLock lock(&mu_);
  // A tick comes eight times an interval: the next one would be too late for the last eighth.
  const absl::Duration patience = environment_.hub->heartbeat() * 3 / 4;
  if (!is_sending_ && !ended_ && now - last_sent_ >= patience) Send({heartbeat_});
}

void WatchReactor::SendNext() {
  if (is_sending_ || ended_ || waiting_.empty()) return;
  std::vector<grpc::Slice> messages;
  auto it = waiting_.lower_bound(next_);
  while (!waiting_.empty() && messages.size() < kMaxUpdatesAMessage) {
    if (it == waiting_.end()) it = waiting_.begin();
    for (const WatchUpdatePtr& update : it->second) messages.push_back(update->message);
    it = waiting_.erase(it);
  }
  if (it != waiting_.end()) next_ = it->first;
  Send(std::move(messages));
}

void WatchReactor::Send(std::vector<grpc::Slice> messages) {
  is_sending_ = true;
  last_sent_ = environment_.clock->Now().mono;
  sending_ = grpc::ByteBuffer(messages.data(), messages.size());
  StartWrite(&sending_);
}

void WatchReactor::OnWriteDone(bool ok) {
  bool read_on = false;
  {
    MutexLock lock(&mu_);
    is_sending_ = false;
    if (ok) SendNext();
    read_on = ok && !is_sending_ && reading_all_;
  }
  if (!ok) End(grpc::Status::CANCELLED);
  if (read_on) ReadPage();
}

// ---------------------------------------------------------------------------------------------
// The end

void WatchReactor::Close() {
  End(grpc::Status(grpc::StatusCode::UNAVAILABLE, "breakerd is shutting down"));
}

void WatchReactor::OnCancel() { End(grpc::Status::CANCELLED); }

void WatchReactor::End(const grpc::Status& status) {
  {
    MutexLock lock(&mu_);
    if (std::exchange(ended_, true)) return;
    waiting_.clear();
  }
  Finish(status);
}

void WatchReactor::OnDone() {
  environment_.hub->Leave(this);
  if (worker_id_.has_value() && !caller_.is_viewer()) {
    Changes changes;
    environment_.registry->WorkerLeft(worker_name_, environment_.clock->Now(), &changes);
    Publish(std::move(changes));
  }
  const WatchSlots::Slot slot = std::move(slot_);
  const std::shared_ptr<WatchReactor> last = std::move(self_);
}

namespace {

class RefusedWatch : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  explicit RefusedWatch(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

}  // namespace

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* RefuseWatch(
    const grpc::Status& status) {
  return new RefusedWatch(status);
}

}  // namespace breaker::server
