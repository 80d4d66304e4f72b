// kill -9 of a worker that holds the only probe: the next one is granted as soon as its connection
// is gone, and not when the permit times out.

#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "breaker/v1/breaker.grpc.pb.h"
#include "gtest/gtest.h"
#include "tests/support/channel.h"
#include "tests/support/daemon_process.h"
#include "tests/support/eventually.h"
#include "tests/support/messages.h"

namespace breaker::testing {
namespace {

// The permit is out for an hour, unless it is given back.
constexpr char kBreaker[] =
    "service: 's' operation: 'o' policy { failure_threshold: 1 minimum_request_count: 1 "
    "recovery_timeout { nanos: 1000000 } permit_timeout { seconds: 3600 } }";

v1::AcquireResponse Acquire(v1::CircuitBreaker::Stub& stub, const std::string& worker) {
  auto request = Text<v1::AcquireRequest>(kBreaker);
  request.set_worker_id(worker);
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  v1::AcquireResponse response;
  const grpc::Status status = stub.Acquire(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response;
}

// A worker: watches the breaker, takes the probe, tells so through `told` and waits for its end.
[[noreturn]] void HoldTheProbe(int target_from, int told) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  char target[64] = {};
  if (read(target_from, target, sizeof target - 1) <= 0) _exit(1);
  const auto stub = v1::CircuitBreaker::NewStub(NewChannel(target));
  grpc::ClientContext context;
  const auto stream = stub->Watch(&context);
  auto request = Text<v1::WatchRequest>(std::string("subscribe { ") + kBreaker + " }");
  request.set_worker_id("doomed");
  v1::WatchResponse response;
  if (!stream->Write(request)) _exit(1);
  while (response.updates().empty()) {
    if (!stream->Read(&response)) _exit(1);
  }
  if (!Eventually([&] { return Acquire(*stub, "doomed").probe(); })) _exit(1);
  if (write(told, "!", 1) != 1) _exit(1);
  while (true) pause();
}

TEST(WorkerKillTest, TheProbeOfAKilledWorkerIsFreeAtOnce) {
  int target_pipe[2];
  int told_pipe[2];
  ASSERT_EQ(pipe(target_pipe), 0);
  ASSERT_EQ(pipe(told_pipe), 0);
  const pid_t worker = fork();  // before gRPC has any threads here
  if (worker == 0) HoldTheProbe(target_pipe[0], told_pipe[1]);
  ASSERT_GT(worker, 0);

  DaemonProcess daemon;
  const auto stub = v1::CircuitBreaker::NewStub(NewChannel(daemon.target()));
  ASSERT_TRUE(Acquire(*stub, "other").allowed());
  {
    grpc::ClientContext context;
    v1::ReportResponse reported;
    ASSERT_TRUE(stub->Report(&context,
                             Text<v1::ReportRequest>("service: 's' operation: 'o' worker_id: "
                                                     "'other' outcome: FAILURE"),
                             &reported)
                    .ok());
    ASSERT_EQ(reported.state(), v1::OPEN);
  }
  ASSERT_EQ(write(target_pipe[1], daemon.target().data(), daemon.target().size()),
            static_cast<ssize_t>(daemon.target().size()));
  char told = 0;
  ASSERT_EQ(read(told_pipe[0], &told, 1), 1);
  ASSERT_FALSE(Acquire(*stub, "other").allowed()) << "the probe is out";

  kill(worker, SIGKILL);
  ASSERT_EQ(waitpid(worker, nullptr, 0), worker);

  EXPECT_TRUE(Eventually([&] { return Acquire(*stub, "other").probe(); }));
}

}  // namespace
}  // namespace breaker::testing
