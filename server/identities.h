#ifndef BREAKER_IDENTITIES_H_
#define BREAKER_IDENTITIES_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/engine/mutex.h"
#include "server/engine/quorum_share.h"

namespace breaker::server {

// What an identity may do: a worker what workers call, a viewer look, an operator everything.
enum class Role { kWorker, kViewer, kOperator };

// "worker", "viewer" or "operator".
const char* Name(Role role);

// Of a token. Tokens are long and random, so that a hash without salt or stretching is enough, and
// one look-up finds whose it is.
using TokenHash = std::array<uint8_t, 32>;
TokenHash HashToken(absl::string_view token);

// Somebody whom the identities file names. Immutable but for what is atomic.
struct Identity {
  std::string name;
  Role role = Role::kWorker;
  std::vector<TokenHash> tokens;
  std::vector<std::string> certificates;  // alternative names or common names
  std::vector<std::string> services;      // prefixes of those it may name; empty = all
  QuorumShare quorum_share;
  // The file has it no longer, or has it changed: what lasts must end.
  mutable std::atomic<bool> revoked{false};

  bool MayName(absl::string_view service) const;
};
using IdentityPtr = std::shared_ptr<const Identity>;

// Reads such a file, in YAML:
//
//   identities:
//     - name: chat-workers       # 1 to 64 letters, digits and . _ @ : -
//       role: worker             # worker, viewer or operator
//       token_sha256: [HEX]      # of the token; one or a list
//       certificate: [NAME]      # a DNS name, URI or common name of a certificate; one or a list
//       services: [chat]         # prefixes; may be left out = every service
//       workers: 16              # may be left out = 1
//
// INVALID_ARGUMENT says at which line of `name` (the file's) what is wrong. No two identities share
// a name, a token or a certificate.
absl::StatusOr<std::vector<IdentityPtr>> ParseIdentities(const std::string& text,
                                                         absl::string_view name);

// Who is known now. Thread-safe.
class Identities {
 public:
  // Takes the place of all that were known. Those that are the same as before stay who they were;
  // of all others `revoked` is set.
  // Gives whether anybody is not who they were.
  bool Replace(const std::vector<IdentityPtr>& identities) ABSL_LOCKS_EXCLUDED(mu_);

  // Reads a file and puts it in effect; after an error nothing changes. Gives how many there are.
  absl::StatusOr<size_t> Load(const std::string& path) ABSL_LOCKS_EXCLUDED(mu_);

  // The same of a file that may have changed, with a line of the log where it has, is wrong or
  // somebody has `asked`.
  void Reload(const std::string& path, bool asked) ABSL_LOCKS_EXCLUDED(mu_);

  // Null if nobody has that token. What this takes says nothing of the tokens that there are: they
  // are looked up by their hashes.
  IdentityPtr FindByToken(absl::string_view token) const ABSL_LOCKS_EXCLUDED(mu_);
  // Null if nobody is known by that name of a certificate.
  IdentityPtr FindByCertificate(absl::string_view name) const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Table {
    std::vector<IdentityPtr> all;
    absl::flat_hash_map<TokenHash, IdentityPtr> by_token;
    absl::flat_hash_map<std::string, IdentityPtr> by_certificate;
  };
  std::shared_ptr<const Table> Current() const ABSL_LOCKS_EXCLUDED(mu_);

  mutable Mutex mu_;
  std::shared_ptr<const Table> table_ ABSL_GUARDED_BY(mu_) = std::make_shared<Table>();
};

}  // namespace breaker::server

#endif  // BREAKER_IDENTITIES_H_
