#include "server/rpc/admin_service.h"

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/rpc/convert.h"
#include "server/rpc/unary.h"

namespace breaker::server {
namespace {

grpc::ServerUnaryReactor* FinishNow(grpc::CallbackServerContext* context,
                                    const RpcMetrics::Call& call, const absl::Status& status) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  Finish(reactor, call, status);
  return reactor;
}

Operations::Done FinishLater(grpc::ServerUnaryReactor* reactor, const RpcMetrics::Call& call) {
  return [reactor, call](const absl::Status& status) { Finish(reactor, call, status); };
}

}  // namespace

// ---------------------------------------------------------------------------------------------
// Policies

grpc::ServerUnaryReactor* AdminService::SetPolicy(grpc::CallbackServerContext* context,
                                                  const v1::SetPolicyRequest* request,
                                                  v1::PolicyEntry* response) {
  const RpcMetrics::Call call(metrics_, Method::kSetPolicy);
  const absl::StatusOr<KeyView> key = PolicyKeyFrom(*request);
  if (!key.ok()) return FinishNow(context, call, key.status());
  if (!request->has_policy()) {
    return FinishNow(context, call,
                     absl::InvalidArgumentError(
                         "policy: is not set; an empty one has every field at its default"));
  }
  const absl::StatusOr<Policy> policy = PolicyFrom(request->policy());
  if (!policy.ok()) return FinishNow(context, call, policy.status());

  const Instant now = clock_->Now();
  ToProto(OperatorPolicy{Key(*key), std::make_shared<const Policy>(*policy), now.wall,
                         PolicyOrigin::kApi},
          response);
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  operations_->SetPolicy(Key(*key), *policy, now, FinishLater(reactor, call));
  return reactor;
}

grpc::ServerUnaryReactor* AdminService::DeletePolicy(grpc::CallbackServerContext* context,
                                                     const v1::DeletePolicyRequest* request,
                                                     google::protobuf::Empty*) {
  const RpcMetrics::Call call(metrics_, Method::kDeletePolicy);
  const absl::StatusOr<KeyView> key = PolicyKeyFrom(*request);
  if (!key.ok()) return FinishNow(context, call, key.status());
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  operations_->DeletePolicy(*key, clock_->Now(), FinishLater(reactor, call));
  return reactor;
}

grpc::ServerUnaryReactor* AdminService::ListPolicies(grpc::CallbackServerContext* context,
                                                     const v1::ListPoliciesRequest*,
                                                     v1::ListPoliciesResponse* response) {
  const RpcMetrics::Call call(metrics_, Method::kListPolicies);
  for (const OperatorPolicy& policy : registry_->Policies()) {
    ToProto(policy, response->add_policies());
  }
  return FinishNow(context, call, absl::OkStatus());
}

// ---------------------------------------------------------------------------------------------
// Breakers

template <typename Request, typename Act>
grpc::ServerUnaryReactor* AdminService::AnswerStats(grpc::CallbackServerContext* context,
                                                    Method method, const Request& request,
                                                    v1::CircuitStats* response, Act act) {
  const RpcMetrics::Call call(metrics_, method);
  const absl::StatusOr<KeyView> key = KeyFrom(request);
  if (!key.ok()) return FinishNow(context, call, key.status());
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  act(*key, clock_->Now(), [reactor, call, response](const absl::StatusOr<BreakerStats>& stats) {
    if (stats.ok()) ToProto(*stats, response);
    Finish(reactor, call, stats.status());
  });
  return reactor;
}

grpc::ServerUnaryReactor* AdminService::SetOverride(grpc::CallbackServerContext* context,
                                                    const v1::SetOverrideRequest* request,
                                                    v1::CircuitStats* response) {
  return AnswerStats(context, Method::kSetOverride, *request, response,
                     [&](const KeyView& key, Instant now, Operations::Answer answer) {
                       const absl::StatusOr<Override> override = OverrideFrom(*request, now.wall);
                       if (!override.ok()) return std::move(answer)(override.status());
                       operations_->SetOverride(key, *override, now, std::move(answer));
                     });
}

grpc::ServerUnaryReactor* AdminService::ClearOverride(grpc::CallbackServerContext* context,
                                                      const v1::ClearOverrideRequest* request,
                                                      v1::CircuitStats* response) {
  return AnswerStats(context, Method::kClearOverride, *request, response,
                     [&](const KeyView& key, Instant now, Operations::Answer answer) {
                       operations_->ClearOverride(key, now, std::move(answer));
                     });
}

grpc::ServerUnaryReactor* AdminService::Reset(grpc::CallbackServerContext* context,
                                              const v1::ResetRequest* request,
                                              v1::CircuitStats* response) {
  return AnswerStats(context, Method::kReset, *request, response,
                     [&](const KeyView& key, Instant now, Operations::Answer answer) {
                       operations_->Reset(key, now, std::move(answer));
                     });
}

grpc::ServerUnaryReactor* AdminService::Delete(grpc::CallbackServerContext* context,
                                               const v1::DeleteRequest* request,
                                               google::protobuf::Empty*) {
  const RpcMetrics::Call call(metrics_, Method::kDelete);
  const absl::StatusOr<KeyView> key = KeyFrom(*request);
  if (!key.ok()) return FinishNow(context, call, key.status());
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  operations_->Delete(*key, FinishLater(reactor, call));
  return reactor;
}

}  // namespace breaker::server
