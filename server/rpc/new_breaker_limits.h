#ifndef BREAKER_RPC_NEW_BREAKER_LIMITS_H_
#define BREAKER_RPC_NEW_BREAKER_LIMITS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/engine/admission.h"
#include "server/engine/mutex.h"
#include "server/rpc/limit_refusals.h"

namespace breaker::server {

// Keeps one noisy worker from filling the daemon with breakers.
//
// A worker may create so many at once, and as many again over each minute. Workers invent their
// ids, so what a source has created is bounded too: it may have no more breakers than there is room
// for others'. Alone it can take half of all, two sources a third each, and however many there are,
// and however long they go on, some room is left for the next one. What came before a restart is on
// nobody's account and only makes the room smaller.
//
// Thread-safe.
class NewBreakerLimits : public Admission {
 public:
  struct Options {
    size_t per_minute = 1000;  // of one worker; 0 = no limit
    size_t max_breakers = 0;   // of all, for words
  };

  // Workers that are known to have created breakers lately, at most; any others share one
  // allowance.
  static constexpr size_t kMaxWorkers = 100'000;

  // `refusals` is not owned and must outlive this.
  NewBreakerLimits(const Options& options, LimitRefusals* refusals);

  absl::StatusOr<Account> Admit(const Creator& creator, const KeyView& key, size_t free,
                                Instant now) override ABSL_LOCKS_EXCLUDED(mu_);
  void Gone(Account account) override ABSL_LOCKS_EXCLUDED(mu_);

  size_t workers() const ABSL_LOCKS_EXCLUDED(mu_);
  size_t sources() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // What a worker may still create, as of a time; it grows from there.
  struct Allowance {
    double breakers;
    MonotonicTime at;
  };
  struct OfSource {
    std::string source;
    size_t breakers = 0;
  };

  // Takes one of what the worker may create, if there is one.
  bool Spend(const std::string& source, absl::string_view worker_id, MonotonicTime now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Allowance& AllowanceOf(uint64_t worker, MonotonicTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  double Left(const Allowance& allowance, MonotonicTime now) const;
  Account AccountOf(const std::string& source) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  LimitRefusals* const refusals_;

  mutable Mutex mu_;
  // By hash of source and worker_id. One that is not here may create all that a worker may.
  absl::flat_hash_map<uint64_t, Allowance> workers_ ABSL_GUARDED_BY(mu_);
  Allowance others_ ABSL_GUARDED_BY(mu_);
  MonotonicTime next_purge_ ABSL_GUARDED_BY(mu_);
  // By account; kNobody's is not used.
  std::vector<OfSource> accounts_ ABSL_GUARDED_BY(mu_);
  std::vector<Account> unused_accounts_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<std::string, Account> account_of_ ABSL_GUARDED_BY(mu_);
};

}  // namespace breaker::server

#endif  // BREAKER_RPC_NEW_BREAKER_LIMITS_H_
