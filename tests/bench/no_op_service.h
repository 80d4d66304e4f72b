#ifndef BREAKER_TESTS_BENCH_NO_OP_SERVICE_H_
#define BREAKER_TESTS_BENCH_NO_OP_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include <set>

#include "absl/base/thread_annotations.h"
#include "no_op.grpc.pb.h"
#include "server/engine/mutex.h"

namespace breaker::bench {

class NoOpStream;

// Answers of the size that a worker gets from the daemon.
class NoOpService : public NoOp::CallbackService {
 public:
  grpc::ServerUnaryReactor* Acquire(grpc::CallbackServerContext* context, const v1::AcquireRequest*,
                                    v1::AcquireResponse* response) override;
  grpc::ServerUnaryReactor* Report(grpc::CallbackServerContext* context, const v1::ReportRequest*,
                                   v1::ReportResponse* response) override;
  grpc::ServerUnaryReactor* ReportBatch(grpc::CallbackServerContext* context,
                                        const v1::ReportBatchRequest* request,
                                        v1::ReportBatchResponse* response) override;
  grpc::ServerBidiReactor<v1::WatchRequest, v1::WatchResponse>* Watch(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* SetPush(grpc::CallbackServerContext* context,
                                    const v1::WatchResponse* request,
                                    google::protobuf::Empty*) override;
  grpc::ServerUnaryReactor* Push(grpc::CallbackServerContext* context, const v1::ReportRequest*,
                                 v1::ReportResponse* response) override;

 private:
  friend class NoOpStream;

  server::Mutex mu_;
  std::set<NoOpStream*> streams_ ABSL_GUARDED_BY(mu_);
  v1::WatchResponse push_ ABSL_GUARDED_BY(mu_);
};

}  // namespace breaker::bench

#endif  // BREAKER_TESTS_BENCH_NO_OP_SERVICE_H_
