#ifndef BREAKER_ENGINE_ADMISSION_H_
#define BREAKER_ENGINE_ADMISSION_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/engine/clock.h"
#include "server/engine/key.h"

namespace breaker::server {

// On whose account breakers are, as a number of the Admission's. kNobody: of those that an operator
// or an earlier run has created.
using Account = uint32_t;
inline constexpr Account kNobody = 0;

// Who makes a call that may create breakers. Asked only where one does.
class Creator {
 public:
  virtual ~Creator() = default;
  // What it calls itself.
  virtual absl::string_view worker_id() const = 0;
  // Who it is, as far as that is not for itself to choose.
  virtual std::string source() const = 0;
};

// Decides who may create a breaker. Its calls come with the mutex of a shard held, from any thread.
class Admission {
 public:
  virtual ~Admission() = default;

  // Whether the creator may create one more, where there is room for `free` more. Gives the account
  // that it is on until Gone, or says why not.
  virtual absl::StatusOr<Account> Admit(const Creator& creator, const KeyView& key, size_t free,
                                        Instant now) = 0;

  // A breaker on that account is no more.
  virtual void Gone(Account account) = 0;
};

}  // namespace breaker::server

#endif  // BREAKER_ENGINE_ADMISSION_H_
