#include "server/http/board_json.h"

#include "breaker/v1/breaker.pb.h"
#include "server/rpc/convert.h"
#include "server/rpc/policy_text.h"

namespace breaker::server {
namespace {

using nlohmann::json;

int64_t UnixMillis(WallTime time) { return absl::ToUnixMillis(time.time()); }

json TransitionToJson(const Transition& transition) {
  return {{"from", Name(transition.from)},       {"to", Name(transition.to)},
          {"time", UnixMillis(transition.time)}, {"cause", Name(transition.cause)},
          {"reason", transition.reason},         {"generation", transition.generation}};
}

json OverrideToJson(const std::optional<Override>& override) {
  if (!override.has_value()) return nullptr;
  return {{"mode", Name(override->mode)},
          {"reason", override->reason},
          {"actor", override->actor},
          {"expires_at", ToJson(override->expires_at)}};
}

json PolicyToJson(const Policy& policy) {
  v1::Policy proto;
  ToProto(policy, &proto);
  json fields = json::array();
  for (const auto& [field, value] : PolicyFields(proto)) {
    fields.push_back({{"field", field}, {"value", value}});
  }
  return fields;
}

}  // namespace

std::string Dump(const json& json) {
  return json.dump(-1, ' ', false, json::error_handler_t::replace);
}

json ToJson(const std::optional<WallTime>& time) {
  return time.has_value() ? json(UnixMillis(*time)) : json(nullptr);
}

json RowToJson(const BreakerStats& stats) {
  json row = {{"service", stats.key.service},
              {"operation", stats.key.operation},
              {"state", Name(stats.state)},
              {"generation", stats.generation},
              {"calls", stats.window.total()},
              {"failures", stats.window.failures},
              {"slow", stats.window.slow},
              {"failure_rate", FailureRate(stats)},
              {"in_flight", stats.in_flight},
              {"consecutive_failures", stats.consecutive_failures},
              {"failing_workers", stats.failing_workers},
              {"next_attempt_time", ToJson(stats.next_attempt_time)},
              {"ramp_fraction", stats.ramp_fraction},
              {"shadow", stats.policy->shadow},
              {"override", OverrideToJson(stats.override)},
              {"last_transition", nullptr},
              {"opening", nullptr},
              {"last_failure", nullptr}};
  if (!stats.recent_transitions.empty()) {
    row["last_transition"] = TransitionToJson(stats.recent_transitions.front());
  }
  if (stats.opening.has_value()) row["opening"] = TransitionToJson(*stats.opening);
  if (stats.last_failure_time.has_value()) {
    row["last_failure"] = {{"time", ToJson(stats.last_failure_time)},
                           {"error", stats.last_failure_error}};
  }
  return row;
}

json DetailToJson(const BreakerStats& stats, const BreakerSnapshot& saved) {
  json detail = RowToJson(stats);
  const LifetimeCounts& lifetime = stats.lifetime;
  detail["success"] = stats.window.successes;
  detail["last_success_time"] = ToJson(stats.last_success_time);
  detail["lifetime"] = {{"successes", lifetime.successes},      {"failures", lifetime.failures},
                        {"rejected", lifetime.rejected},        {"ignored", lifetime.ignored},
                        {"abandoned", lifetime.abandoned},      {"stale", lifetime.stale},
                        {"times_opened", lifetime.times_opened}};
  detail["failing_worker_ids"] = json::array();
  for (const BreakerSnapshot::SeenWorker& worker : saved.failing_workers) {
    detail["failing_worker_ids"].push_back(
        {{"worker_id", worker.worker_id}, {"time", UnixMillis(worker.time)}});
  }
  detail["policy"] = PolicyToJson(*stats.policy);
  detail["policy_source"] = Name(stats.policy_source);
  detail["transitions"] = json::array();
  for (const Transition& transition : stats.recent_transitions) {
    detail["transitions"].push_back(TransitionToJson(transition));
  }
  return detail;
}

json ToJson(const Key& key, const Transition& transition) {
  json with_key = TransitionToJson(transition);
  with_key["service"] = key.service;
  with_key["operation"] = key.operation;
  return with_key;
}

json CountsToJson(const Survey& survey) {
  json counts = json::object();
  for (const State state : {State::kClosed, State::kOpen, State::kHalfOpen}) {
    counts[Name(state)] = survey.count(state);
  }
  return counts;
}

}  // namespace breaker::server
