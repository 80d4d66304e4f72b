#ifndef BREAKER_OPERATIONS_H_
#define BREAKER_OPERATIONS_H_

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/audit.h"
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
// any thread, with what came of it; neither may block. Errors are those of the registry. Each act
// is a line of the log, with who, what, before and after. Thread-safe.
class Operations {
 public:
  using Done = absl::AnyInvocable<void(absl::Status) &&>;
  using Answer = absl::AnyInvocable<void(absl::StatusOr<BreakerStats>) &&>;

  // None is owned; all must outlive this.
  Operations(Registry* registry, StoreWriter* writer, Publisher* publisher)
      : registry_(registry), writer_(writer), publisher_(publisher) {}

  // The key may be (service, "*") or ("*", "*").
  void SetPolicy(const Actor& actor, const Key& key, const Policy& policy, Instant now, Done done)
      ABSL_LOCKS_EXCLUDED(mu_);
  void DeletePolicy(const Actor& actor, const KeyView& key, Instant now, Done done)
      ABSL_LOCKS_EXCLUDED(mu_);

  void SetOverride(const Actor& actor, const KeyView& key, const Override& override, Instant now,
                   Answer answer) ABSL_LOCKS_EXCLUDED(mu_);
  void ClearOverride(const Actor& actor, const KeyView& key, Instant now, Answer answer)
      ABSL_LOCKS_EXCLUDED(mu_);
  void Reset(const Actor& actor, const KeyView& key, Instant now, Answer answer)
      ABSL_LOCKS_EXCLUDED(mu_);
  void Delete(const Actor& actor, const KeyView& key, Instant now, Done done)
      ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // Runs act(Changes*) -> absl::StatusOr<BreakerStats> on a breaker, and answers with what it
  // gives.
  template <typename Act>
  void Run(const Actor& actor, absl::string_view action, const KeyView& key, Instant now,
           Answer answer, Act act) ABSL_LOCKS_EXCLUDED(mu_);

  // "none" if there is nothing by that name.
  std::string DescribeBreaker(const KeyView& key, Instant now, Changes* changes);
  std::string DescribePolicy(const KeyView& key);

  Registry* const registry_;
  StoreWriter* const writer_;
  Publisher* const publisher_;

  // Held during an act, so that what was before it is not another's; and from a change of a policy
  // until the writer has it, so that the last one in memory is the last one stored. Before the
  // registry's and the writer's.
  Mutex mu_;
};

}  // namespace breaker::server

#endif  // BREAKER_OPERATIONS_H_
