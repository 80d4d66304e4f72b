#ifndef BREAKER_RPC_ADMIN_SERVICE_H_
#define BREAKER_RPC_ADMIN_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include "absl/base/thread_annotations.h"
#include "breaker/v1/admin.grpc.pb.h"
#include "server/engine/clock.h"
#include "server/engine/mutex.h"
#include "server/engine/registry.h"
#include "server/publisher.h"
#include "server/store/store_writer.h"

namespace breaker::server {

// What operators call. What they change is in effect when the registry has it, and answered when it
// is stored; then those who watch hear of it. Thread-safe.
class AdminService : public v1::BreakerAdmin::CallbackService {
 public:
  // None is owned; all must outlive the server.
  AdminService(Registry* registry, StoreWriter* writer, Publisher* publisher, const Clock* clock)
      : registry_(registry), writer_(writer), publisher_(publisher), clock_(clock) {}

  grpc::ServerUnaryReactor* SetPolicy(grpc::CallbackServerContext* context,
                                      const v1::SetPolicyRequest* request,
                                      v1::PolicyEntry* response) override;
  grpc::ServerUnaryReactor* DeletePolicy(grpc::CallbackServerContext* context,
                                         const v1::DeletePolicyRequest* request,
                                         google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* ListPolicies(grpc::CallbackServerContext* context,
                                         const v1::ListPoliciesRequest* request,
                                         v1::ListPoliciesResponse* response) override;
  grpc::ServerUnaryReactor* SetOverride(grpc::CallbackServerContext* context,
                                        const v1::SetOverrideRequest* request,
                                        v1::CircuitStats* response) override;
  grpc::ServerUnaryReactor* ClearOverride(grpc::CallbackServerContext* context,
                                          const v1::ClearOverrideRequest* request,
                                          v1::CircuitStats* response) override;
  grpc::ServerUnaryReactor* Reset(grpc::CallbackServerContext* context,
                                  const v1::ResetRequest* request,
                                  v1::CircuitStats* response) override;
  grpc::ServerUnaryReactor* Delete(grpc::CallbackServerContext* context,
                                   const v1::DeleteRequest* request,
                                   google::protobuf::Empty* response) override;

 private:
  // Runs act(key, changes) -> absl::Status on the breaker that the request names, and finishes the
  // call once the breaker is stored as it then is.
  template <typename Request, typename Act>
  grpc::ServerUnaryReactor* ChangeBreaker(grpc::CallbackServerContext* context,
                                          const Request& request, Act act);
  // The same of act(key, now, changes) -> absl::StatusOr<BreakerStats>, which it answers.
  template <typename Request, typename Act>
  grpc::ServerUnaryReactor* AnswerStats(grpc::CallbackServerContext* context,
                                        const Request& request, v1::CircuitStats* response,
                                        Act act);

  Registry* const registry_;
  StoreWriter* const writer_;
  Publisher* const publisher_;
  const Clock* const clock_;

  // Held from a change of a policy until the writer has it, so that the last one in memory is the
  // last one stored. Before the registry's and the writer's.
  Mutex policies_mu_;
};

}  // namespace breaker::server

#endif  // BREAKER_RPC_ADMIN_SERVICE_H_
