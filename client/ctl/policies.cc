// policy list, get, set, delete, export.
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/ctl/commands.h"
#include "client/ctl/confirm.h"
#include "client/ctl/remote.h"
#include "client/ctl/table.h"
#include "server/policy_file.h"
#include "server/rpc/convert.h"
#include "server/rpc/policy_text.h"

namespace breaker::ctl {
namespace {

grpc::Status Fetch(const Daemon& daemon, v1::ListPoliciesResponse* policies) {
  grpc::ClientContext context;
  SetDeadline(daemon, context);
  return ConnectAdmin(daemon)->ListPolicies(&context, {}, policies);
}

// "failure_threshold=3 recovery_timeout=20s": what is not as built in.
std::string Particulars(const v1::Policy& policy) {
  v1::Policy defaults;
  server::ToProto(*server::BuiltInPolicy(), &defaults);
  const auto built_in = server::PolicyFields(defaults);
  const auto fields = server::PolicyFields(policy);
  std::vector<std::string> particular;
  for (size_t i = 0; i < fields.size(); ++i) {
    if (i < built_in.size() && fields[i] == built_in[i]) continue;
    particular.push_back(absl::StrCat(fields[i].first, "=", fields[i].second));
  }
  return particular.empty() ? "as built in" : absl::StrJoin(particular, " ");
}

}  // namespace

int PolicyList(const Daemon& daemon, bool json) {
  v1::ListPoliciesResponse policies;
  if (const grpc::Status status = Fetch(daemon, &policies); !status.ok()) {
    return Fail(daemon, status);
  }
  if (json) {
    std::cout << ToJson(policies);
    return kOk;
  }
  std::vector<Row> rows = {{"BREAKERS", "FROM", "SET", "POLICY"}};
  for (const v1::PolicyEntry& entry : policies.policies()) {
    rows.push_back({absl::StrCat(entry.service(), "/", entry.operation()),
                    entry.origin() == v1::PolicyEntry::FILE ? "file" : "api",
                    Relative(entry.updated_at()), Particulars(entry.policy())});
  }
  PrintAligned(rows);
  return kOk;
}

int PolicyGet(const Daemon& daemon, const Key& key, bool json) {
  v1::ListPoliciesResponse policies;
  if (const grpc::Status status = Fetch(daemon, &policies); !status.ok()) {
    return Fail(daemon, status);
  }
  for (const v1::PolicyEntry& entry : policies.policies()) {
    if (entry.service() != key.service || entry.operation() != key.operation) continue;
    if (json) {
      std::cout << ToJson(entry);
      return kOk;
    }
    for (const auto& [name, value] : server::PolicyFields(entry.policy())) {
      std::cout << name << "=" << value << "\n";
    }
    return kOk;
  }
  std::cerr << "breakerctl: no operator has set a policy for " << key.service << "/"
            << key.operation << "\n";
  return kError;
}

int PolicySet(const Daemon& daemon, const std::vector<v1::SetPolicyRequest>& policies, bool yes) {
  for (const v1::SetPolicyRequest& request : policies) {
    if (!IsWildcard({.service = request.service(), .operation = request.operation()})) continue;
    if (!Confirm(absl::StrCat("Set a policy for all of ", request.service(), "/",
                              request.operation(), "?"),
                 yes)) {
      return kUsage;
    }
  }
  const auto admin = ConnectAdmin(daemon);
  for (const v1::SetPolicyRequest& request : policies) {
    grpc::ClientContext context;
    SetDeadline(daemon, context);
    v1::PolicyEntry entry;
    const grpc::Status status = admin->SetPolicy(&context, request, &entry);
    if (!status.ok()) return Fail(daemon, status);
    std::cout << entry.service() << "/" << entry.operation() << ": " << Particulars(entry.policy())
              << "\n";
  }
  return kOk;
}

int PolicyDelete(const Daemon& daemon, const Key& key, bool yes) {
  if (IsWildcard(key) &&
      !Confirm(absl::StrCat("Delete the policy of all of ", key.service, "/", key.operation, "?"),
               yes)) {
    return kUsage;
  }
  v1::DeletePolicyRequest request;
  request.set_service(key.service);
  request.set_operation(key.operation);
  grpc::ClientContext context;
  SetDeadline(daemon, context);
  google::protobuf::Empty empty;
  const grpc::Status status = ConnectAdmin(daemon)->DeletePolicy(&context, request, &empty);
  return status.ok() ? kOk : Fail(daemon, status);
}

int PolicyExport(const Daemon& daemon) {
  v1::ListPoliciesResponse policies;
  if (const grpc::Status status = Fetch(daemon, &policies); !status.ok()) {
    return Fail(daemon, status);
  }
  std::vector<v1::SetPolicyRequest> requests;
  for (const v1::PolicyEntry& entry : policies.policies()) {
    v1::SetPolicyRequest& request = requests.emplace_back();
    request.set_service(entry.service());
    request.set_operation(entry.operation());
    *request.mutable_policy() = entry.policy();
  }
  std::cout << server::FormatPolicies(requests);
  return kOk;
}

}  // namespace breaker::ctl
