#ifndef BREAKER_RPC_ADMIN_SERVICE_H_
#define BREAKER_RPC_ADMIN_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include "breaker/v1/admin.grpc.pb.h"
#include "server/engine/clock.h"
#include "server/engine/registry.h"
#include "server/operations.h"
#include "server/rpc/access.h"
#include "server/rpc/backups.h"
#include "server/rpc/rpc_metrics.h"

namespace breaker::server {

// What operators call. Each handler checks the request and has Operations do it. Thread-safe.
class AdminService : public v1::BreakerAdmin::CallbackService {
 public:
  // None is owned; all must outlive the server.
  AdminService(const Access* access, Registry* registry, Operations* operations, Backups* backups,
               RpcMetrics* metrics, const Clock* clock)
      : access_(access),
        registry_(registry),
        operations_(operations),
        backups_(backups),
        metrics_(metrics),
        clock_(clock) {}

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
  grpc::ServerWriteReactor<v1::BackupChunk>* Backup(grpc::CallbackServerContext* context,
                                                    const v1::BackupRequest* request) override;

 private:
  // Who asks, and of what, if both are right; borrows from the request. `check` is CheckKey or
  // CheckPolicyKey. Those who may not are in the audit log.
  struct Admitted {
    Actor actor;
    KeyView key;
  };
  template <typename Request, typename Check>
  absl::StatusOr<Admitted> Admit(const grpc::CallbackServerContext& context, Method method,
                                 const Request& request, Check check) const;

  // Runs act(actor, key, now, answer) on the breaker that the request names, and answers its stats.
  template <typename Request, typename Act>
  grpc::ServerUnaryReactor* AnswerStats(grpc::CallbackServerContext* context, Method method,
                                        const Request& request, v1::CircuitStats* response,
                                        Act act);

  const Access* const access_;
  Registry* const registry_;
  Operations* const operations_;
  Backups* const backups_;
  RpcMetrics* const metrics_;
  const Clock* const clock_;
};

}  // namespace breaker::server

#endif  // BREAKER_RPC_ADMIN_SERVICE_H_
