#include "tests/support/scripted_breaker_service.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <thread>
#include <utility>

#include "absl/time/clock.h"

namespace breaker::testing {

ScriptedBreakerService::ScriptedBreakerService(std::shared_ptr<grpc::ServerCredentials> credentials)
    : credentials_(std::move(credentials)) {
  acquire_response_.set_allowed(true);
  acquire_response_.set_permit_id(7);
  acquire_response_.set_state(v1::CLOSED);
  acquire_response_.set_generation(1);
  subscription_answer_.set_state(v1::CLOSED);
  subscription_answer_.set_generation(1);
  subscription_answer_.set_ramp_fraction(1);
  Start();
}

ScriptedBreakerService::~ScriptedBreakerService() {
  Release();
  Stop();
}

void ScriptedBreakerService::Start() {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(target(), credentials_);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) {
    fprintf(stderr, "cannot listen on %s\n", target().c_str());
    abort();
  }
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

void ScriptedBreakerService::RequireToken(const std::string& token) {
  std::lock_guard lock(mu_);
  required_token_ = token;
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

void ScriptedBreakerService::AnswerSubscriptions(const v1::CircuitUpdate& update) {
  std::lock_guard lock(mu_);
  subscription_answer_ = update;
  ignores_subscriptions_ = false;
}

void ScriptedBreakerService::IgnoreSubscriptions() {
  std::lock_guard lock(mu_);
  ignores_subscriptions_ = true;
}

void ScriptedBreakerService::Push(const v1::CircuitUpdate& update) {
  std::lock_guard lock(mu_);
  for (Stream& stream : streams_) *stream.unsent.emplace_back().add_updates() = update;
}

void ScriptedBreakerService::Beat(absl::Duration interval) {
  std::lock_guard lock(mu_);
  heartbeat_ = interval;
  silent_ = false;
}

void ScriptedBreakerService::FallSilent() {
  std::lock_guard lock(mu_);
  silent_ = true;
}

void ScriptedBreakerService::EndStreams(grpc::Status status) {
  std::lock_guard lock(mu_);
  watch_status_ = std::move(status);
  ++streams_ended_;
}

void ScriptedBreakerService::FailBatches(grpc::Status status) {
  std::lock_guard lock(mu_);
  batch_status_ = std::move(status);
}

void ScriptedBreakerService::DenyOutcomes(uint64_t count) {
  std::lock_guard lock(mu_);
  denied_outcomes_ = count;
}

void ScriptedBreakerService::LoseBatches() {
  std::lock_guard lock(mu_);
  applied_.clear();
}

void ScriptedBreakerService::StoreUpTo(uint64_t sequence) {
  std::lock_guard lock(mu_);
  stored_sequence_ = sequence;
}

std::vector<v1::Subscription> ScriptedBreakerService::subscriptions() const {
  std::lock_guard lock(mu_);
  return subscriptions_;
}

std::vector<v1::ReportBatchRequest> ScriptedBreakerService::batches() const {
  std::lock_guard lock(mu_);
  return batches_;
}

std::vector<v1::OutcomeRun> ScriptedBreakerService::runs() const {
  std::vector<v1::OutcomeRun> runs;
  for (const v1::ReportBatchRequest& batch : batches()) {
    runs.insert(runs.end(), batch.outcomes().begin(), batch.outcomes().end());
  }
  return runs;
}

std::vector<int> ScriptedBreakerService::batch_sizes() const {
  std::lock_guard lock(mu_);
  std::vector<int> sizes;
  for (const v1::ReportBatchRequest& batch : batches_) sizes.push_back(batch.outcomes_size());
  return sizes;
}

int ScriptedBreakerService::run_count() const {
  const std::vector<int> sizes = batch_sizes();
  return std::accumulate(sizes.begin(), sizes.end(), 0);
}

int ScriptedBreakerService::streams() const {
  std::lock_guard lock(mu_);
  return static_cast<int>(streams_.size());
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

std::map<std::string, std::string> ScriptedBreakerService::authorizations() const {
  std::lock_guard lock(mu_);
  return authorizations_;
}

std::string ScriptedBreakerService::peer_name() const {
  std::lock_guard lock(mu_);
  return peer_name_;
}

int ScriptedBreakerService::unauthenticated() const {
  std::lock_guard lock(mu_);
  return unauthenticated_;
}

grpc::Status ScriptedBreakerService::Authenticate(const std::string& rpc,
                                                  const grpc::ServerContext& context) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find("authorization");
  std::string& authorization = authorizations_[rpc];
  authorization = found == metadata.end() ? std::string()
                                          : std::string(found->second.data(), found->second.size());
  const auto names = context.auth_context()->FindPropertyValues("x509_common_name");
  peer_name_ = names.empty() ? std::string() : std::string(names[0].data(), names[0].size());
  if (required_token_.empty() || authorization == "Bearer " + required_token_) {
    return grpc::Status::OK;
  }
  ++unauthenticated_;
  return {grpc::StatusCode::UNAUTHENTICATED, "no such token"};
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
  if (grpc::Status who = Authenticate("Acquire", *context); !who.ok()) return who;
  acquires_.push_back(*request);
  const grpc::Status status = Await(lock, *context);
  *response = acquire_response_;
  return status;
}

grpc::Status ScriptedBreakerService::Report(grpc::ServerContext* context,
                                            const v1::ReportRequest* request,
                                            v1::ReportResponse* response) {
  std::unique_lock lock(mu_);
  if (grpc::Status who = Authenticate("Report", *context); !who.ok()) return who;
  reports_.push_back(*request);
  response->set_disposition(v1::ReportResponse::COUNTED);
  return Await(lock, *context);
}

grpc::Status ScriptedBreakerService::GetStats(grpc::ServerContext* context,
                                              const v1::GetStatsRequest*,
                                              v1::CircuitStats* response) {
  std::unique_lock lock(mu_);
  if (grpc::Status who = Authenticate("GetStats", *context); !who.ok()) return who;
  const grpc::Status status = Await(lock, *context);
  *response = stats_;
  return status;
}

grpc::Status ScriptedBreakerService::ListStats(grpc::ServerContext* context,
                                               const v1::ListStatsRequest*,
                                               v1::ListStatsResponse* response) {
  std::unique_lock lock(mu_);
  if (grpc::Status who = Authenticate("ListStats", *context); !who.ok()) return who;
  ++list_calls_;
  const grpc::Status status = Await(lock, *context);
  *response->add_stats() = stats_;
  return status;
}

grpc::Status ScriptedBreakerService::Watch(
    grpc::ServerContext* context,
    grpc::ServerReaderWriter<v1::WatchResponse, v1::WatchRequest>* stream) {
  std::unique_lock lock(mu_);
  if (grpc::Status who = Authenticate("Watch", *context); !who.ok()) return who;
  if (!watch_status_.ok()) return watch_status_;
  const auto self = streams_.emplace(streams_.end());
  const int ended_before = streams_ended_;
  std::thread reader([&] {
    v1::WatchRequest request;
    while (stream->Read(&request)) {
      std::lock_guard reader_lock(mu_);
      for (const v1::Subscription& subscription : request.subscribe()) {
        subscriptions_.push_back(subscription);
        if (ignores_subscriptions_) continue;
        v1::CircuitUpdate& answer = *self->unsent.emplace_back().add_updates();
        answer = subscription_answer_;
        answer.set_service(subscription.service());
        answer.set_operation(subscription.operation());
      }
    }
    std::lock_guard reader_lock(mu_);
    self->over = true;
  });
  absl::Time last = absl::Now();
  while (!self->over && !context->IsCancelled() && streams_ended_ == ended_before) {
    if (!silent_ && self->unsent.empty() && absl::Now() - last >= heartbeat_ / 2) {
      self->unsent.emplace_back().set_heartbeat(true);
    }
    if (silent_ || self->unsent.empty()) {
      released_.wait_for(lock, std::chrono::milliseconds(1));  // IsCancelled wakes nobody.
      continue;
    }
    v1::WatchResponse response = std::move(self->unsent.front());
    self->unsent.pop_front();
    google::protobuf::Duration& interval = *response.mutable_heartbeat_interval();
    interval.set_seconds(absl::ToInt64Seconds(heartbeat_));
    interval.set_nanos(static_cast<int32_t>(
        absl::ToInt64Nanoseconds(heartbeat_ - absl::Seconds(interval.seconds()))));
    last = absl::Now();
    lock.unlock();
    stream->Write(response);
    lock.lock();
  }
  const grpc::Status status = watch_status_;
  lock.unlock();
  context->TryCancel();  // Or the reader waits for the client. The client sees CANCELLED.
  reader.join();
  lock.lock();
  streams_.erase(self);
  return status;
}

grpc::Status ScriptedBreakerService::ReportBatch(grpc::ServerContext* context,
                                                 const v1::ReportBatchRequest* request,
                                                 v1::ReportBatchResponse* response) {
  std::unique_lock lock(mu_);
  if (grpc::Status who = Authenticate("ReportBatch", *context); !who.ok()) return who;
  batches_.push_back(*request);
  const grpc::Status status = Await(lock, *context);
  for (const v1::OutcomeRun& run : request->outcomes()) {
    response->set_counted(response->counted() + run.count());
  }
  response->set_denied(denied_outcomes_);
  response->set_stored_sequence(stored_sequence_);
  if (!batch_status_.ok()) return batch_status_;
  if (!status.ok()) return status;
  uint64_t& applied = applied_[request->session_id()];
  if (request->previous_sequence() > applied) return {grpc::StatusCode::ABORTED, "missing"};
  applied = std::max(applied, request->sequence());
  return grpc::Status::OK;
}

}  // namespace breaker::testing
