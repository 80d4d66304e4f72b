#include "tests/support/scripted_breaker_service.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace breaker::testing {

ScriptedBreakerService::ScriptedBreakerService() : target_("127.0.0.1:0") {
  acquire_response_.set_allowed(true);
  acquire_response_.set_permit_id(7);
  acquire_response_.set_state(v1::CLOSED);
  Start();
}

ScriptedBreakerService::~ScriptedBreakerService() {
  Release();
  Stop();
}

void ScriptedBreakerService::Start() {
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(target_, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) {
    fprintf(stderr, "cannot listen on %s\n", target_.c_str());
    abort();
  }
  target_ = "127.0.0.1:" + std::to_string(port);
}

void ScriptedBreakerService::Stop() {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_.reset();
}

void ScriptedBreakerService::AnswerAcquire(const v1::AcquireResponse& response) {
  std::lock_guard lock(mu_);
  acquire_response_ = response;
}

void ScriptedBreakerService::AnswerStats(const v1::CircuitStats& stats) {
  std::lock_guard lock(mu_);
  stats_ = stats;
}

void ScriptedBreakerService::Fail(grpc::Status status) {
  std::lock_guard lock(mu_);
  status_ = std::move(status);
}

void ScriptedBreakerService::Hang() {
  std::lock_guard lock(mu_);
  hangs_ = true;
}

void ScriptedBreakerService::Release() {
  std::lock_guard lock(mu_);
  hangs_ = false;
  released_.notify_all();
}

std::vector<v1::AcquireRequest> ScriptedBreakerService::acquires() const {
  std::lock_guard lock(mu_);
  return acquires_;
}

std::vector<v1::ReportRequest> ScriptedBreakerService::reports() const {
  std::lock_guard lock(mu_);
  return reports_;
}

int ScriptedBreakerService::list_calls() const {
  std::lock_guard lock(mu_);
  return list_calls_;
}

grpc::Status ScriptedBreakerService::Await(std::unique_lock<std::mutex>& lock,
                                           grpc::ServerContext& context) {
  while (hangs_ && !context.IsCancelled()) {
    released_.wait_for(lock, std::chrono::milliseconds(5));  // IsCancelled wakes nobody.
  }
  return status_;
}

grpc::Status ScriptedBreakerService::Acquire(grpc::ServerContext* context,
                                             const v1::AcquireRequest* request,
                                             v1::AcquireResponse* response) {
  std::unique_lock lock(mu_);
  acquires_.push_back(*request);
  const grpc::Status status = Await(lock, *context);
  *response = acquire_response_;
  return status;
}

grpc::Status ScriptedBreakerService::Report(grpc::ServerContext* context,
                                            const v1::ReportRequest* request,
                                            v1::ReportResponse* response) {
  std::unique_lock lock(mu_);
  reports_.push_back(*request);
  response->set_disposition(v1::ReportResponse::COUNTED);
  return Await(lock, *context);
}

grpc::Status ScriptedBreakerService::GetStats(grpc::ServerContext* context,
                                              const v1::GetStatsRequest*,
                                              v1::CircuitStats* response) {
  std::unique_lock lock(mu_);
  const grpc::Status status = Await(lock, *context);
  *response = stats_;
  return status;
}

grpc::Status ScriptedBreakerService::ListStats(grpc::ServerContext* context,
                                               const v1::ListStatsRequest*,
                                               v1::ListStatsResponse* response) {
  std::unique_lock lock(mu_);
  ++list_calls_;
  const grpc::Status status = Await(lock, *context);
  *response->add_stats() = stats_;
  return status;
}

}  // namespace breaker::testing
