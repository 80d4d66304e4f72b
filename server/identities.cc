#include "server/identities.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/log.h"
#include "server/yaml_reader.h"

namespace breaker::server {
namespace {

constexpr size_t kMaxNameBytes = 64;
constexpr uint32_t kMaxWorkers = 100'000;

bool IsName(absl::string_view name) {
  constexpr absl::string_view kAlso = "._@:-";
  return !name.empty() && name.size() <= kMaxNameBytes &&
         std::all_of(name.begin(), name.end(), [&](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) || absl::StrContains(kAlso, c);
         });
}

// Of 64 hexadecimal digits; nullopt of anything else.
std::optional<TokenHash> ParseHash(absl::string_view hex) {
  TokenHash hash;
  if (hex.size() != 2 * hash.size() || !std::all_of(hex.begin(), hex.end(), [](char c) {
        return absl::ascii_isxdigit(static_cast<unsigned char>(c));
      })) {
    return std::nullopt;
  }
  const std::string bytes = absl::HexStringToBytes(hex);
  std::copy(bytes.begin(), bytes.end(), hash.begin());
  return hash;
}

// Reads one document.
class Reader {
 public:
  explicit Reader(absl::string_view name) : yaml_(name) {}

  absl::StatusOr<std::vector<IdentityPtr>> Read(const std::string& text) {
    const absl::StatusOr<YAML::Node> document = yaml_.Load(text);
    if (!document.ok()) return document.status();
    const absl::StatusOr<YAML::Node> list = yaml_.ReadList(*document, "identities", "name");
    if (!list.ok()) return list.status();
    std::vector<IdentityPtr> identities;
    for (const YAML::Node& entry : *list) {
      absl::StatusOr<IdentityPtr> identity = ReadIdentity(entry);
      if (!identity.ok()) return identity.status();
      identities.push_back(*std::move(identity));
    }
    return identities;
  }

 private:
  absl::StatusOr<IdentityPtr> ReadIdentity(const YAML::Node& entry) {
    auto identity = std::make_shared<Identity>();
    bool has_role = false;
    absl::Status status =
        yaml_.ReadMap(entry, "an entry of identities",
                      {"name", "role", "token_sha256", "certificate", "services", "workers"},
                      [&](const std::string& name, const YAML::Node& key, const YAML::Node& value) {
                        if (name == "name") return ReadName(key, value, *identity);
                        if (name == "workers") return ReadWorkers(key, value, *identity);
                        if (name == "role") {
                          has_role = true;
                          return ReadRole(key, value, *identity);
                        }
                        return ReadStrings(name, key, value, [&](const std::string& text) {
                          return AddTo(*identity, name, value, text);
                        });
                      });
    if (!status.ok()) return status;
    if (identity->name.empty()) return yaml_.Wrong(entry, "name: is missing");
    if (!has_role) return yaml_.Wrong(entry, "role: is missing");
    if (identity->tokens.empty() && identity->certificates.empty()) {
      return yaml_.Wrong(entry, absl::StrCat(identity->name,
                                             ": has neither token_sha256 nor certificate, and so "
                                             "nobody could be it"));
    }
    return IdentityPtr(std::move(identity));
  }

  absl::Status ReadName(const YAML::Node& key, const YAML::Node& value, Identity& identity) {
    if (!value.IsScalar() || !IsName(value.Scalar())) {
      return yaml_.Wrong(
          key, "name: is not 1 to 64 letters, digits and any of '.', '_', '@', ':' and '-'");
    }
    identity.name = value.Scalar();
    return NoteFirst(value, absl::StrCat("name: '", identity.name, "'"));
  }

  absl::Status ReadRole(const YAML::Node& key, const YAML::Node& value, Identity& identity) {
    for (const Role role : {Role::kWorker, Role::kViewer, Role::kOperator}) {
      if (!value.IsScalar() || value.Scalar() != Name(role)) continue;
      identity.role = role;
      return absl::OkStatus();
    }
    return yaml_.Wrong(key, "role: is not worker, viewer or operator");
  }

  absl::Status ReadWorkers(const YAML::Node& key, const YAML::Node& value, Identity& identity) {
    uint32_t& workers = identity.quorum_share.workers;
    if (!value.IsScalar() || !absl::SimpleAtoi(value.Scalar(), &workers) || workers == 0 ||
        workers > kMaxWorkers) {
      return yaml_.Wrong(key,
                         absl::StrCat("workers: is not a whole number in [1, ", kMaxWorkers, "]"));
    }
    return absl::OkStatus();
  }

