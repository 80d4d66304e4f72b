#include <grpcpp/grpcpp.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gtest/gtest.h"
#include "tests/support/eventually.h"
#include "tests/support/messages.h"
#include "tests/support/test_daemon.h"

namespace breaker::testing {
namespace {

class ReportBatchTest : public ::testing::Test {
 protected:
  // One from worker w1's session 5, unless the text says otherwise.
  grpc::Status Send(const std::string& batch, v1::ReportBatchResponse* response) {
    v1::ReportBatchRequest request = Text<v1::ReportBatchRequest>(batch);
    if (request.worker_id().empty()) request.set_worker_id("w1");
    grpc::ClientContext context;
    return daemon_.stub().ReportBatch(&context, request, response);
  }
  v1::ReportBatchResponse Send(const std::string& batch) {
    v1::ReportBatchResponse response;
    const grpc::Status status = Send(batch, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  std::string ErrorOf(const std::string& batch) {
    v1::ReportBatchResponse response;
    const grpc::Status status = Send(batch, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    return status.error_message();
  }

  server::SystemClock clock_;
  TestDaemon daemon_{&clock_};
};

constexpr char kThree[] =
    "session_id: 5 sequence: 1 "
    "outcomes { service: 's' operation: 'o' outcome: SUCCESS count: 2 slow_count: 1 } "
    "outcomes { service: 's' operation: 'o' generation: 1 outcome: FAILURE count: 1 error: 'E' } ";

TEST_F(ReportBatchTest, CountsItsRunsInOrder) {
  const v1::ReportBatchResponse response = Send(kThree);
  EXPECT_EQ(response.counted(), 3);
  EXPECT_EQ(response.stale(), 0);
  EXPECT_FALSE(response.duplicate());

  const v1::CircuitStats stats = daemon_.GetStats("s", "o");
  EXPECT_EQ(stats.success_count(), 2);
  EXPECT_EQ(stats.slow_count(), 1);
  EXPECT_EQ(stats.failure_count(), 1);
  EXPECT_EQ(stats.consecutive_failures(), 1);
  EXPECT_EQ(stats.last_failure_error(), "E");
}

TEST_F(ReportBatchTest, ABatchThatComesAgainChangesNothing) {
  Send(kThree);
  const v1::ReportBatchResponse again = Send(kThree);
  EXPECT_TRUE(again.duplicate());
  EXPECT_EQ(again.counted(), 0);
  EXPECT_EQ(daemon_.GetStats("s", "o").total_requests(), 3);
}

TEST_F(ReportBatchTest, TwoClientsWithOneSessionIdDoNotDisturbEachOther) {
  Send(absl::StrCat("worker_id: 'w1' ", kThree));
  EXPECT_FALSE(Send(absl::StrCat("worker_id: 'w2' ", kThree)).duplicate());
  EXPECT_EQ(daemon_.GetStats("s", "o").total_requests(), 6);
}

TEST_F(ReportBatchTest, OpensTheCircuitAndTheRestIsStale) {
  const v1::ReportBatchResponse response = Send(
      "session_id: 5 sequence: 1 "
      "outcomes { service: 's' operation: 'o' generation: 1 outcome: FAILURE count: 9 } "
      "outcomes { service: 's' operation: 'o' generation: 1 outcome: SUCCESS count: 2 }");
  EXPECT_EQ(response.counted(), 5);
  EXPECT_EQ(response.stale(), 6);
  EXPECT_EQ(daemon_.GetStats("s", "o").state(), v1::OPEN);
}

TEST_F(ReportBatchTest, ARestartKeepsWhatWasCountedAndKnowsItAgain) {
  Send(kThree);
  daemon_.Restart();
  const v1::ReportBatchResponse again = Send(kThree);
  EXPECT_TRUE(again.duplicate());
  EXPECT_EQ(again.stored_sequence(), 1);
  EXPECT_EQ(daemon_.GetStats("s", "o").total_requests(), 3);
}

TEST_F(ReportBatchTest, SaysHowFarTheSessionIsStored) {
  Send(kThree);
  uint64_t sequence = 1;
  EXPECT_TRUE(Eventually([&] {
    return Send("session_id: 5 sequence: " + std::to_string(++sequence)).stored_sequence() > 0;
  }));
}

// A daemon that was killed has had 1 to 4, and 1 and 2 were stored. This one takes its place, and
// the client has not noticed.
TEST_F(ReportBatchTest, ABatchThatComesBeforeThoseThatAreMissingIsAborted) {
  const auto batch = [](int sequence, int previous) {
    return absl::StrFormat(
        "session_id: 5 sequence: %d previous_sequence: %d "
        "outcomes { service: 's' operation: 'o' outcome: SUCCESS count: 1 }",
        sequence, previous);
  };
  v1::ReportBatchResponse response;
  const grpc::Status missing = Send(batch(5, 4), &response);
  EXPECT_EQ(missing.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(missing.error_message(),
            "previous_sequence: 4 is missing, the last batch of this session here is 0; send again "
            "those after it");

  for (const std::string& kept : {batch(3, 0), batch(4, 3), batch(5, 4)}) {
    EXPECT_EQ(Send(kept).counted(), 1);
  }
  EXPECT_TRUE(Send(batch(4, 3)).duplicate());
  EXPECT_EQ(Send(batch(8, 0)).counted(), 1) << "as of a client that does not say";
  EXPECT_EQ(daemon_.GetStats("s", "o").total_requests(), 4);
}

TEST_F(ReportBatchTest, ADaemonThatKnowsSomeOfWhatIsKeptWaitsForTheRest) {
  Send(kThree);
  daemon_.Restart();
  v1::ReportBatchResponse response;
  EXPECT_EQ(Send("session_id: 5 sequence: 3 previous_sequence: 2", &response).error_code(),
            grpc::StatusCode::ABORTED);
  EXPECT_TRUE(Send(kThree).duplicate());
  EXPECT_FALSE(Send("session_id: 5 sequence: 2 previous_sequence: 1").duplicate());
  EXPECT_FALSE(Send("session_id: 5 sequence: 3 previous_sequence: 2").duplicate());
}

TEST_F(ReportBatchTest, WhatIsWrongIsNamedAndNothingIsCounted) {
  EXPECT_EQ(ErrorOf("sequence: 1"), "session_id: 0 is not a random number other than 0");
  EXPECT_EQ(ErrorOf("session_id: 5"), "sequence: 0 is not in [1, 1125899906842623]");
  EXPECT_EQ(ErrorOf("session_id: 5 sequence: 2 previous_sequence: 2"),
            "previous_sequence: 2 is not below sequence, 2");
  const std::string good =
      "session_id: 5 sequence: 1 outcomes { service: 's' operation: 'o' outcome: SUCCESS count: 1 "
      "}";
  EXPECT_EQ(ErrorOf(good + "outcomes { service: 's' outcome: SUCCESS count: 1 }"),
            "outcomes[1].operation: a length of 0 bytes is not in [1, 128]");
  EXPECT_EQ(ErrorOf(good + "outcomes { service: 's' operation: 'o' count: 1 }"),
            "outcomes[1].outcome: 0 is not SUCCESS (1), FAILURE (2) or IGNORED (3)");
  EXPECT_EQ(ErrorOf(good + "outcomes { service: 's' operation: 'o' outcome: SUCCESS }"),
            "outcomes[1].count: 0 is not 1 or more");
  EXPECT_EQ(ErrorOf(good + "outcomes { service: 's' operation: 'o' outcome: SUCCESS count: 1 "
                           "slow_count: 2 }"),
            "outcomes[1].slow_count: 2 is not at most count, 1");

  EXPECT_FALSE(Send(good).duplicate()) << "the number was not used up";
  EXPECT_EQ(daemon_.GetStats("s", "o").total_requests(), 1);
}

}  // namespace
}  // namespace breaker::testing
