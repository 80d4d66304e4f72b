#ifndef BREAKER_TESTS_SUPPORT_WATCHER_H_
#define BREAKER_TESTS_SUPPORT_WATCHER_H_

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "breaker/v1/breaker.grpc.pb.h"

namespace breaker::testing {

// One Watch stream and a thread that reads it.
class Watcher {
 public:
  // Sends `request` first.
  Watcher(std::shared_ptr<grpc::Channel> channel, const v1::WatchRequest& request)
      : stub_(v1::CircuitBreaker::NewStub(std::move(channel))), stream_(stub_->Watch(&context_)) {
    Send(request);
    reader_ = std::thread([this] { Read(); });
  }
  // Cancels the stream.
  ~Watcher() {
    context_.TryCancel();
    reader_.join();
  }
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  bool Send(const v1::WatchRequest& request) { return stream_->Write(request); }
  void HalfClose() { stream_->WritesDone(); }

  // Waits until `enough` holds for the updates so far; false if it does not come to that.
  bool Await(const std::function<bool(const std::vector<v1::CircuitUpdate>&)>& enough) {
    return AwaitThat([&] { return enough(updates_); });
  }
  bool AwaitUpdates(size_t count) {
    return Await([count](const auto& updates) { return updates.size() >= count; });
  }
  // The same, but that it does not wait for more once the stream has ended.
  bool AwaitUpdatesOrEnd(size_t count) {
    AwaitThat([&] { return ended_ || updates_.size() >= count; });
    return updates().size() >= count;
  }
  bool AwaitHeartbeats(int count) {
    return AwaitThat([&] { return heartbeats_ >= count; });
  }
  // Waits for the end of the stream and gives its status.
  grpc::Status AwaitEnd() {
    AwaitThat([&] { return ended_; });
    const std::lock_guard<std::mutex> lock(mu_);
    return status_;
  }

  // So far.
  std::vector<v1::CircuitUpdate> updates() {
    const std::lock_guard<std::mutex> lock(mu_);
    return updates_;
  }

 private:
  void Read() {
    v1::WatchResponse response;
    while (stream_->Read(&response)) {
      const std::lock_guard<std::mutex> lock(mu_);
      for (const v1::CircuitUpdate& update : response.updates()) updates_.push_back(update);
      if (response.heartbeat()) ++heartbeats_;
      changed_.notify_all();
    }
    const grpc::Status status = stream_->Finish();
    const std::lock_guard<std::mutex> lock(mu_);
    ended_ = true;
    status_ = status;
    changed_.notify_all();
  }

  bool AwaitThat(const std::function<bool()>& condition) {
    std::unique_lock<std::mutex> lock(mu_);
    return changed_.wait_for(lock, std::chrono::seconds(30), condition);
  }

  const std::unique_ptr<v1::CircuitBreaker::Stub> stub_;
  grpc::ClientContext context_;
  const std::unique_ptr<grpc::ClientReaderWriter<v1::WatchRequest, v1::WatchResponse>> stream_;

  std::mutex mu_;
  std::condition_variable changed_;
  std::vector<v1::CircuitUpdate> updates_;
  int heartbeats_ = 0;
  bool ended_ = false;
  grpc::Status status_;

  std::thread reader_;
};

}  // namespace breaker::testing

#endif  // BREAKER_TESTS_SUPPORT_WATCHER_H_
