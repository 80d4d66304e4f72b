#ifndef BREAKER_TESTS_BENCH_WATCHER_H_
#define BREAKER_TESTS_BENCH_WATCHER_H_

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <functional>
#include <mutex>

#include "breaker/v1/breaker.grpc.pb.h"

namespace breaker::bench {

// A Watch stream of the daemon or the no-op server. One that ends by itself ends the benchmark.
class Watcher : public grpc::ClientBidiReactor<v1::WatchRequest, v1::WatchResponse> {
 public:
  // Gets each message, on gRPC's threads.
  using OnMessage = std::function<void(const v1::WatchResponse&)>;

  // `request` must outlive the watcher.
  template <typename Stub>
  Watcher(Stub& stub, const v1::WatchRequest* request, OnMessage on_message)
      : on_message_(std::move(on_message)) {
    stub.async()->Watch(&context_, this);
    StartWrite(request);
    StartRead(&response_);
    StartCall();
  }
  // Ends the stream, and waits for that.
  ~Watcher() override;

  // Ends the stream soon. For many at once, before they are destroyed.
  void Cancel();

 private:
  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  const OnMessage on_message_;
  grpc::ClientContext context_;
  v1::WatchResponse response_;

  std::mutex mu_;
  std::condition_variable changed_;
  // Guarded by mu_.
  bool cancelled_ = false;
  bool done_ = false;
};

}  // namespace breaker::bench

#endif  // BREAKER_TESTS_BENCH_WATCHER_H_
