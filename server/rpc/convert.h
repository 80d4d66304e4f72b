#ifndef BREAKER_RPC_CONVERT_H_
#define BREAKER_RPC_CONVERT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "breaker/v1/admin.pb.h"
#include "breaker/v1/breaker.pb.h"
#include "server/engine/breaker.h"
#include "server/engine/change.h"
#include "server/engine/key.h"
#include "server/engine/outcome_run.h"
#include "server/engine/policy.h"
#include "server/engine/policy_table.h"

namespace breaker::server {

// Between the wire contract and the engine: the only file that knows both. What comes in is
// checked; errors are INVALID_ARGUMENT and name the field.

// Borrows from the request.
template <typename Request>
absl::StatusOr<KeyView> KeyFrom(const Request& request);

// The same, where the name of a policy is meant: (service, "*") and ("*", "*") stand for many.
template <typename Request>
absl::StatusOr<KeyView> PolicyKeyFrom(const Request& request);

// The override that an operator asks for at `now`.
absl::StatusOr<Override> OverrideFrom(const v1::SetOverrideRequest& request, WallTime now);

// Fields that are not set take the built-in defaults.
absl::StatusOr<Policy> PolicyFrom(const v1::Policy& policy);

// Borrows from the request, and the worker_id is the request's.
absl::StatusOr<CallReport> CallReportFrom(const v1::ReportRequest& request);

// All runs of a batch, and what they are part of.
struct OutcomeBatch {
  BatchId id;
  std::vector<KeyedRun> runs;
};
// Borrows from the request and from `worker`, the name that the engine knows its worker_id by.
absl::StatusOr<OutcomeBatch> OutcomeBatchFrom(const v1::ReportBatchRequest& request,
                                              absl::string_view worker,
                                              const QuorumShare* quorum_share);

// What a page of ListStats starts after; nullopt = at the beginning.
absl::StatusOr<std::optional<Key>> PageStartFrom(absl::string_view page_token);
std::string PageTokenFor(const Key& last);

void ToProto(const Decision& decision, v1::AcquireResponse* response);
void ToProto(const BatchResult& result, v1::ReportBatchResponse* response);
void ToProto(const ReportResult& result, v1::ReportResponse* response);
void ToProto(const BreakerStats& stats, v1::CircuitStats* proto);
void ToProto(const Policy& policy, v1::Policy* proto);
void ToProto(const OperatorPolicy& policy, v1::PolicyEntry* proto);
void ToProto(const Key& key, const BreakerView& view, const std::optional<Transition>& transition,
             v1::CircuitUpdate* proto);
void SetDuration(absl::Duration from, google::protobuf::Duration* to);
void SetTimestamp(WallTime from, google::protobuf::Timestamp* to);

inline v1::CircuitState ToProto(State state) { return static_cast<v1::CircuitState>(state); }

// ---------------------------------------------------------------------------------------------

absl::StatusOr<KeyView> CheckKey(absl::string_view service, absl::string_view operation);
absl::StatusOr<KeyView> CheckPolicyKey(absl::string_view service, absl::string_view operation);

template <typename Request>
absl::StatusOr<KeyView> KeyFrom(const Request& request) {
  return CheckKey(request.service(), request.operation());
}

template <typename Request>
absl::StatusOr<KeyView> PolicyKeyFrom(const Request& request) {
  return CheckPolicyKey(request.service(), request.operation());
}

}  // namespace breaker::server

#endif  // BREAKER_RPC_CONVERT_H_
