#include "server/rpc/circuit_breaker_service.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "server/engine/errors.h"
#include "server/rpc/convert.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/source.h"
#include "server/rpc/unary.h"
#include "server/rpc/validate.h"
#include "server/rpc/watch_reactor.h"

namespace breaker::server {
namespace {

constexpr uint32_t kDefaultPageSize = 100;
constexpr uint32_t kMaxPageSize = 1000;
// A page ends early rather than outgrow what a client accepts (4 MiB unless told otherwise).
constexpr size_t kMaxPageBytes = 1 << 20;

absl::Status CheckListStats(const v1::ListStatsRequest& request) {
  absl::Status status;
  if (!request.service().empty()) status = CheckName("service", request.service());
  if (request.page_size() > kMaxPageSize) {
    status.Update(errors::InvalidField("page_size", absl::StrCat(request.page_size()),
                                       absl::StrCat("in [0, ", kMaxPageSize, "]")));
  }
  for (const int state : request.states()) {
    if (state < v1::CLOSED || state > v1::HALF_OPEN) {
      status.Update(errors::InvalidField("states", absl::StrCat(state),
                                         "CLOSED (1), OPEN (2) or HALF_OPEN (3)"));
    }
  }
  return status;
}

// The key that a request names, if the caller may.
template <typename Request>
absl::StatusOr<KeyView> KeyFrom(const Request& request, const Caller& caller) {
  const absl::StatusOr<KeyView> key = server::KeyFrom(request);
  if (!key.ok()) return key;
  const absl::Status allowed = caller.CheckService(key->service);
  return allowed.ok() ? key : allowed;
}

// Takes out the runs of services that the caller may not name, and says how many outcomes those
// are. PERMISSION_DENIED, with the first of them, if there are no others.
absl::StatusOr<uint64_t> LeaveOutDenied(const Caller& caller, std::vector<KeyedRun>& runs) {
  if (runs.empty()) return 0;
  const absl::Status first = caller.CheckService(runs.front().key.view.service);
  uint64_t denied = 0;
  std::erase_if(runs, [&](const KeyedRun& run) {
    if (caller.MayName(run.key.view.service)) return false;
    denied += run.run.count;
    return true;
  });
  if (runs.empty()) return first;
  return denied;
}

}  // namespace

grpc::ServerUnaryReactor* CircuitBreakerService::Acquire(grpc::CallbackServerContext* context,
                                                         const v1::AcquireRequest* request,
                                                         v1::AcquireResponse* response) {
  return RunUnary(context, access_, publisher_, {metrics_, Method::kAcquire},
                  [&](const Caller& caller, Changes* changes) -> absl::Status {
                    const absl::StatusOr<KeyView> key = KeyFrom(*request, caller);
                    if (!key.ok()) return key.status();
                    const HashedKey hashed = registry_->Prefetch(*key);
                    if (absl::Status status = CheckWorkerId(request->worker_id()); !status.ok())
                      return status;
                    std::optional<Policy> policy;
                    if (request->has_policy()) {
                      absl::StatusOr<Policy> brought = PolicyFrom(request->policy());
                      if (!brought.ok()) return brought.status();
                      policy = *std::move(brought);
                    }
                    const RpcCreator creator(context, caller, request->worker_id());
                    std::string worker;
                    const absl::StatusOr<Decision> decision = registry_->Acquire(
                        hashed, caller.WorkerName(request->worker_id(), &worker),
                        policy.has_value() ? &*policy : nullptr, clock_->Now(), changes, &creator);
                    if (!decision.ok()) return decision.status();
                    ToProto(*decision, response);
                    return absl::OkStatus();
                  });
}

grpc::ServerUnaryReactor* CircuitBreakerService::Report(grpc::CallbackServerContext* context,
                                                        const v1::ReportRequest* request,
                                                        v1::ReportResponse* response) {
  return RunUnary(context, access_, publisher_, {metrics_, Method::kReport},
                  [&](const Caller& caller, Changes* changes) -> absl::Status {
                    const absl::StatusOr<KeyView> key = KeyFrom(*request, caller);
                    if (!key.ok()) return key.status();
                    const HashedKey hashed = registry_->Prefetch(*key);
                    absl::StatusOr<CallReport> report = CallReportFrom(*request);
                    if (!report.ok()) return report.status();
                    const RpcCreator creator(context, caller, request->worker_id());
                    std::string worker;
                    report->worker_id = caller.WorkerName(report->worker_id, &worker);
                    report->quorum_share = caller.quorum_share();
                    const absl::StatusOr<ReportResult> result =
                        registry_->Report(hashed, *report, clock_->Now(), changes, &creator);
                    if (!result.ok()) return result.status();
                    TellOfQuorumShare(caller);
                    ToProto(*result, response);
                    return absl::OkStatus();
                  });
}

grpc::ServerUnaryReactor* CircuitBreakerService::ReportBatch(grpc::CallbackServerContext* context,
                                                             const v1::ReportBatchRequest* request,
                                                             v1::ReportBatchResponse* response) {
  return RunUnary(context, access_, publisher_, {metrics_, Method::kReportBatch},
                  [&](const Caller& caller, Changes* changes) -> absl::Status {
                    std::string worker;
                    absl::StatusOr<OutcomeBatch> batch =
                        OutcomeBatchFrom(*request, caller.WorkerName(request->worker_id(), &worker),
                                         caller.quorum_share());
                    if (!batch.ok()) return batch.status();
                    const absl::StatusOr<uint64_t> denied = LeaveOutDenied(caller, batch->runs);
                    if (!denied.ok()) return denied.status();
                    metrics_->BatchHas(batch->runs.size());
                    const RpcCreator creator(context, caller, request->worker_id());
                    const absl::StatusOr<BatchResult> result = registry_->ReportBatch(
                        batch->id, batch->runs, clock_->Now(), changes, &creator);
                    if (!result.ok()) return result.status();
                    ToProto(*result, response);
                    response->set_denied(*denied);
                    TellOfQuorumShare(caller);
                    return absl::OkStatus();
                  });
}

void CircuitBreakerService::TellOfQuorumShare(const Caller& caller) {
  const QuorumShare* share = caller.quorum_share();
  if (share == nullptr || !share->TakeExceeded()) return;
  limit_refusals_->Count(
      Limit::kWorkersOfOneIdentity,
      absl::StrCat("workers: more than ", share->workers, " of identity ", caller.name(),
                   " fail, and a quorum counts no more (its workers in "
                   "--identities)"));
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* CircuitBreakerService::Watch(
    grpc::CallbackServerContext* context) {
  absl::StatusOr<Caller> caller = access_->Admit(*context, "Watch");
  if (!caller.ok()) return RefuseWatch(ToGrpcStatus(caller.status()));
  absl::StatusOr<WatchSlots::Slot> slot = watch_slots_->Take(context->peer());
  if (!slot.ok()) return RefuseWatch(ToGrpcStatus(slot.status()));
  return WatchReactor::Start({registry_, publisher_, hub_, clock_}, context, *std::move(caller),
                             *std::move(slot));
}

grpc::ServerUnaryReactor* CircuitBreakerService::GetStats(grpc::CallbackServerContext* context,
                                                          const v1::GetStatsRequest* request,
                                                          v1::CircuitStats* response) {
  return RunUnary(context, access_, publisher_, {metrics_, Method::kGetStats},
                  [&](const Caller& caller, Changes* changes) -> absl::Status {
                    const absl::StatusOr<KeyView> key = KeyFrom(*request, caller);
                    if (!key.ok()) return key.status();
                    const absl::StatusOr<BreakerStats> stats =
                        registry_->GetStats(*key, clock_->Now(), changes);
                    if (!stats.ok()) return stats.status();
                    ToProto(*stats, response);
                    return absl::OkStatus();
                  });
}

grpc::ServerUnaryReactor* CircuitBreakerService::ListStats(grpc::CallbackServerContext* context,
                                                           const v1::ListStatsRequest* request,
                                                           v1::ListStatsResponse* response) {
  return RunUnary(
      context, access_, publisher_, {metrics_, Method::kListStats},
      [&](const Caller& caller, Changes* changes) -> absl::Status {
        absl::Status status = CheckListStats(*request);
        if (status.ok() && !request->service().empty()) {
          status = caller.CheckService(request->service());
        }
        if (!status.ok()) return status;
        const absl::StatusOr<std::optional<Key>> start = PageStartFrom(request->page_token());
        if (!start.ok()) return start.status();
        const auto& states = request->states();
        const auto wanted = [&](const Key& key, State state) {
          return caller.MayName(key.service) &&
                 (states.empty() || std::count(states.begin(), states.end(), ToProto(state)) > 0);
        };
        const size_t count = request->page_size() == 0 ? kDefaultPageSize : request->page_size();
        Registry::Page page =
            registry_->ListStats(request->service(), wanted, count, *start, clock_->Now(), changes);
        size_t bytes = 0;
        for (size_t i = 0; i < page.stats.size(); ++i) {
          v1::CircuitStats* const stats = response->add_stats();
          ToProto(page.stats[i], stats);
          bytes += stats->ByteSizeLong();
          if (bytes > kMaxPageBytes && i + 1 < page.stats.size()) {
            page.next = page.stats[i].key;
            break;
          }
        }
        if (page.next.has_value()) response->set_next_page_token(PageTokenFor(*page.next));
        return absl::OkStatus();
      });
}

}  // namespace breaker::server
