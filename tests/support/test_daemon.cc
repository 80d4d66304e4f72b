#include "tests/support/test_daemon.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/support/channel.h"

namespace breaker::testing {
namespace {

void MustBeOk(const grpc::Status& status, const char* rpc) {
  if (status.ok()) return;
  fprintf(stderr, "%s: %s\n", rpc, status.error_message().c_str());
  abort();
}

}  // namespace

TestDaemon::TestDaemon(const server::Clock* clock, server::DaemonOptions options)
    : clock_(clock), options_(std::move(options)) {
  options_.listen = "127.0.0.1:0";
  options_.data_dir = dir_.path();
  if (!options_.http_listen.empty()) options_.http_listen = "127.0.0.1:0";
  Start();
}

void TestDaemon::Start() {
  absl::StatusOr<std::unique_ptr<server::Daemon>> daemon = server::Daemon::Start(options_, clock_);
  if (!daemon.ok()) {
    fprintf(stderr, "no daemon: %s\n", daemon.status().ToString().c_str());
    abort();
  }
  daemon_ = *std::move(daemon);
  stub_ = v1::CircuitBreaker::NewStub(NewChannel());
  admin_ = v1::BreakerAdmin::NewStub(NewChannel());
}

void TestDaemon::Restart() {
  daemon_.reset();
  Start();
}

std::shared_ptr<grpc::Channel> TestDaemon::NewChannel() const {
  return breaker::NewChannel(absl::StrCat("127.0.0.1:", daemon_->port()));
}

v1::AcquireResponse TestDaemon::Acquire(const v1::AcquireRequest& request) {
  grpc::ClientContext context;
  v1::AcquireResponse response;
  MustBeOk(stub_->Acquire(&context, request, &response), "Acquire");
  return response;
}

v1::ReportResponse TestDaemon::Report(const v1::ReportRequest& request) {
  grpc::ClientContext context;
  v1::ReportResponse response;
  MustBeOk(stub_->Report(&context, request, &response), "Report");
  return response;
}

v1::CircuitStats TestDaemon::GetStats(const std::string& service, const std::string& operation) {
  grpc::ClientContext context;
  v1::GetStatsRequest request;
  request.set_service(service);
  request.set_operation(operation);
  v1::CircuitStats response;
  MustBeOk(stub_->GetStats(&context, request, &response), "GetStats");
  return response;
}

}  // namespace breaker::testing
