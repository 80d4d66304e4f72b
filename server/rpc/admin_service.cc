#include "server/rpc/admin_service.h"

#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/log.h"
#include "server/rpc/convert.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/unary.h"

namespace breaker::server {
namespace {

// Tells those who watch, then finishes the call.
StoreWriter::Done PublishAndFinish(Publisher* publisher, Changes changes,
                                   grpc::ServerUnaryReactor* reactor) {
  return [publisher, changes = std::move(changes), reactor]() mutable {
    publisher->Publish(std::move(changes), [reactor] { reactor->Finish(grpc::Status::OK); });
  };
}

grpc::ServerUnaryReactor* Refuse(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

}  // namespace

// ---------------------------------------------------------------------------------------------
// Policies

grpc::ServerUnaryReactor* AdminService::SetPolicy(grpc::CallbackServerContext* context,
                                                  const v1::SetPolicyRequest* request,
                                                  v1::PolicyEntry* response) {
  const absl::StatusOr<KeyView> key = PolicyKeyFrom(*request);
  if (!key.ok()) return Refuse(context, key.status());
  if (!request->has_policy()) {
    return Refuse(context, absl::InvalidArgumentError(
                               "policy: is not set; an empty one has every field at its default"));
  }
  const absl::StatusOr<Policy> policy = PolicyFrom(request->policy());
  if (!policy.ok()) return Refuse(context, policy.status());

  const Instant now = clock_->Now();
  ToProto(OperatorPolicy{Key(*key), std::make_shared<const Policy>(*policy), now.wall,
                         PolicyOrigin::kApi},
          response);
  Log(LogLevel::kInfo, "policy_set", {{"service", key->service}, {"operation", key->operation}});
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  Changes changes;
  MutexLock lock(&policies_mu_);
  registry_->SetPolicy(Key(*key), *policy, now, &changes);
  writer_->PersistPolicy(Key(*key), StoredPolicy{Key(*key), *policy, now.wall},
                         PublishAndFinish(publisher_, std::move(changes), reactor));
  return reactor;
}

grpc::ServerUnaryReactor* AdminService::DeletePolicy(grpc::CallbackServerContext* context,
                                                     const v1::DeletePolicyRequest* request,
                                                     google::protobuf::Empty*) {
  const absl::StatusOr<KeyView> key = PolicyKeyFrom(*request);
  if (!key.ok()) return Refuse(context, key.status());
  Changes changes;
  MutexLock lock(&policies_mu_);
  const absl::Status status = registry_->DeletePolicy(*key, clock_->Now(), &changes);
  if (!status.ok()) return Refuse(context, status);
  Log(LogLevel::kInfo, "policy_deleted",
      {{"service", key->service}, {"operation", key->operation}});
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  writer_->PersistPolicy(Key(*key), std::nullopt,
                         PublishAndFinish(publisher_, std::move(changes), reactor));
  return reactor;
}

grpc::ServerUnaryReactor* AdminService::ListPolicies(grpc::CallbackServerContext* context,
                                                     const v1::ListPoliciesRequest*,
                                                     v1::ListPoliciesResponse* response) {
  for (const OperatorPolicy& policy : registry_->Policies()) {
    ToProto(policy, response->add_policies());
  }
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

// ---------------------------------------------------------------------------------------------
// Breakers

template <typename Request, typename Act>
grpc::ServerUnaryReactor* AdminService::ChangeBreaker(grpc::CallbackServerContext* context,
                                                      const Request& request, Act act) {
  const absl::StatusOr<KeyView> key = KeyFrom(request);
  if (!key.ok()) return Refuse(context, key.status());
  Changes changes;
  const absl::Status status = act(*key, &changes);
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  publisher_->Publish(std::move(changes), [this, reactor, status, key = Key(*key)] {
    if (!status.ok()) return reactor->Finish(ToGrpcStatus(status));
    // Not every change is a transition, which the publisher would have stored.
    writer_->Persist({key}, [reactor] { reactor->Finish(grpc::Status::OK); });
  });
  return reactor;
}

template <typename Request, typename Act>
grpc::ServerUnaryReactor* AdminService::AnswerStats(grpc::CallbackServerContext* context,
                                                    const Request& request,
                                                    v1::CircuitStats* response, Act act) {
  return ChangeBreaker(context, request, [&](const KeyView& key, Changes* changes) {
    const absl::StatusOr<BreakerStats> stats = act(key, clock_->Now(), changes);
    if (stats.ok()) ToProto(*stats, response);
    return stats.status();
  });
}

grpc::ServerUnaryReactor* AdminService::SetOverride(grpc::CallbackServerContext* context,
                                                    const v1::SetOverrideRequest* request,
                                                    v1::CircuitStats* response) {
  return AnswerStats(
      context, *request, response,
      [&](const KeyView& key, Instant now, Changes* changes) -> absl::StatusOr<BreakerStats> {
        const absl::StatusOr<Override> override = OverrideFrom(*request, now.wall);
        if (!override.ok()) return override.status();
        return registry_->SetOverride(key, *override, now, changes);
      });
}

grpc::ServerUnaryReactor* AdminService::ClearOverride(grpc::CallbackServerContext* context,
                                                      const v1::ClearOverrideRequest* request,
                                                      v1::CircuitStats* response) {
  return AnswerStats(context, *request, response,
                     [&](const KeyView& key, Instant now, Changes* changes) {
                       return registry_->ClearOverride(key, now, changes);
                     });
}

grpc::ServerUnaryReactor* AdminService::Reset(grpc::CallbackServerContext* context,
                                              const v1::ResetRequest* request,
                                              v1::CircuitStats* response) {
  return AnswerStats(context, *request, response,
                     [&](const KeyView& key, Instant now, Changes* changes) {
                       return registry_->Reset(key, now, changes);
                     });
}

grpc::ServerUnaryReactor* AdminService::Delete(grpc::CallbackServerContext* context,
                                               const v1::DeleteRequest* request,
                                               google::protobuf::Empty*) {
  return ChangeBreaker(context, *request, [&](const KeyView& key, Changes* changes) {
    return registry_->Delete(key, changes);
  });
}

}  // namespace breaker::server
