#include "server/engine/sliding_window.h"

#include <algorithm>
#include <utility>

namespace breaker::server {
namespace {

// Adds what still fits below 2^32 to both, so that the sum over the ring stays the sum.
void AddToBoth(uint32_t amount, uint32_t& bucket, uint32_t& sum) {
  const uint32_t more = AddSaturating(sum, amount);
  bucket += more - sum;
  sum = more;
}

}  // namespace

SlidingWindow::SlidingWindow(absl::Duration length)
    : width_(absl::ToInt64Nanoseconds(length) / kBuckets) {}

void SlidingWindow::Advance(MonotonicTime now) {
  if (!started_) return;
  const int64_t passed = now.nanos() - start_.nanos();
  if (passed < width_) return;
  at(newest_) = std::exchange(current_, CallCounts{});
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
  if (!started_) {
    started_ = true;
    start_ = now;
  }
  Add(calls, current_);
}

void SlidingWindow::Add(const CallCounts& calls, CallCounts& bucket) {
  AddToBoth(calls.successes, bucket.successes, counts_.successes);
  AddToBoth(calls.failures, bucket.failures, counts_.failures);
  AddToBoth(calls.slow, bucket.slow, counts_.slow);
}

MonotonicTime SlidingWindow::StartOf(int64_t bucket) const {
  return MonotonicTime::FromNanos(start_.nanos() - (newest_ - bucket) * width_);
}

int64_t SlidingWindow::BucketStartingAt(MonotonicTime t) const {
  if (t >= start_) return newest_;
  const int64_t age = (start_.nanos() - t.nanos() + width_ / 2) / width_;
  return std::max<int64_t>(0, newest_ - age);
}

std::vector<SlidingWindow::Bucket> SlidingWindow::Save() const {
  std::vector<Bucket> buckets;
  for (int64_t bucket = std::max<int64_t>(0, newest_ - kBuckets + 1); bucket <= newest_; ++bucket) {
    const CallCounts& counts =
        bucket == newest_ ? current_ : ring_[static_cast<size_t>(bucket % kBuckets)];
    if (counts != CallCounts{}) buckets.push_back({StartOf(bucket), counts});
  }
  return buckets;
}

void SlidingWindow::Restore(const std::vector<Bucket>& buckets, MonotonicTime now) {
  if (buckets.empty()) return;
  started_ = true;
  newest_ = kBuckets;  // so that number 0 is out of the window
  start_ = buckets.back().start;
  for (const Bucket& bucket : buckets) {
    const int64_t number = BucketStartingAt(bucket.start);
    if (number > newest_ - kBuckets) Add(bucket.counts, number == newest_ ? current_ : at(number));
  }
  Advance(now);
}

}  // namespace breaker::server
