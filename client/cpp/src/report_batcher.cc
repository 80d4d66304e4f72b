#include "client/cpp/src/report_batcher.h"

#include <algorithm>
#include <iterator>
#include <random>
#include <utility>

#include "client/cpp/src/convert.h"
#include "client/cpp/src/denial.h"

namespace breaker::internal {
namespace {

// Failures that come close together go together.
constexpr auto kBetweenBatches = std::chrono::milliseconds(1);
constexpr auto kRetryAfter = std::chrono::milliseconds(100);
// Somebody has to put it right first, and a token is not read again any sooner.
constexpr auto kDeniedRetryAfter = std::chrono::seconds(1);
// After so long without a denial the next one is news.
constexpr auto kDeniedNoMore = std::chrono::minutes(1);
constexpr auto kBatchTimeout = std::chrono::seconds(1);

uint64_t RandomSession() {
  std::random_device random;
  return (uint64_t{random()} << 32) | random() | 1;  // not 0
}

// Whether the same request may fare better later. All other errors are final.
bool IsWorthRetrying(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::ABORTED:
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNKNOWN:
    case grpc::StatusCode::UNAUTHENTICATED:
      return true;
    default:
      return false;
  }
}

uint64_t CountOf(const v1::ReportBatchRequest& request) {
  uint64_t count = 0;
  for (const v1::OutcomeRun& run : request.outcomes()) count += run.count();
  return count;
}

}  // namespace

struct ReportBatcher::Call {
  Batch* batch;  // Answered or not, it is kept while the call is under way.
  grpc::ClientContext context;
  v1::ReportBatchResponse response;
};

ReportBatcher::ReportBatcher(v1::CircuitBreaker::Stub* stub, std::string worker_id,
                             FlushSignal* signal, Limits limits)
    : worker_id_(std::move(worker_id)),
      session_id_(RandomSession()),
      limits_(limits),
      stub_(stub),
      signal_(signal) {}

ReportBatcher::~ReportBatcher() {
  server::MutexLock lock(&mu_);
  if (call_ != nullptr) call_->context.TryCancel();
  while (call_ != nullptr) done_.wait(mu_);
}

void ReportBatcher::SetConnected(bool connected) {
  {
    server::MutexLock lock(&mu_);
    if (connected == connected_) return;
    connected_ = connected;
    if (!connected) return;
    SendAllAgain();
    next_ = SteadyTime();
  }
  signal_->FlushSoon();
}

SteadyTime ReportBatcher::Pump(SteadyTime now, bool flush) {
  {
    server::MutexLock lock(&mu_);
    flush_ = flush_ || flush;
    // What ends the wait raises the signal.
    if (!connected_ || call_ != nullptr) return SteadyTime::max();
    if (now < next_) return next_;
    if (const auto batch = FirstUnsent(); batch != batches_.end()) {
      Send(batch);
      return SteadyTime::max();
    }
    if (!flush_) return SteadyTime::max();
    flush_ = false;
  }
  auto batch = std::make_unique<Batch>();
  batch->request = Collect();
  if (batch->request.outcomes().empty()) return SteadyTime::max();
  server::MutexLock lock(&mu_);
  flush_ = flush_ || more_;
  next_ = now + kBetweenBatches;
  Forget(0, now);  // The daemon may have forgotten the oldest, and would wait for them.
  batch->request.set_sequence(++last_sequence_);
  kept_runs_ += static_cast<size_t>(batch->request.outcomes_size());
  batches_.push_back(std::move(batch));
  Send(FirstUnsent());  // An older one, if all are to be sent again since.
  return SteadyTime::max();
}

v1::ReportBatchRequest ReportBatcher::Collect() {
  v1::ReportBatchRequest request;
  request.set_worker_id(worker_id_);
  request.set_session_id(session_id_);
  more_ = false;
  Cell* next = signal_->TakeNoted();
  while (Cell* const cell = next) {
    next = cell->next_noted;  // Taking its runs may note it again.
    const auto room = kMaxRunsOfABatch - static_cast<size_t>(request.outcomes_size());
    if (room == 0) {
      signal_->Note(cell);
      more_ = true;
      continue;
    }
    runs_.clear();
    if (cell->TakeRuns(room, &runs_)) {
      cell->NoteUnsent();
      more_ = true;
    }
    for (OutcomeRun& run : runs_) {
      v1::OutcomeRun* const outcome = request.add_outcomes();
      outcome->set_service(cell->key().service);
      outcome->set_operation(cell->key().operation);
      outcome->set_generation(run.generation);
      outcome->set_outcome(ToProto(run.outcome));
      outcome->set_count(run.count);
      outcome->set_slow_count(run.slow_count);
      outcome->set_error(ToAscii(run.label));
    }
  }
  return request;
}

