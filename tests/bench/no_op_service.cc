#include "tests/bench/no_op_service.h"

#include <deque>
#include <utility>

#include "absl/time/clock.h"

namespace breaker::bench {

using server::MutexLock;

namespace {

grpc::ServerUnaryReactor* Finish(grpc::CallbackServerContext* context) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

v1::WatchResponse FirstUpdates(const v1::WatchRequest& request) {
  v1::WatchResponse response;
  for (const v1::Subscription& subscription : request.subscribe()) {
    v1::CircuitUpdate* const update = response.add_updates();
    update->set_service(subscription.service());
    update->set_operation(subscription.operation());
    update->set_state(v1::CLOSED);
    update->set_generation(1);
  }
  return response;
}

}  // namespace

// Goes when its client does.
class NoOpStream : public grpc::ServerBidiReactor<v1::WatchRequest, v1::WatchResponse> {
 public:
  explicit NoOpStream(NoOpService* service) : service_(service) {
    const MutexLock lock(&service_->mu_);
    service_->streams_.insert(this);
    StartRead(&request_);
  }

  void Write(const v1::WatchResponse& message) {
    const MutexLock lock(&mu_);
    if (finished_) return;
    waiting_.push_back(message);
    if (waiting_.size() == 1) StartWrite(&waiting_.front());
  }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) return;
    Write(FirstUpdates(request_));
    StartRead(&request_);
  }

  void OnWriteDone(bool ok) override {
    const MutexLock lock(&mu_);
    waiting_.pop_front();
    if (ok && !finished_ && !waiting_.empty()) StartWrite(&waiting_.front());
  }

  void OnCancel() override {
    const MutexLock lock(&mu_);
    finished_ = true;
    Finish(grpc::Status::CANCELLED);
  }

  void OnDone() override {
    {
      const MutexLock lock(&service_->mu_);
      service_->streams_.erase(this);
    }
    delete this;
  }

  NoOpService* const service_;
  v1::WatchRequest request_;

  server::Mutex mu_;
  // The first one is being written.
  std::deque<v1::WatchResponse> waiting_ ABSL_GUARDED_BY(mu_);
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
};

grpc::ServerUnaryReactor* NoOpService::Acquire(grpc::CallbackServerContext* context,
                                               const v1::AcquireRequest*,
                                               v1::AcquireResponse* response) {
  response->set_allowed(true);
  response->set_permit_id(0x123456789abcdef0);
  response->set_state(v1::CLOSED);
  response->set_generation(1);
  return Finish(context);
}

grpc::ServerUnaryReactor* NoOpService::Report(grpc::CallbackServerContext* context,
                                              const v1::ReportRequest*,
                                              v1::ReportResponse* response) {
  response->set_state(v1::CLOSED);
  response->set_disposition(v1::ReportResponse::COUNTED);
  response->set_generation(1);
  return Finish(context);
}

grpc::ServerUnaryReactor* NoOpService::ReportBatch(grpc::CallbackServerContext* context,
                                                   const v1::ReportBatchRequest* request,
                                                   v1::ReportBatchResponse* response) {
  response->set_counted(static_cast<uint64_t>(request->outcomes_size()));
  response->set_stored_sequence(request->sequence());
  return Finish(context);
}

grpc::ServerBidiReactor<v1::WatchRequest, v1::WatchResponse>* NoOpService::Watch(
    grpc::CallbackServerContext*) {
  return new NoOpStream(this);
}

grpc::ServerUnaryReactor* NoOpService::SetPush(grpc::CallbackServerContext* context,
                                               const v1::WatchResponse* request,
                                               google::protobuf::Empty*) {
  const MutexLock lock(&mu_);
  push_ = *request;
  return Finish(context);
}

grpc::ServerUnaryReactor* NoOpService::Push(grpc::CallbackServerContext* context,
                                            const v1::ReportRequest*,
                                            v1::ReportResponse* response) {
  response->set_state(v1::OPEN);
  response->set_disposition(v1::ReportResponse::COUNTED);
  response->set_generation(2);
  const int64_t now = absl::GetCurrentTimeNanos();
  const MutexLock lock(&mu_);
  auto* const time = push_.mutable_updates(0)->mutable_transition()->mutable_time();
  time->set_seconds(now / 1'000'000'000);
  time->set_nanos(static_cast<int32_t>(now % 1'000'000'000));
  for (NoOpStream* const stream : streams_) stream->Write(push_);
  return Finish(context);
}

}  // namespace breaker::bench
