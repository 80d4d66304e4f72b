#ifndef BREAKER_ENGINE_PERMIT_IDS_H_
#define BREAKER_ENGINE_PERMIT_IDS_H_

#include <atomic>
#include <cstdint>

namespace breaker::server {

// What makes permit ids unique across restarts of one daemon. Stored with its state.
struct PermitEpoch {
  uint64_t secret = 0;  // random, drawn once for a database
  uint32_t number = 0;  // grows by one with every start; below 2^20
};

// Gives out permit ids: never 0, never the same one twice (2^44 a run, 2^20 runs), and spread over
// all 64 bits by a permutation that depends on the secret, so that a wrong id of one worker hardly
// ever is a right id of another. Thread-safe.
class PermitIds {
 public:
  explicit PermitIds(PermitEpoch epoch)
      : secret_(epoch.secret), next_((uint64_t{epoch.number} << kRunBits) + 1) {}

  uint64_t Next() {
    const uint64_t id = Permute(next_.fetch_add(1, std::memory_order_relaxed));
    return id != 0 ? id : Next();
  }

 private:
  static constexpr int kRunBits = 44;

  // The finaliser of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
  // generators", OOPSLA 2014), which is a bijection, with the secret mixed in before and halfway.
  uint64_t Permute(uint64_t x) const {
    x += secret_;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x ^= secret_;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
  }

  const uint64_t secret_;
  std::atomic<uint64_t> next_;
};

}  // namespace breaker::server

#endif  // BREAKER_ENGINE_PERMIT_IDS_H_
