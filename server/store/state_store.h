#ifndef BREAKER_STORE_STATE_STORE_H_
#define BREAKER_STORE_STATE_STORE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/clock.h"
#include "server/engine/key.h"
#include "server/engine/permit_ids.h"
#include "server/engine/policy.h"
#include "server/engine/sessions.h"
#include "server/engine/snapshot.h"
#include "server/store/checkpoint.h"

namespace breaker::server {

// A policy that an operator has set for a key, which may be (service, "*") or ("*", "*").
struct StoredPolicy {
  Key key;
  Policy policy;
  WallTime updated_at;

  friend bool operator==(const StoredPolicy&, const StoredPolicy&) = default;
};

// Changes that are stored together. nullopt erases what is stored for the key, if anything is.
struct StoreBatch {
  std::vector<std::pair<Key, std::optional<BreakerSnapshot>>> breakers = {};
  std::vector<std::pair<Key, std::optional<StoredPolicy>>> policies = {};
  std::vector<SessionMark> sessions = {};
  std::vector<uint64_t> forgotten_sessions = {};
};

// Takes what is loaded.
struct StoreReader {
  absl::FunctionRef<void(BreakerSnapshot)> breaker;
  absl::FunctionRef<void(StoredPolicy)> policy;
  absl::FunctionRef<void(SessionMark)> session;
};

// Where breakers, operators' policies and the marks of sessions outlive the daemon. Memory stays
// the authority: what is here is read once, after Open, and from then on only written.
//
// Not thread-safe: one thread at a time.
class StateStore {
 public:
  virtual ~StateStore() = default;

  // Opens the store; once it is open, closes it and opens it anew, as is due after a call that
  // failed. Each Open that succeeds has stored the next epoch (numbers go round at 2^20) so that it
  // survives a crash of the machine, and returns it. Another secret than that of an earlier Open
  // means that this is another store, which holds nothing.
  //
  // FAILED_PRECONDITION: the store is in use by someone else or too new for this build; opening it
  // again is of no use. UNAVAILABLE: the disk does not work now; it may later.
  virtual absl::StatusOr<PermitEpoch> Open() = 0;

  // Hands over everything that is stored: sessions, then policies, then breakers. A
  // record that cannot be read is logged with its key, left where it is and skipped.
  //
  // DATA_LOSS: the store is corrupt, and what was handed over is all that can be had of it. The
  // next Open puts it aside and begins an empty one. UNAVAILABLE: it is not open or the disk does
  // not work now.
  virtual absl::Status Load(const StoreReader& reader) = 0;

  // Stores all of `batch` or nothing. When it returns OK, the batch survives the end of this
  // process, however it comes; whether also that of the machine is the implementation's to say.
  // After an error nothing can be written until Open has succeeded again.
  virtual absl::Status Write(const StoreBatch& batch) = 0;

  // Copies all that was written so far. UNAVAILABLE: the store is not open or the disk does not
  // work now. UNIMPLEMENTED: it is none that is kept in files.
  virtual absl::StatusOr<std::unique_ptr<Checkpoint>> MakeCheckpoint() = 0;
};

}  // namespace breaker::server

#endif  // BREAKER_STORE_STATE_STORE_H_
