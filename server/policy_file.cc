#include "server/policy_file.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/rpc/convert.h"
#include "server/rpc/policy_text.h"

namespace breaker::server {
namespace {

// Walks through one document.
class Reader {
 public:
  explicit Reader(absl::string_view name) : name_(name) {}

  absl::StatusOr<std::vector<v1::SetPolicyRequest>> Read(const YAML::Node& document) {
    std::vector<v1::SetPolicyRequest> policies;
    // Nothing but comments is no policy.
    if (!document.IsDefined() || document.IsNull()) return policies;
    YAML::Node list;
    absl::Status status =
        ReadMap(document, "the file", {"policies"},
                [&](const std::string&, const YAML::Node&, const YAML::Node& value) {
                  list.reset(value);
                  return absl::OkStatus();
                });
    if (!status.ok()) return status;
    if (!list.IsDefined() || list.IsNull()) return policies;
    if (!list.IsSequence()) return Wrong(list, "policies: is not a list (- service: ...)");
    for (const YAML::Node& entry : list) {
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
    absl::Status status =
        ReadMap(entry, "an entry of policies", {"service", "operation", "policy"},
                [&](const std::string& name, const YAML::Node& key, const YAML::Node& value) {
                  if (name == "policy") return ReadPolicy(value, *request.mutable_policy());
                  if (!value.IsScalar()) return Wrong(key, absl::StrCat(name, ": is not a name"));
                  (name == "service" ? request.mutable_service() : request.mutable_operation())
                      ->assign(value.Scalar());
                  return absl::OkStatus();
                });
    if (!status.ok()) return status;
    const absl::StatusOr<KeyView> key = PolicyKeyFrom(request);
    if (!key.ok()) return Wrong(entry, key.status().message());
    const auto [first, is_first] = lines_.try_emplace(Key(*key), Line(entry));
    if (!is_first) {
      return Wrong(entry, absl::StrCat(key->service, "/", key->operation,
                                       ": has a policy already, at line ", first->second));
    }
    return request;
  }

  absl::Status ReadPolicy(const YAML::Node& node, v1::Policy& policy) {
    if (node.IsNull()) return absl::OkStatus();  // every field at its default
    return ReadMap(node, "policy", {},
                   [&](const std::string& name, const YAML::Node& key, const YAML::Node& value) {
                     if (!value.IsScalar()) {
                       return Wrong(key, absl::StrCat("policy.", name, ": is not a single value"));
                     }
                     absl::Status status = SetPolicyField(name, value.Scalar(), policy);
                     // No rule joins two fields: after each the policy is valid, or the field is
                     // not.
                     if (status.ok()) status = PolicyFrom(policy).status();
                     return status.ok() ? status : Wrong(key, status.message());
                   });
  }

  // Calls read(name, key, value) for all that `map` holds; `names` are those that it may hold, if
  // not empty.
  template <typename Read>
  absl::Status ReadMap(const YAML::Node& map, absl::string_view what,
                       const std::vector<std::string>& names, Read read) {
    if (!map.IsMap()) {
      return Wrong(
          map, absl::StrCat(what, " is not made of NAME: VALUE",
                            names.empty() ? "" : ", with the names ", absl::StrJoin(names, ", ")));
    }
    absl::flat_hash_map<std::string, int> seen;
    for (const auto& pair : map) {
      const YAML::Node& key = pair.first;
      const YAML::Node& value = pair.second;
      const std::string name = key.IsScalar() ? key.Scalar() : "";
      if (!names.empty() && std::find(names.begin(), names.end(), name) == names.end()) {
        return Wrong(key, absl::StrCat("'", name, "' is not a name in ", what, ", which has ",
                                       absl::StrJoin(names, ", ")));
      }
      const auto [first, is_first] = seen.try_emplace(name, Line(key));
      if (!is_first) {
        return Wrong(key, absl::StrCat(name, ": was given already, at line ", first->second));
      }
      if (absl::Status status = read(name, key, value); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  static int Line(const YAML::Node& node) { return node.Mark().line + 1; }

  absl::Status Wrong(const YAML::Node& node, absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(name_, ":", Line(node), ": ", what));
  }

  const absl::string_view name_;
  absl::flat_hash_map<Key, int> lines_;  // where each has its policy
};

}  // namespace

absl::StatusOr<std::vector<v1::SetPolicyRequest>> ParsePolicies(const std::string& text,
                                                                absl::string_view name) {
  try {
    return Reader(name).Read(YAML::Load(text));
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ":", error.mark.line + 1, ": is not YAML: ", error.msg));
  }
}

absl::StatusOr<std::vector<v1::SetPolicyRequest>> ReadPolicies(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  // An empty file makes << fail, and says nothing of the file.
  if (file && file.peek() != std::ifstream::traits_type::eof()) text << file.rdbuf();
  if (file.bad() || !file.is_open() || !text) {
    const std::string why = absl::StrCat(path, ": cannot be read: ", strerror(errno));
    return errno == ENOENT ? absl::NotFoundError(why) : absl::UnavailableError(why);
  }
  return ParsePolicies(text.str(), path);
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
