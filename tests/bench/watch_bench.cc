// How long it takes from the Report that opens a circuit until the last of many watchers knows,
// against a bare server that writes a message of the same size to as many streams when an rpc of
// the same kind tells it to. All watchers are in this process, both servers in another.
//
//   watch_bench [--trips=100] [--watchers=COUNT]...

#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "breaker/v1/breaker.grpc.pb.h"
#include "no_op.grpc.pb.h"
#include "tests/bench/audience.h"
#include "tests/bench/die.h"
#include "tests/bench/row.h"
#include "tests/bench/server_process.h"
#include "tests/bench/turns.h"
#include "tests/support/channel.h"
#include "tests/support/temp_dir.h"

namespace breaker::bench {
namespace {

constexpr int kWatchersAConnection = 10;
// Whose median is compared.
constexpr int kTripsASlice = 10;

// Breakers that are opened one after the other, once each.
struct Breakers {
  std::string service;
  int count;

  std::string operation(int trip) const { return absl::StrFormat("operation-%05d", trip); }

  v1::WatchRequest Subscriptions() const {
    v1::WatchRequest request;
    request.set_worker_id("worker-1");
    for (int trip = 0; trip < count; ++trip) {
      v1::Subscription* const subscription = request.add_subscribe();
      subscription->set_service(service);
      subscription->set_operation(operation(trip));
      v1::Policy* const policy = subscription->mutable_policy();
      policy->set_failure_threshold(1);
      policy->set_minimum_request_count(1);
      policy->mutable_recovery_timeout()->set_seconds(3600);
    }
    return request;
  }

  // Opens it.
  v1::ReportRequest Failure(int trip) const {
    v1::ReportRequest request;
    request.set_service(service);
    request.set_operation(operation(trip));
    request.set_worker_id("worker-1");
    request.set_outcome(v1::FAILURE);
    request.set_error("Timeout");
    return request;
  }
};

// The breaker that an update says to be open.
std::string OpenedOperation(const v1::CircuitUpdate& update) {
  return update.state() == v1::CLOSED ? "" : update.operation();
}

// Milliseconds of trips, all and as a median a slice.
class TripTimes {
 public:
  explicit TripTimes(std::function<absl::Duration()> trip) : trip_(std::move(trip)) {}

  double TakeSlice() {
    std::vector<double> slice;
    for (int i = 0; i < kTripsASlice; ++i) slice.push_back(absl::ToDoubleMilliseconds(trip_()));
    all_.insert(all_.end(), slice.begin(), slice.end());
    return Median(slice);
  }

  // Without the slice that warmed up.
  double Quantile(double share) const {
    return bench::Quantile({all_.begin() + kTripsASlice, all_.end()}, share);
  }

 private:
  const std::function<absl::Duration()> trip_;
  std::vector<double> all_;
};

void MeasurePush(const ServerProcess& server, int watchers, int trips) {
  const int slices = (trips + kTripsASlice - 1) / kTripsASlice;
  // One shows what the daemon writes, and a slice warms up.
  const Breakers breakers{absl::StrCat("watched-by-", watchers), 1 + (1 + slices) * kTripsASlice};
  const v1::WatchRequest subscriptions = breakers.Subscriptions();
  const v1::WatchRequest one_subscription = Breakers{breakers.service, 1}.Subscriptions();
  const AudienceOptions options = {
      .watchers = watchers, .watchers_a_connection = kWatchersAConnection, .news = OpenedOperation};
  Audience<v1::CircuitBreaker::Stub> audience(server.target(0), options, &subscriptions);
  Audience<NoOp::Stub> no_op_audience(server.target(1), options, &one_subscription);
  v1::CircuitBreaker::Stub daemon(NewChannel(server.target(0)));
  NoOp::Stub no_op(NewChannel(server.target(1)));

  int next = 0;
  const auto trip = [&] {
    const v1::ReportRequest failure = breakers.Failure(next);
    return audience.TimeUntilAllKnow(breakers.operation(next++), [&] {
      grpc::ClientContext context;
      v1::ReportResponse response;
      MustBeOk(daemon.Report(&context, failure, &response), "Report");
    });
  };
  trip();
  {
    grpc::ClientContext context;
    google::protobuf::Empty ignored;
    MustBeOk(no_op.SetPush(&context, audience.last_message(), &ignored), "SetPush");
  }
  const v1::ReportRequest push_request = breakers.Failure(0);
  const auto push = [&] {
    return no_op_audience.TimeUntilAllKnow(breakers.operation(0), [&] {
      grpc::ClientContext context;
      v1::ReportResponse response;
      MustBeOk(no_op.Push(&context, push_request, &response), "Push");
    });
  };

  TripTimes ours(trip), theirs(push);
  const auto medians =
      InTurns(slices, {[&] { return ours.TakeSlice(); }, [&] { return theirs.TakeSlice(); }});
  Emit({.figure = absl::StrFormat("Watch, from a trip to the last of %d on %d connections",
                                  watchers, watchers / kWatchersAConnection),
        .measured = ours.Quantile(0.5),
        .unit = "ms",
        .against = "no-op push",
        .against_value = theirs.Quantile(0.5),
        .ratio = RatioOf(medians[0], medians[1]),
        .target = "<= 1.5",
        .distribution = {{"p99", ours.Quantile(0.99)}, {"no-op p99", theirs.Quantile(0.99)}}});
}

int Main(int argc, char** argv) {
  int trips = 100;
  std::vector<int> watchers = {100, 500, 2000};
  CLI::App app("How long it takes until the last of many watchers knows that a circuit is open.");
  app.add_option("--trips", trips)->check(CLI::PositiveNumber);
  app.add_option("--watchers", watchers)->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);

  const TempDir dir;
  const ServerProcess server(DaemonAndNoOp(dir.path()));
  for (const int count : watchers) MeasurePush(server, count, trips);
  return 0;
}

}  // namespace
}  // namespace breaker::bench

int main(int argc, char** argv) { return breaker::bench::Main(argc, argv); }
