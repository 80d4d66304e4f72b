#include "server/store/record_codec.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/store/record.pb.h"
#include "tests/support/samples.h"
#include "tests/support/status_matchers.h"

namespace breaker::server {
namespace {

using testing::HasSubstr;

const Key kKey("db", "query");

TEST(RecordCodecTest, FullSnapshotMakesTheRoundTrip) {
  const BreakerSnapshot snapshot = FullSnapshot(kKey);
  const absl::StatusOr<BreakerSnapshot> decoded = DecodeBreaker(kKey, EncodeBreaker(snapshot));
  ASSERT_THAT(decoded, IsOk());
  EXPECT_TRUE(*decoded == snapshot);
}

TEST(RecordCodecTest, NewBreakerMakesTheRoundTripInSixBytes) {
  const BreakerSnapshot snapshot = NewSnapshot(kKey);
  const std::string bytes = EncodeBreaker(snapshot);
  EXPECT_EQ(bytes.size(), 6);
  const absl::StatusOr<BreakerSnapshot> decoded = DecodeBreaker(kKey, bytes);
  ASSERT_THAT(decoded, IsOk());
  EXPECT_TRUE(*decoded == snapshot);
}

TEST(RecordCodecTest, PoliciesMakeTheRoundTrip) {
  for (const Policy& policy : {UnusualPolicy(), Policy()}) {
    const StoredPolicy stored{kKey, policy, At(1)};
    const absl::StatusOr<StoredPolicy> decoded = DecodePolicy(kKey, EncodePolicy(stored));
    ASSERT_THAT(decoded, IsOk());
    EXPECT_TRUE(*decoded == stored);
  }
}

TEST(RecordCodecTest, EpochMakesTheRoundTrip) {
  const absl::StatusOr<PermitEpoch> decoded = DecodeEpoch(EncodeEpoch({~uint64_t{0}, 77}));
  ASSERT_THAT(decoded, IsOk());
  EXPECT_EQ(decoded->secret, ~uint64_t{0});
  EXPECT_EQ(decoded->number, 77);
}

TEST(RecordCodecTest, NewerVersionIsRefused) {
  store::BreakerRecord record;
  record.set_version(kRecordVersion + 1);
  record.set_state(store::BreakerRecord::OPEN);
  EXPECT_THAT(DecodeBreaker(kKey, record.SerializeAsString()),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("version 2")));
}

TEST(RecordCodecTest, GarbageIsRefused) {
  std::string noise = EncodeBreaker(FullSnapshot(kKey));
  noise.resize(noise.size() - 3);
  for (const std::string& bytes : {std::string(), std::string("garbage"), noise}) {
    EXPECT_THAT(DecodeBreaker(kKey, bytes), StatusIs(absl::StatusCode::kDataLoss));
    EXPECT_THAT(DecodePolicy(kKey, bytes), StatusIs(absl::StatusCode::kDataLoss));
    EXPECT_THAT(DecodeEpoch(bytes), StatusIs(absl::StatusCode::kDataLoss));
  }
}

// What the engine takes for granted is checked: a record is refused that has `change` made to it.
void ExpectDamaged(void (*change)(store::BreakerRecord&), const std::string& field) {
  store::BreakerRecord record;
  ASSERT_TRUE(record.ParseFromString(EncodeBreaker(FullSnapshot(kKey))));
  change(record);
  EXPECT_THAT(DecodeBreaker(kKey, record.SerializeAsString()),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr(field)));
}

TEST(RecordCodecTest, NumbersThatMeanNothingAreRefused) {
  using store::BreakerRecord;
  ExpectDamaged([](auto& r) { r.set_state(static_cast<BreakerRecord::State>(4)); }, "state");
  ExpectDamaged([](auto& r) { r.clear_state(); }, "state");
  ExpectDamaged([](auto& r) { r.mutable_transitions(1)->clear_from(); }, "transition.state");
  ExpectDamaged([](auto& r) { r.mutable_transitions(1)->clear_to(); }, "transition.state");
  ExpectDamaged(
      [](auto& r) {
        r.mutable_transitions(0)->set_cause(static_cast<BreakerRecord::Transition::Cause>(11));
      },
      "transition.cause");
  ExpectDamaged([](auto& r) { r.mutable_override()->clear_mode(); }, "override.mode");
  ExpectDamaged([](auto& r) { r.mutable_worker_policy()->clear_failure_counting(); },
                "policy.failure_counting");
  ExpectDamaged([](auto& r) { r.mutable_worker_policy()->set_recovery_jitter(1); },
                "recovery_jitter");
}

}  // namespace
}  // namespace breaker::server
