#include "server/engine/sliding_window.h"

#include <algorithm>
#include <limits>

namespace breaker {
namespace {

// Adds what still fits below 2^32 to both, so that the sum over the ring stays the sum.
void AddSaturating(uint32_t amount, uint32_t& bucket, uint32_t& sum) {
  const uint32_t room = std::numeric_limits<uint32_t>::max() - sum;
  const uint32_t added = std::min(amount, room);
  bucket += added;
  sum += added;
}

}  // namespace

SlidingWindow::SlidingWindow(absl::Duration length)
    : width_(absl::ToInt64Nanoseconds(length) / kBuckets) {}

void SlidingWindow::Advance(MonotonicTime now) {
  if (ring_ == nullptr) return;
  const int64_t passed = now.nanos() - start_.nanos();
  if (passed < width_) return;
  const int64_t steps = passed / width_;
  for (int64_t i = 1; i <= std::min<int64_t>(steps, kBuckets); ++i) {
    CallCounts& oldest = at(newest_ + i);
    counts_.successes -= oldest.successes;
    counts_.failures -= oldest.failures;
    counts_.slow -= oldest.slow;
    oldest = CallCounts{};
  }
  newest_ += steps;
  start_ = MonotonicTime::FromNanos(start_.nanos() + steps * width_);
}

void SlidingWindow::Record(const CallCounts& calls, MonotonicTime now) {
  if (ring_ == nullptr) {
    ring_ = std::make_unique<Ring>();
    start_ = now;
  }
  Add(calls, at(newest_));
}

void SlidingWindow::Add(const CallCounts& calls, CallCounts& bucket) {
  AddSaturating(calls.successes, bucket.successes, counts_.successes);
  AddSaturating(calls.failures, bucket.failures, counts_.failures);
  AddSaturating(calls.slow, bucket.slow, counts_.slow);
}

std::vector<SlidingWindow::Bucket> SlidingWindow::Save() const {
  std::vector<Bucket> buckets;
  if (ring_ == nullptr) return buckets;
  for (int64_t age = kBuckets - 1; age >= 0; --age) {
    if (age > newest_) continue;
    const CallCounts& counts = (*ring_)[static_cast<size_t>((newest_ - age) % kBuckets)];
    if (counts == CallCounts{}) continue;
    buckets.push_back({MonotonicTime::FromNanos(start_.nanos() - age * width_), counts});
  }
  return buckets;
}

void SlidingWindow::Restore(const std::vector<Bucket>& buckets, MonotonicTime now) {
  if (buckets.empty()) return;
  ring_ = std::make_unique<Ring>();
  start_ = std::min(buckets.back().start, now);
  newest_ = kBuckets - 1;
  for (const Bucket& bucket : buckets) {
    const int64_t age = (start_.nanos() - bucket.start.nanos() + width_ / 2) / width_;
    if (age >= kBuckets) continue;
    Add(bucket.counts, at(newest_ - std::max<int64_t>(age, 0)));
  }
  Advance(now);
}

}  // namespace breaker
