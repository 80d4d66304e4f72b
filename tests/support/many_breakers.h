#ifndef BREAKER_TESTS_SUPPORT_MANY_BREAKERS_H_
#define BREAKER_TESTS_SUPPORT_MANY_BREAKERS_H_

#include <grpcpp/grpcpp.h>

#include <random>
#include <string>

#include "breaker/v1/breaker.grpc.pb.h"
#include "gtest/gtest.h"

namespace breaker::testing {

// Has the daemon hold that many breakers more, at most 10,000, of a service "many". Their names are
// random, so that on disk they take about 100 bytes each.
inline void AddManyBreakers(v1::CircuitBreaker::Stub& stub, int count) {
  std::mt19937 random(42);
  v1::ReportBatchRequest batch;
  batch.set_session_id(99);
  batch.set_sequence(1);
  for (int i = 0; i < count; ++i) {
    v1::OutcomeRun& run = *batch.add_outcomes();
    run.set_service("many");
    for (int c = 0; c < 120; ++c) {
      run.mutable_operation()->push_back(static_cast<char>('!' + random() % 90));
    }
    run.set_outcome(v1::SUCCESS);
    run.set_count(1);
  }
  grpc::ClientContext context;
  v1::ReportBatchResponse response;
  const grpc::Status status = stub.ReportBatch(&context, batch, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
}

}  // namespace breaker::testing

#endif  // BREAKER_TESTS_SUPPORT_MANY_BREAKERS_H_
