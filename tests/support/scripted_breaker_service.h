#ifndef BREAKER_TESTS_SUPPORT_SCRIPTED_BREAKER_SERVICE_H_
#define BREAKER_TESTS_SUPPORT_SCRIPTED_BREAKER_SERVICE_H_

#include <condition_variable>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "breaker/v1/breaker.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "tests/support/held_port.h"

namespace breaker::testing {

// A CircuitBreaker service without breakers: it answers what the test told it to, and remembers
// what it was asked. It listens on a free port of 127.0.0.1, in plaintext unless told otherwise.
class ScriptedBreakerService : public v1::CircuitBreaker::Service {
 public:
  explicit ScriptedBreakerService(
      std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials());
  ~ScriptedBreakerService() override;

  const std::string& target() const { return port_.address(); }

  // What Acquire answers from now on; at first it allows with permit_id 7.
  void AnswerAcquire(const v1::AcquireResponse& response);
  void AnswerStats(const v1::CircuitStats& stats);
  // What all rpcs answer from now on, if it is not OK.
  void Fail(grpc::Status status);

  // Rpcs from now on that do not bring this token are answered with UNAUTHENTICATED; "" = none has
  // to.
  void RequireToken(const std::string& token);

  // Every rpc from now on waits for Release, or for its own cancellation.
  void Hang();
  void Release();
  // How each subscription from now on is answered, but for its key; at first CLOSED, generation 1.
  void AnswerSubscriptions(const v1::CircuitUpdate& update);
  // Subscriptions from now on are not answered.
  void IgnoreSubscriptions();
  // Sent on every stream that is open.
  void Push(const v1::CircuitUpdate& update);
  // What streams say of their heartbeat from now on, and keep to; at first an hour.
  void Beat(absl::Duration interval);
  // Streams stay open without a word, until Beat.
  void FallSilent();
  // Ends all streams so, and those that come while `status` is not OK.
  void EndStreams(grpc::Status status);

  // What ReportBatch answers from now on, if it is not OK.
  void FailBatches(grpc::Status status);
  // How many outcomes ReportBatch says it left out as not permitted, from now on.
  void DenyOutcomes(uint64_t count);
  // Batches that name one which was not sent before are ABORTED: of those so far the service knows
  // none any more, as a daemon does not that takes the place of a killed one.
  void LoseBatches();
  // What ReportBatch says is stored, from now on.
  void StoreUpTo(uint64_t sequence);

  // Goes away as a killed daemon does, and comes back on the same port.
  void Stop();
  void Start();

  // What was asked so far, hanging rpcs included.
  std::vector<v1::AcquireRequest> acquires() const;
  std::vector<v1::ReportRequest> reports() const;
  std::vector<v1::Subscription> subscriptions() const;
  std::vector<v1::ReportBatchRequest> batches() const;
  // How many runs each batch had.
  std::vector<int> batch_sizes() const;
  // The runs of all batches.
  std::vector<v1::OutcomeRun> runs() const;
  int run_count() const;
  int list_calls() const;
  // The metadata "authorization" that each rpc brought last, "" for none, by the rpc's name.
  std::map<std::string, std::string> authorizations() const;
  // The common name in the certificate that the last rpc's connection has shown, "" for none.
  std::string peer_name() const;
  // How many rpcs were answered with UNAUTHENTICATED for the want of a token.
  int unauthenticated() const;
  // Streams that are open.
  int streams() const;

 private:
  // What is to be sent on one stream.
  struct Stream {
    std::deque<v1::WatchResponse> unsent;
    bool over = false;  // The client's side is.
  };

  grpc::Status Acquire(grpc::ServerContext* context, const v1::AcquireRequest* request,
                       v1::AcquireResponse* response) override;
  grpc::Status Report(grpc::ServerContext* context, const v1::ReportRequest* request,
                      v1::ReportResponse* response) override;
  grpc::Status GetStats(grpc::ServerContext* context, const v1::GetStatsRequest* request,
                        v1::CircuitStats* response) override;
  grpc::Status ListStats(grpc::ServerContext* context, const v1::ListStatsRequest* request,
                         v1::ListStatsResponse* response) override;

  grpc::Status Watch(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<v1::WatchResponse, v1::WatchRequest>* stream) override;
  grpc::Status ReportBatch(grpc::ServerContext* context, const v1::ReportBatchRequest* request,
                           v1::ReportBatchResponse* response) override;

  // Takes note of who asks; an error if it is not who it has to be.
  grpc::Status Authenticate(const std::string& rpc, const grpc::ServerContext& context);

  // Waits while the service hangs, then gives the status to answer with.
  grpc::Status Await(std::unique_lock<std::mutex>& lock, grpc::ServerContext& context);

  const std::shared_ptr<grpc::ServerCredentials> credentials_;
  const HeldPort port_;
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
  std::string required_token_;
  std::map<std::string, std::string> authorizations_;
  std::string peer_name_;
  int unauthenticated_ = 0;

  std::list<Stream> streams_;
  v1::CircuitUpdate subscription_answer_;
  bool ignores_subscriptions_ = false;
  absl::Duration heartbeat_ = absl::Hours(1);
  bool silent_ = false;
  int streams_ended_ = 0;  // how often EndStreams was called
  grpc::Status watch_status_;
  grpc::Status batch_status_;
  uint64_t denied_outcomes_ = 0;
  std::map<uint64_t, uint64_t> applied_;  // each session's last batch
  uint64_t stored_sequence_ = 0;
  std::vector<v1::Subscription> subscriptions_;
  std::vector<v1::ReportBatchRequest> batches_;
};

}  // namespace breaker::testing

#endif  // BREAKER_TESTS_SUPPORT_SCRIPTED_BREAKER_SERVICE_H_
