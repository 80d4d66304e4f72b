#ifndef BREAKER_TESTS_SUPPORT_SCRIPTED_BREAKER_SERVICE_H_
#define BREAKER_TESTS_SUPPORT_SCRIPTED_BREAKER_SERVICE_H_

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "breaker/v1/breaker.grpc.pb.h"
#include "grpcpp/grpcpp.h"

namespace breaker::testing {

// A CircuitBreaker service without breakers: it answers what the test told it to, and remembers
// what it was asked. It listens on a free port of 127.0.0.1.
class ScriptedBreakerService : public v1::CircuitBreaker::Service {
 public:
  ScriptedBreakerService();
  ~ScriptedBreakerService() override;

  const std::string& target() const { return target_; }

  // What Acquire answers from now on; at first it allows with permit_id 7.
  void AnswerAcquire(const v1::AcquireResponse& response);
  void AnswerStats(const v1::CircuitStats& stats);
  // What all rpcs answer from now on, if it is not OK.
  void Fail(grpc::Status status);

  // Every rpc from now on waits for Release, or for its own cancellation.
  void Hang();
  void Release();
  // Goes away as a killed daemon does, and comes back on the same port.
  void Stop();
  void Start();

  // What was asked so far, hanging rpcs included.
  std::vector<v1::AcquireRequest> acquires() const;
  std::vector<v1::ReportRequest> reports() const;
  int list_calls() const;

 private:
  grpc::Status Acquire(grpc::ServerContext* context, const v1::AcquireRequest* request,
                       v1::AcquireResponse* response) override;
  grpc::Status Report(grpc::ServerContext* context, const v1::ReportRequest* request,
                      v1::ReportResponse* response) override;
  grpc::Status GetStats(grpc::ServerContext* context, const v1::GetStatsRequest* request,
                        v1::CircuitStats* response) override;
  grpc::Status ListStats(grpc::ServerContext* context, const v1::ListStatsRequest* request,
                         v1::ListStatsResponse* response) override;

  // Waits while the service hangs, then gives the status to answer with.
  grpc::Status Await(std::unique_lock<std::mutex>& lock, grpc::ServerContext& context);

  std::string target_;
  std::unique_ptr<grpc::Server> server_;

  // Guarded by mu_.
  mutable std::mutex mu_;
  std::condition_variable released_;
  bool hangs_ = false;
  grpc::Status status_;
  v1::AcquireResponse acquire_response_;
  v1::CircuitStats stats_;
  std::vector<v1::AcquireRequest> acquires_;
  std::vector<v1::ReportRequest> reports_;
  int list_calls_ = 0;
};

}  // namespace breaker::testing

#endif  // BREAKER_TESTS_SUPPORT_SCRIPTED_BREAKER_SERVICE_H_
