#include "server/rpc/admin_service.h"

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/rpc/backup_reactor.h"
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

template <typename Request, typename Check>
absl::StatusOr<AdminService::Admitted> AdminService::Admit(
    const grpc::CallbackServerContext& context, Method method, const Request& request,
    Check check) const {
  const absl::StatusOr<Caller> caller = access_->Admit(context, Name(method));
  if (!caller.ok()) {
    Audit({"", context.peer()}, Name(method), KeyView{"", ""}, "", "", caller.status());
    return caller.status();
  }
  const absl::StatusOr<KeyView> key = check(request.service(), request.operation());
  if (!key.ok()) return key.status();
  Actor actor{std::string(caller->name()), context.peer()};
  if (const absl::Status status = caller->CheckService(key->service); !status.ok()) {
    Audit(actor, Name(method), *key, "", "", status);
    return status;
  }
  return Admitted{std::move(actor), *key};
}

// ---------------------------------------------------------------------------------------------
// Policies

grpc::ServerUnaryReactor* AdminService::SetPolicy(grpc::CallbackServerContext* context,
                                                  const v1::SetPolicyRequest* request,
                                                  v1::PolicyEntry* response) {
  const RpcMetrics::Call call(metrics_, Method::kSetPolicy);
  const absl::StatusOr<Admitted> admitted =
      Admit(*context, call.method(), *request, CheckPolicyKey);
  if (!admitted.ok()) return FinishNow(context, call, admitted.status());
  const KeyView& key = admitted->key;
  if (!request->has_policy()) {
    return FinishNow(context, call,
                     absl::InvalidArgumentError(
                         "policy: is not set; an empty one has every field at its default"));
  }
  const absl::StatusOr<Policy> policy = PolicyFrom(request->policy());
  if (!policy.ok()) return FinishNow(context, call, policy.status());

  const Instant now = clock_->Now();
  ToProto(OperatorPolicy{Key(key), std::make_shared<const Policy>(*policy), now.wall,
                         PolicyOrigin::kApi},
          response);
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  operations_->SetPolicy(admitted->actor, Key(key), *policy, now, FinishLater(reactor, call));
  return reactor;
}

grpc::ServerUnaryReactor* AdminService::DeletePolicy(grpc::CallbackServerContext* context,
                                                     const v1::DeletePolicyRequest* request,
                                                     google::protobuf::Empty*) {
  const RpcMetrics::Call call(metrics_, Method::kDeletePolicy);
  const absl::StatusOr<Admitted> admitted =
      Admit(*context, call.method(), *request, CheckPolicyKey);
  if (!admitted.ok()) return FinishNow(context, call, admitted.status());
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  operations_->DeletePolicy(admitted->actor, admitted->key, clock_->Now(),
                            FinishLater(reactor, call));
  return reactor;
}

grpc::ServerUnaryReactor* AdminService::ListPolicies(grpc::CallbackServerContext* context,
                                                     const v1::ListPoliciesRequest*,
                                                     v1::ListPoliciesResponse* response) {
  const RpcMetrics::Call call(metrics_, Method::kListPolicies);
  const absl::StatusOr<Caller> caller = access_->Admit(*context, Name(call.method()));
  if (!caller.ok()) return FinishNow(context, call, caller.status());
  for (const OperatorPolicy& policy : registry_->Policies()) {
    if (caller->MayName(policy.key.service)) ToProto(policy, response->add_policies());
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
  const absl::StatusOr<Admitted> admitted = Admit(*context, method, request, CheckKey);
  if (!admitted.ok()) return FinishNow(context, call, admitted.status());
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  act(admitted->actor, admitted->key, clock_->Now(),
      [reactor, call, response](const absl::StatusOr<BreakerStats>& stats) {
        if (stats.ok()) ToProto(*stats, response);
        Finish(reactor, call, stats.status());
      });
  return reactor;
}

grpc::ServerUnaryReactor* AdminService::SetOverride(grpc::CallbackServerContext* context,
                                                    const v1::SetOverrideRequest* request,
                                                    v1::CircuitStats* response) {
  return AnswerStats(
      context, Method::kSetOverride, *request, response,
      [&](const Actor& actor, const KeyView& key, Instant now, Operations::Answer answer) {
        absl::StatusOr<Override> override = OverrideFrom(*request, now.wall);
        if (!override.ok()) return std::move(answer)(override.status());
        if (override->actor.empty()) override->actor = actor.who;
        operations_->SetOverride(actor, key, *override, now, std::move(answer));
      });
}

grpc::ServerUnaryReactor* AdminService::ClearOverride(grpc::CallbackServerContext* context,
                                                      const v1::ClearOverrideRequest* request,
                                                      v1::CircuitStats* response) {
  return AnswerStats(
      context, Method::kClearOverride, *request, response,
      [&](const Actor& actor, const KeyView& key, Instant now, Operations::Answer answer) {
        operations_->ClearOverride(actor, key, now, std::move(answer));
      });
}

grpc::ServerUnaryReactor* AdminService::Reset(grpc::CallbackServerContext* context,
                                              const v1::ResetRequest* request,
                                              v1::CircuitStats* response) {
  return AnswerStats(
      context, Method::kReset, *request, response,
      [&](const Actor& actor, const KeyView& key, Instant now, Operations::Answer answer) {
        operations_->Reset(actor, key, now, std::move(answer));
      });
}

grpc::ServerUnaryReactor* AdminService::Delete(grpc::CallbackServerContext* context,
                                               const v1::DeleteRequest* request,
                                               google::protobuf::Empty*) {
  const RpcMetrics::Call call(metrics_, Method::kDelete);
  const absl::StatusOr<Admitted> admitted = Admit(*context, call.method(), *request, CheckKey);
  if (!admitted.ok()) return FinishNow(context, call, admitted.status());
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  operations_->Delete(admitted->actor, admitted->key, clock_->Now(), FinishLater(reactor, call));
  return reactor;
}

// ---------------------------------------------------------------------------------------------
// Backups

grpc::ServerWriteReactor<v1::BackupChunk>* AdminService::Backup(
    grpc::CallbackServerContext* context, const v1::BackupRequest*) {
  constexpr char kRpc[] = "Backup";
  const absl::StatusOr<Caller> caller = access_->Admit(*context, kRpc);
  // A backup is of every service.
  const absl::Status admitted = caller.ok() ? caller->CheckService("*") : caller.status();
  Audit({caller.ok() ? std::string(caller->name()) : "", context->peer()}, kRpc, KeyView{"*", "*"},
        "", "", admitted);
  return admitted.ok() ? BackupReactor::Start(backups_) : BackupReactor::Refuse(admitted);
}

}  // namespace breaker::server
