#ifndef BREAKER_OPERATIONS_H_
#define BREAKER_OPERATIONS_H_

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/clock.h"
#include "server/engine/key.h"
#include "server/engine/mutex.h"
#include "server/engine/policy.h"
#include "server/engine/registry.h"
#include "server/publisher.h"
#include "server/store/store_writer.h"

namespace breaker::server {

// What operators do, by whatever way they ask. What they change is in effect when the registry has
// it; it is stored, then those who watch hear of it, then `done` or `answer` is called: once, by
// any thread, with what came of it; neither may block. Errors are those of the registry.
// Thread-safe.
class Operations {
 public:
  using Done = absl::AnyInvocable<void(absl::Status) &&>;
  using Answer = absl::AnyInvocable<void(absl::StatusOr<BreakerStats>) &&>;

  // None is owned; all must outlive this.
  Operations(Registry* registry, StoreWriter* writer, Publisher* publisher)
      : registry_(registry), writer_(writer), publisher_(publisher) {}

  // The key may be (service, "*") or ("*", "*").
  void SetPolicy(const Key& key, const Policy& policy, Instant now, Done done)
      ABSL_LOCKS_EXCLUDED(policies_mu_);
  void DeletePolicy(const KeyView& key, Instant now, Done done) ABSL_LOCKS_EXCLUDED(policies_mu_);

  void SetOverride(const KeyView& key, const Override& override, Instant now, Answer answer);
  void ClearOverride(const KeyView& key, Instant now, Answer answer);
  void Reset(const KeyView& key, Instant now, Answer answer);
  void Delete(const KeyView& key, Done done);

 private:
  void Finish(absl::StatusOr<BreakerStats> stats, Changes changes, Answer answer);

  Registry* const registry_;
  StoreWriter* const writer_;
  Publisher* const publisher_;

  // Held from a change of a policy until the writer has it, so that the last one in memory is the
  // last one stored. Before the registry's and the writer's.
  Mutex policies_mu_;
};

}  // namespace breaker::server

#endif  // BREAKER_OPERATIONS_H_
