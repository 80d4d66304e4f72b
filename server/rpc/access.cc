#include "server/rpc/access.h"

#include <grpc/grpc_security_constants.h>

#include <algorithm>
#include <array>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace breaker::server {
namespace {

// What each role may call; an operator may call everything.
constexpr std::array<absl::string_view, 6> kOfWorkers = {"Acquire",  "Report",    "ReportBatch",
                                                         "GetStats", "ListStats", "Watch"};
constexpr std::array<absl::string_view, 3> kOfViewers = {"GetStats", "ListStats", "Watch"};

bool MayCall(Role role, absl::string_view rpc) {
  switch (role) {
    case Role::kWorker:
      return std::find(kOfWorkers.begin(), kOfWorkers.end(), rpc) != kOfWorkers.end();
    case Role::kViewer:
      return std::find(kOfViewers.begin(), kOfViewers.end(), rpc) != kOfViewers.end();
    case Role::kOperator:
      return true;
  }
  return false;
}

absl::string_view View(grpc::string_ref text) { return {text.data(), text.size()}; }

}  // namespace

absl::Status Caller::CheckService(absl::string_view service) const {
  if (MayName(service)) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat("service: \"", service, "\" is not for ",
                                                  identity_->name, ", whose services begin with ",
                                                  absl::StrJoin(identity_->services, ", ")));
}

absl::string_view Caller::WorkerName(absl::string_view worker_id, std::string* storage) const {
  if (identity_ == nullptr) return worker_id;
  *storage = absl::StrCat(identity_->name, "/", worker_id);
  return *storage;
}

absl::StatusOr<Caller> Access::Admit(const grpc::ServerContextBase& context,
                                     absl::string_view rpc) const {
  if (identities_ == nullptr) return Caller();
  absl::StatusOr<IdentityPtr> identity = Identify(context);
  if (!identity.ok()) return identity.status();
  if (!MayCall((*identity)->role, rpc)) {
    return absl::PermissionDeniedError(absl::StrCat(rpc, " is not for ", (*identity)->name,
                                                    ", whose role is ", Name((*identity)->role)));
  }
  return Caller(*std::move(identity));
}

absl::StatusOr<IdentityPtr> Access::Identify(const grpc::ServerContextBase& context) const {
  const auto& metadata = context.client_metadata();
  if (const auto header = metadata.find("authorization"); header != metadata.end()) {
    constexpr absl::string_view kScheme = "Bearer ";
    absl::string_view token = View(header->second);
    if (!absl::StartsWithIgnoreCase(token, kScheme)) {
      return absl::UnauthenticatedError("authorization: is not \"Bearer TOKEN\"");
    }
    IdentityPtr identity = identities_->FindByToken(token.substr(kScheme.size()));
    if (identity == nullptr) {
      return absl::UnauthenticatedError("authorization: the token is not one that is known");
    }
    return identity;
  }
  const std::shared_ptr<const grpc::AuthContext> peer = context.auth_context();
  bool has_certificate = false;
  if (peer != nullptr) {
    for (const char* property : {GRPC_X509_SAN_PROPERTY_NAME, GRPC_X509_CN_PROPERTY_NAME}) {
      for (const grpc::string_ref& name : peer->FindPropertyValues(property)) {
        has_certificate = true;
        IdentityPtr identity = identities_->FindByCertificate(View(name));
        if (identity != nullptr) return identity;
      }
    }
  }
  if (has_certificate) {
    return absl::UnauthenticatedError(
        "the certificate has no name that is known, and no token came");
  }
  return absl::UnauthenticatedError(
      "neither a token (authorization: Bearer TOKEN) nor a certificate says who calls");
}

}  // namespace breaker::server
