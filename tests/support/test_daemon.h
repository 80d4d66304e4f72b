#ifndef BREAKER_TESTS_SUPPORT_TEST_DAEMON_H_
#define BREAKER_TESTS_SUPPORT_TEST_DAEMON_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "breaker/v1/admin.grpc.pb.h"
#include "breaker/v1/breaker.grpc.pb.h"
#include "server/daemon.h"
#include "server/engine/clock.h"
#include "tests/support/temp_dir.h"

namespace breaker::testing {

// A whole daemon in the test's own process, on a free port and in a new directory, with a clock of
// the test's choice. It serves when the constructor returns; one that cannot ends the test program.
// HTTP is on a free port as well, unless the options have it off.
class TestDaemon {
 public:
  explicit TestDaemon(const server::Clock* clock, server::DaemonOptions options = {});

  // Shuts down and starts again on the same directory, at another port.
  void Restart();
  // Drains and ends; only the destructor may follow. May take drain_timeout.
  void Shutdown() { daemon_->Shutdown(); }
  int port() const { return daemon_->port(); }
  int http_port() const { return daemon_->http_port(); }
  int health_port() const { return daemon_->health_port(); }
  void Reload() { daemon_->Reload(); }

  // A connection of its own.
  std::shared_ptr<grpc::Channel> NewChannel() const;
  v1::CircuitBreaker::Stub& stub() { return *stub_; }
  v1::BreakerAdmin::Stub& admin() { return *admin_; }

  // The calls of the contract, which must succeed.
  v1::AcquireResponse Acquire(const v1::AcquireRequest& request);
  v1::ReportResponse Report(const v1::ReportRequest& request);
  v1::CircuitStats GetStats(const std::string& service, const std::string& operation);

 private:
  void Start();

  TempDir dir_;
  const server::Clock* const clock_;
  server::DaemonOptions options_;
  std::unique_ptr<server::Daemon> daemon_;
  std::unique_ptr<v1::CircuitBreaker::Stub> stub_;
  std::unique_ptr<v1::BreakerAdmin::Stub> admin_;
};

}  // namespace breaker::testing

#endif  // BREAKER_TESTS_SUPPORT_TEST_DAEMON_H_
