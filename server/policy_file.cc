#include "server/policy_file.h"

#include <yaml-cpp/yaml.h>

#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/rpc/convert.h"
#include "server/rpc/policy_text.h"
#include "server/yaml_reader.h"

namespace breaker::server {
namespace {

// Reads one document.
class Reader {
 public:
  explicit Reader(absl::string_view name) : yaml_(name) {}

  absl::StatusOr<std::vector<v1::SetPolicyRequest>> Read(const std::string& text) {
    const absl::StatusOr<YAML::Node> document = yaml_.Load(text);
    if (!document.ok()) return document.status();
    const absl::StatusOr<YAML::Node> list = yaml_.ReadList(*document, "policies", "service");
    if (!list.ok()) return list.status();
    std::vector<v1::SetPolicyRequest> policies;
    for (const YAML::Node& entry : *list) {
      absl::StatusOr<v1::SetPolicyRequest> policy = ReadEntry(entry);
      if (!policy.ok()) return policy.status();
      policies.push_back(*std::move(policy));
    }
    return policies;
  }

 private:
  absl::StatusOr<v1::SetPolicyRequest> ReadEntry(const YAML::Node& entry) {
    v1::SetPolicyRequest request;
    request.mutable_policy();
    absl::Status status = yaml_.ReadMap(
        entry, "an entry of policies", {"service", "operation", "policy"},
        [&](const std::string& name, const YAML::Node& key, const YAML::Node& value) {
          if (name == "policy") return ReadPolicy(value, *request.mutable_policy());
          if (!value.IsScalar()) return yaml_.Wrong(key, absl::StrCat(name, ": is not a name"));
          (name == "service" ? request.mutable_service() : request.mutable_operation())
              ->assign(value.Scalar());
          return absl::OkStatus();
        });
    if (!status.ok()) return status;
    const absl::StatusOr<KeyView> key = PolicyKeyFrom(request);
    if (!key.ok()) return yaml_.Wrong(entry, key.status().message());
    const auto [first, is_first] = lines_.try_emplace(Key(*key), YamlReader::Line(entry));
    if (!is_first) {
      return yaml_.Wrong(entry, absl::StrCat(key->service, "/", key->operation,
                                             ": has a policy already, at line ", first->second));
    }
    return request;
  }

  absl::Status ReadPolicy(const YAML::Node& node, v1::Policy& policy) {
    if (node.IsNull()) return absl::OkStatus();  // every field at its default
    return yaml_.ReadMap(
        node, "policy", {},
        [&](const std::string& name, const YAML::Node& key, const YAML::Node& value) {
          if (!value.IsScalar()) {
            return yaml_.Wrong(key, absl::StrCat("policy.", name, ": is not a single value"));
          }
          absl::Status status = SetPolicyField(name, value.Scalar(), policy);
          // No rule joins two fields: after each the policy is valid, or the field is
          // not.
          if (status.ok()) status = PolicyFrom(policy).status();
          return status.ok() ? status : yaml_.Wrong(key, status.message());
        });
  }

  const YamlReader yaml_;
  absl::flat_hash_map<Key, int> lines_;  // where each has its policy
};

}  // namespace

absl::StatusOr<std::vector<v1::SetPolicyRequest>> ParsePolicies(const std::string& text,
                                                                absl::string_view name) {
  return Reader(name).Read(text);
}

absl::StatusOr<std::vector<v1::SetPolicyRequest>> ReadPolicies(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return text.status();
  return ParsePolicies(*text, path);
}

std::string FormatPolicies(const std::vector<v1::SetPolicyRequest>& policies) {
  YAML::Emitter out;
  out << YAML::BeginMap << YAML::Key << "policies" << YAML::Value << YAML::BeginSeq;
  for (const v1::SetPolicyRequest& request : policies) {
    out << YAML::BeginMap;
    out << YAML::Key << "service" << YAML::Value << request.service();
    out << YAML::Key << "operation" << YAML::Value << request.operation();
    out << YAML::Key << "policy" << YAML::Value << YAML::BeginMap;
    for (const auto& [name, value] : PolicyFields(request.policy())) {
      out << YAML::Key << name << YAML::Value << value;
    }
    out << YAML::EndMap << YAML::EndMap;
  }
  out << YAML::EndSeq << YAML::EndMap;
  return absl::StrCat(out.c_str(), "\n");
}

}  // namespace breaker::server