void ReportBatcher::Send(Batches::iterator at) {
  Batch& batch = **at;
  call_ = std::make_unique<Call>();
  call_->batch = &batch;
  call_->context.set_deadline(std::chrono::system_clock::now() + kBatchTimeout);
  batch.unsent = false;
  batch.request.set_previous_sequence(
      at == batches_.begin() ? 0 : (*std::prev(at))->request.sequence());
  stub_->async()->ReportBatch(&call_->context, &batch.request, &call_->response,
                              [this](const grpc::Status& status) { OnDone(status); });
}

void ReportBatcher::OnDone(const grpc::Status& status) {
  const SteadyTime now = std::chrono::steady_clock::now();
  server::MutexLock lock(&mu_);
  const std::unique_ptr<Call> call = std::move(call_);
  Batch& batch = *call->batch;
  const bool missing = status.error_code() == grpc::StatusCode::ABORTED;
  last_failed_ = !status.ok() && !missing;
  denial_ = DenialIn(status);
  if (status.ok()) {
    if (!std::exchange(batch.answered, true)) {
      batch.answered_at = now;
      signal_->CountDropped(call->response.denied());
    }
    Forget(call->response.stored_sequence(), now);
  } else if (absl::IsPermissionDenied(denial_) ? IsDeniedForShort(now) : IsWorthRetrying(status)) {
    batch.unsent = true;
    if (missing) SendAllAgain();
    next_ = now + (denial_.ok() ? kRetryAfter : kDeniedRetryAfter);
  } else {
    GiveUp(batch);
  }
  const bool more = flush_ || FirstUnsent() != batches_.end();
  if (more) signal_->FlushSoon();
  done_.notify_all();  // Under the lock: the destructor must not end before this does.
}

bool ReportBatcher::IsDeniedForShort(SteadyTime now) {
  // Once for all batches that come close together, or each would hold up the others.
  if (!last_denied_.has_value() || now - *last_denied_ >= kDeniedNoMore) denied_since_ = now;
  last_denied_ = now;
  return now - denied_since_ < limits_.denied;
}

void ReportBatcher::GiveUp(const Batch& batch) {
  if (!batch.answered) signal_->CountDropped(CountOf(batch.request));
  Drop(std::find_if(batches_.begin(), batches_.end(),
                    [&](const auto& kept) { return kept.get() == &batch; }));
}

void ReportBatcher::Forget(uint64_t stored_sequence, SteadyTime now) {
  while (!batches_.empty() && batches_.front()->answered && !batches_.front()->unsent) {
    const Batch& oldest = *batches_.front();
    if (oldest.request.sequence() > stored_sequence && now - oldest.answered_at < limits_.age &&
        batches_.size() <= limits_.batches && kept_runs_ <= limits_.runs) {
      return;
    }
    Drop(batches_.begin());
  }
}

void ReportBatcher::Drop(Batches::iterator batch) {
  kept_runs_ -= static_cast<size_t>((*batch)->request.outcomes_size());
  batches_.erase(batch);
}

ReportBatcher::Batches::iterator ReportBatcher::FirstUnsent() {
  // They are sent in order: behind the first that is not, none is.
  return std::partition_point(batches_.begin(), batches_.end(),
                              [](const auto& batch) { return !batch->unsent; });
}

absl::Status ReportBatcher::denial() const {
  server::MutexLock lock(&mu_);
  return denial_;
}

void ReportBatcher::Finish(SteadyTime deadline) {
  {
    server::MutexLock lock(&mu_);
    if (!connected_) SendAllAgain();
    connected_ = true;  // Whether or not: there is no later.
    last_failed_ = false;
    next_ = SteadyTime();
  }
  while (std::chrono::steady_clock::now() < deadline) {
    const SteadyTime next = Pump(std::chrono::steady_clock::now(), /*flush=*/true);
    server::MutexLock lock(&mu_);
    if (call_ == nullptr && next < deadline) done_.wait_until(mu_, next);
    while (call_ != nullptr) {
      if (done_.wait_until(mu_, deadline) == std::cv_status::timeout) return;
    }
    if (last_failed_ || (!flush_ && FirstUnsent() == batches_.end())) return;
  }
}

void ReportBatcher::SendAllAgain() {
  // The daemon may have forgotten the oldest, and would count them twice. The one under way stays.
  if (call_ == nullptr) Forget(0, std::chrono::steady_clock::now());
  for (const auto& batch : batches_) batch->unsent = true;
}

}  // namespace breaker::internal
