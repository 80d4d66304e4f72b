#ifndef BREAKER_RPC_ACCESS_H_
#define BREAKER_RPC_ACCESS_H_

#include <grpcpp/grpcpp.h>

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/identities.h"

namespace breaker::server {

// Who makes a call, and what they may name. Cheap to copy.
class Caller {
 public:
  // Somebody, where nobody is asked who they are: they may do everything.
  Caller() = default;
  explicit Caller(IdentityPtr identity) : identity_(std::move(identity)) {}

  // PERMISSION_DENIED if the caller may not name this service.
  absl::Status CheckService(absl::string_view service) const;
  bool MayName(absl::string_view service) const {
    return identity_ == nullptr || identity_->MayName(service);
  }

  // A worker's name in the engine: its worker_id, within the identity if there is one, so that
  // nobody can take another's. `storage` holds it where it has to be made.
  absl::string_view WorkerName(absl::string_view worker_id, std::string* storage) const;

  // How many workers of this identity count for a quorum; null = all.
  const QuorumShare* quorum_share() const {
    return identity_ == nullptr ? nullptr : &identity_->quorum_share;
  }

  // Only looks: must not create breakers nor bring policies.
  bool is_viewer() const { return identity_ != nullptr && identity_->role == Role::kViewer; }
  // What lasts must end.
  bool revoked() const { return identity_ != nullptr && identity_->revoked; }

  // Empty if nobody is asked.
  absl::string_view name() const {
    return identity_ == nullptr ? absl::string_view() : absl::string_view(identity_->name);
  }

 private:
  IdentityPtr identity_;
};

// Whether calls are let in. Thread-safe.
class Access {
 public:
  // `identities` null = everybody may do everything. Not owned; must outlive this.
  explicit Access(const Identities* identities) : identities_(identities) {}

  // Who calls `rpc`, by its name in the contract: by the token, else by the certificate.
  // UNAUTHENTICATED if that is nobody who is known, PERMISSION_DENIED if their role has no right to
  // it.
  absl::StatusOr<Caller> Admit(const grpc::ServerContextBase& context, absl::string_view rpc) const;

 private:
  absl::StatusOr<IdentityPtr> Identify(const grpc::ServerContextBase& context) const;

  const Identities* const identities_;
};

}  // namespace breaker::server

#endif  // BREAKER_RPC_ACCESS_H_