  // Calls add(text) for one value or each of a list.
  template <typename Add>
  absl::Status ReadStrings(const std::string& name, const YAML::Node& key, const YAML::Node& value,
                           Add add) {
    if (value.IsScalar()) return add(value.Scalar());
    if (!value.IsSequence()) {
      return yaml_.Wrong(key, absl::StrCat(name, ": is neither a value nor a list of them"));
    }
    for (const YAML::Node& item : value) {
      if (!item.IsScalar()) return yaml_.Wrong(key, absl::StrCat(name, ": holds what is no value"));
      if (absl::Status status = add(item.Scalar()); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status AddTo(Identity& identity, const std::string& field, const YAML::Node& value,
                     const std::string& text) {
    if (text.empty()) return yaml_.Wrong(value, absl::StrCat(field, ": is empty"));
    if (field == "services") {
      identity.services.push_back(text);
      return absl::OkStatus();
    }
    if (field == "certificate") {
      identity.certificates.push_back(text);
      return NoteFirst(value, absl::StrCat("certificate: '", text, "'"));
    }
    const std::optional<TokenHash> hash = ParseHash(text);
    if (!hash.has_value()) {
      return yaml_.Wrong(value,
                         "token_sha256: is not the SHA-256 of a token, 64 hexadecimal digits");
    }
    identity.tokens.push_back(*hash);
    return NoteFirst(value, absl::StrCat("token_sha256: ", text.substr(0, 8), "..."));
  }

  // What tells one from another is there but once.
  absl::Status NoteFirst(const YAML::Node& node, const std::string& what) {
    const auto [first, is_first] = lines_.try_emplace(what, YamlReader::Line(node));
    if (is_first) return absl::OkStatus();
    return yaml_.Wrong(node, absl::StrCat(what, " was given already, at line ", first->second));
  }

  const YamlReader yaml_;
  absl::flat_hash_map<std::string, int> lines_;  // where each thing was given
};

absl::StatusOr<std::vector<IdentityPtr>> ReadIdentities(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return text.status();
  return ParseIdentities(*text, path);
}

bool IsSame(const Identity& a, const Identity& b) {
  return a.name == b.name && a.role == b.role && a.tokens == b.tokens &&
         a.certificates == b.certificates && a.services == b.services &&
         a.quorum_share.workers == b.quorum_share.workers;
}

}  // namespace

const char* Name(Role role) {
  switch (role) {
    case Role::kWorker:
      return "worker";
    case Role::kViewer:
      return "viewer";
    case Role::kOperator:
      return "operator";
  }
  return "";
}

TokenHash HashToken(absl::string_view token) {
  TokenHash hash;
  SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(), hash.data());
  return hash;
}

bool Identity::MayName(absl::string_view service) const {
  return services.empty() ||
         std::any_of(services.begin(), services.end(),
                     [&](const std::string& prefix) { return absl::StartsWith(service, prefix); });
}

absl::StatusOr<std::vector<IdentityPtr>> ParseIdentities(const std::string& text,
                                                         absl::string_view name) {
  return Reader(name).Read(text);
}

bool Identities::Replace(const std::vector<IdentityPtr>& identities) {
  auto table = std::make_shared<Table>();
  table->all = identities;
  std::vector<IdentityPtr> before;
  bool changed = false;
  {
    MutexLock lock(&mu_);
    before = table_->all;
    for (IdentityPtr& identity : table->all) {
      const auto same = std::find_if(before.begin(), before.end(), [&](const IdentityPtr& old) {
        return IsSame(*old, *identity);
      });
      if (same == before.end()) {
        changed = true;
        continue;
      }
      identity = *same;
      before.erase(same);
    }
    for (const IdentityPtr& identity : table->all) {
      for (const TokenHash& token : identity->tokens) table->by_token[token] = identity;
      for (const std::string& name : identity->certificates) table->by_certificate[name] = identity;
    }
    table_ = std::move(table);
  }
  for (const IdentityPtr& gone : before) gone->revoked = true;
  return changed || !before.empty();
}

absl::StatusOr<size_t> Identities::Load(const std::string& path) {
  const absl::StatusOr<std::vector<IdentityPtr>> identities = ReadIdentities(path);
  if (!identities.ok()) return identities.status();
  Replace(*identities);
  return identities->size();
}

void Identities::Reload(const std::string& path, bool asked) {
  const absl::StatusOr<std::vector<IdentityPtr>> identities = ReadIdentities(path);
  if (!identities.ok()) {
    Log(LogLevel::kError, "identities_not_loaded", {{"reason", identities.status().message()}});
  } else if (Replace(*identities) || asked) {
    Log(LogLevel::kInfo, "identities_loaded",
        {{"file", path}, {"count", absl::StrCat(identities->size())}});
  }
}

std::shared_ptr<const Identities::Table> Identities::Current() const {
  MutexLock lock(&mu_);
  return table_;
}

IdentityPtr Identities::FindByToken(absl::string_view token) const {
  const TokenHash hash = HashToken(token);
  const std::shared_ptr<const Table> table = Current();
  const auto found = table->by_token.find(hash);
  if (found == table->by_token.end() ||
      CRYPTO_memcmp(found->first.data(), hash.data(), hash.size()) != 0) {
    return nullptr;
  }
  return found->second;
}

IdentityPtr Identities::FindByCertificate(absl::string_view name) const {
  const std::shared_ptr<const Table> table = Current();
  const auto found = table->by_certificate.find(name);
  return found == table->by_certificate.end() ? nullptr : found->second;
}

}  // namespace breaker::server
