#include "client/cpp/src/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "google/protobuf/util/message_differencer.h"

namespace breaker {
namespace {

using ::google::protobuf::util::MessageDifferencer;
using internal::FromProto;
using internal::ToEngine;
using internal::ToProto;

Policy FullPolicy() {
  return {.failure_threshold = 1,
          .recovery_timeout = absl::Seconds(2),
          .expected_response_time = absl::Milliseconds(1500),
          .monitoring_window = absl::Seconds(4),
          .minimum_request_count = 5,
          .failure_counting = Policy::FailureCounting::kWindowed,
          .failure_rate_threshold = 0.7,
          .slow_call_rate_threshold = 0.8,
          .slow_calls_are_failures = true,
          .half_open_max_probes = 10,
          .half_open_success_threshold = 11,
          .permit_timeout = absl::Seconds(12),
          .recovery_backoff_multiplier = 1.3,
          .max_recovery_timeout = absl::Seconds(14),
          .recovery_jitter = 0.15,
          .minimum_failing_workers = 16,
          .recovery_ramp = absl::Seconds(17),
          .shadow = true};
}

TEST(PolicyConversionTest, LeavesUnsetFieldsUnset) {
  EXPECT_EQ(ToProto(Policy{}).ByteSizeLong(), 0);
}

TEST(PolicyConversionTest, CarriesAnExplicitZero) {
  const v1::Policy proto = ToProto(Policy{.failure_threshold = 0});
  EXPECT_TRUE(proto.has_failure_threshold());
  EXPECT_EQ(proto.failure_threshold(), 0);
}

// Reads every field of the contract by reflection, so that a new one is not forgotten here.
TEST(PolicyConversionTest, CarriesEveryFieldOfTheContract) {
  const v1::Policy proto = ToProto(FullPolicy());
  const auto* descriptor = v1::Policy::descriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    EXPECT_TRUE(proto.GetReflection()->HasField(proto, descriptor->field(i)))
        << descriptor->field(i)->name();
  }
}

TEST(PolicyConversionTest, KeepsEveryValueThereAndBack) {
  const v1::Policy proto = ToProto(FullPolicy());
  EXPECT_EQ(proto.failure_threshold(), 1);
  EXPECT_EQ(proto.expected_response_time().seconds(), 1);
  EXPECT_EQ(proto.expected_response_time().nanos(), 500'000'000);
  EXPECT_EQ(proto.failure_counting(), v1::Policy::WINDOWED);
  EXPECT_EQ(proto.recovery_ramp().seconds(), 17);
  EXPECT_TRUE(MessageDifferencer::Equals(ToProto(FromProto(proto)), proto));
}

TEST(DurationConversionTest, BoundsWhatAMessageCannotHold) {
  EXPECT_EQ(ToProto(absl::InfiniteDuration()).seconds(), 315'576'000'000);
  EXPECT_EQ(ToProto(-absl::InfiniteDuration()).seconds(), -315'576'000'000);
}

TEST(DurationConversionTest, GivesSecondsAndNanosOneSign) {
  const google::protobuf::Duration proto = ToProto(-absl::Milliseconds(1500));
  EXPECT_EQ(proto.seconds(), -1);
  EXPECT_EQ(proto.nanos(), -500'000'000);
}

TEST(StatsConversionTest, CarriesCountsTimesAndHistory) {
  v1::CircuitStats proto;
  proto.set_service("db");
  proto.set_operation("query");
  proto.set_state(v1::OPEN);
  proto.set_generation(3);
  proto.set_total_requests(5);
  proto.set_success_count(1);
  proto.set_failure_count(4);
  proto.set_slow_count(2);
  proto.set_failure_rate(0.8);
  proto.set_consecutive_failures(4);
  proto.set_failing_workers(2);
  proto.set_in_flight(6);
  proto.set_ramp_fraction(0.5);
  proto.mutable_next_attempt_time()->set_seconds(1'700'000'000);
  proto.mutable_next_attempt_time()->set_nanos(250'000'000);
  proto.set_last_failure_error("IOError");
  proto.mutable_lifetime()->set_rejected(9);
  proto.mutable_policy()->set_failure_threshold(4);
  proto.set_policy_source(v1::CircuitStats::OPERATOR);
  proto.mutable_override()->set_mode(v1::Override::FORCED_OPEN);
  proto.mutable_override()->set_actor("ann");
  v1::Transition* transition = proto.add_recent_transitions();
  transition->set_from(v1::CLOSED);
  transition->set_to(v1::OPEN);
  transition->set_cause(v1::Transition::CONSECUTIVE_FAILURES);
  transition->set_reason("4 consecutive failures");
  transition->set_generation(3);

  const Stats stats = FromProto(proto);

  EXPECT_EQ(stats.key.service, "db");
  EXPECT_EQ(stats.key.operation, "query");
  EXPECT_EQ(stats.state, State::kOpen);
  EXPECT_EQ(stats.generation, 3);
  EXPECT_EQ(stats.total_requests, 5);
  EXPECT_EQ(stats.success_count, 1);
  EXPECT_EQ(stats.failure_count, 4);
  EXPECT_EQ(stats.slow_count, 2);
  EXPECT_EQ(stats.failure_rate, 0.8);
  EXPECT_EQ(stats.consecutive_failures, 4);
  EXPECT_EQ(stats.failing_workers, 2);
  EXPECT_EQ(stats.in_flight, 6);
  EXPECT_EQ(stats.ramp_fraction, 0.5);
  EXPECT_EQ(stats.last_failure_time, std::nullopt);
  EXPECT_EQ(stats.next_attempt_time, absl::FromUnixMillis(1'700'000'000'250));
  EXPECT_EQ(stats.last_failure_error, "IOError");
  EXPECT_EQ(stats.lifetime.rejected, 9);
  EXPECT_EQ(stats.policy.failure_threshold, 4);
  EXPECT_EQ(stats.policy_source, Stats::PolicySource::kOperator);
  ASSERT_TRUE(stats.override.has_value());
  EXPECT_TRUE(stats.override->forced_open);
  EXPECT_EQ(stats.override->actor, "ann");
  EXPECT_EQ(stats.override->expires_at, std::nullopt);
  ASSERT_EQ(stats.recent_transitions.size(), 1);
  EXPECT_EQ(stats.recent_transitions[0].to, State::kOpen);
  EXPECT_EQ(stats.recent_transitions[0].cause, "CONSECUTIVE_FAILURES");
  EXPECT_EQ(stats.recent_transitions[0].reason, "4 consecutive failures");
}

TEST(EngineConversionTest, UnsetFieldsOfAPolicyTakeTheDefaults) {
  EXPECT_EQ(ToEngine(Policy{}), server::Policy());
}

TEST(EngineConversionTest, CarriesEveryFieldOfAPolicy) {
  server::Policy expected;
  expected.failure_threshold = 1;
  expected.recovery_timeout = absl::Seconds(2);
  expected.expected_response_time = absl::Milliseconds(1500);
  expected.monitoring_window = absl::Seconds(4);
  expected.minimum_request_count = 5;
  expected.failure_counting = server::FailureCounting::kWindowed;
  expected.failure_rate_threshold = 0.7;
  expected.slow_call_rate_threshold = 0.8;
  expected.slow_calls_are_failures = true;
  expected.half_open_max_probes = 10;
  expected.half_open_success_threshold = 11;
  expected.permit_timeout = absl::Seconds(12);
  expected.recovery_backoff_multiplier = 1.3;
  expected.max_recovery_timeout = absl::Seconds(14);
  expected.recovery_jitter = 0.15;
  expected.minimum_failing_workers = 16;
  expected.recovery_ramp = absl::Seconds(17);
  expected.shadow = true;
  EXPECT_EQ(ToEngine(FullPolicy()), expected);
}

TEST(EngineConversionTest, CarriesAnOverride) {
  const server::Override forced_open = ToEngine(Override{.forced_open = true,
                                                         .reason = "a test",
                                                         .actor = "ann",
                                                         .expires_at = absl::FromUnixSeconds(9)});
  EXPECT_EQ(forced_open.mode, server::Override::Mode::kForcedOpen);
  EXPECT_EQ(forced_open.reason, "a test");
  EXPECT_EQ(forced_open.actor, "ann");
  EXPECT_EQ(forced_open.expires_at, server::WallTime::FromUnixNanos(9'000'000'000));
  const server::Override forced_closed = ToEngine(Override());
  EXPECT_EQ(forced_closed.mode, server::Override::Mode::kForcedClosed);
  EXPECT_EQ(forced_closed.expires_at, std::nullopt);
}

}  // namespace
}  // namespace breaker
