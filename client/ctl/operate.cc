// open, close, auto, reset, delete: what operators do to breakers.
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cpp/src/convert.h"
#include "client/ctl/commands.h"
#include "client/ctl/confirm.h"
#include "client/ctl/remote.h"

namespace breaker::ctl {
namespace {

std::string Verb(Action action) {
  switch (action) {
    case Action::kOpen:
      return "Force open";
    case Action::kClose:
      return "Force closed";
    case Action::kAuto:
      return "Clear the override of";
    case Action::kReset:
      return "Reset";
    case Action::kDelete:
      return "Delete";
  }
  return "";
}

template <typename Request>
Request For(const Key& key) {
  Request request;
  request.set_service(key.service);
  request.set_operation(key.operation);
  return request;
}

// The call that the action is, on one breaker.
grpc::Status Act(v1::BreakerAdmin::Stub& admin, const Daemon& daemon, const Key& key,
                 const OperateOptions& options, v1::CircuitStats* stats) {
  grpc::ClientContext context;
  SetDeadline(daemon, context);
  switch (options.action) {
    case Action::kOpen:
    case Action::kClose: {
      auto request = For<v1::SetOverrideRequest>(key);
      request.set_mode(options.action == Action::kOpen ? v1::Override::FORCED_OPEN
                                                       : v1::Override::FORCED_CLOSED);
      request.set_reason(options.reason);
      request.set_actor(options.actor);
      if (options.ttl.has_value()) *request.mutable_ttl() = internal::ToProto(*options.ttl);
      return admin.SetOverride(&context, request, stats);
    }
    case Action::kAuto:
      return admin.ClearOverride(&context, For<v1::ClearOverrideRequest>(key), stats);
    case Action::kReset:
      return admin.Reset(&context, For<v1::ResetRequest>(key), stats);
    case Action::kDelete: {
      google::protobuf::Empty empty;
      return admin.Delete(&context, For<v1::DeleteRequest>(key), &empty);
    }
  }
  return grpc::Status::OK;
}

void Say(const Key& key, const OperateOptions& options, const v1::CircuitStats& stats) {
  std::cout << key.service << "/" << key.operation << " is ";
  if (options.action == Action::kDelete) {
    std::cout << "deleted\n";
    return;
  }
  std::cout << v1::CircuitState_Name(stats.state());
  if (stats.has_override()) std::cout << ", " << OverrideInWords(stats.override());
  std::cout << "\n";
}

bool Matches(const Key& pattern, const v1::CircuitStats& stats, Action action) {
  if (pattern.service != "*" && pattern.service != stats.service()) return false;
  return action != Action::kAuto || stats.has_override();
}

}  // namespace

int Operate(const Daemon& daemon, const OperateOptions& options) {
  std::vector<Key> keys = {options.key};
  if (IsWildcard(options.key)) {
    v1::ListStatsResponse all;
    const grpc::Status status =
        ListAll(daemon, options.key.service == "*" ? std::string() : options.key.service, {}, &all);
    if (!status.ok()) return Fail(daemon, status);
    keys.clear();
    for (const v1::CircuitStats& stats : all.stats()) {
      if (Matches(options.key, stats, options.action)) {
        keys.push_back({.service = stats.service(), .operation = stats.operation()});
      }
    }
    if (keys.empty()) {
      std::cerr << "breakerctl: nothing to do: no breaker matches\n";
      return kError;
    }
    for (const Key& key : keys) std::cout << key.service << "/" << key.operation << "\n";
    const std::string question =
        absl::StrCat(Verb(options.action), " all of these, ", keys.size(), " in number?");
    if (!Confirm(question, options.yes)) return kUsage;
  }
  const auto admin = ConnectAdmin(daemon);
  int exit_status = kOk;
  for (const Key& key : keys) {
    v1::CircuitStats stats;
    const grpc::Status status = Act(*admin, daemon, key, options, &stats);
    if (status.ok()) {
      Say(key, options, stats);
    } else {
      exit_status = Fail(daemon, status);
      if (exit_status == kUnavailable) break;
    }
  }
  return exit_status;
}

}  // namespace breaker::ctl
