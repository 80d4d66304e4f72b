#include "server/store/store_writer.h"

#include <pthread.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/log.h"

namespace breaker::server {
namespace {

// Breakers that are written together while somebody may come to wait.
constexpr size_t kChunk = 1000;

constexpr absl::Duration kForgetInterval = absl::Minutes(1);

}  // namespace

StoreWriter::StoreWriter(StateStore* store, Registry* registry, const Clock* clock,
                         StoreWriterOptions options)
    : options_(std::move(options)), store_(store), registry_(registry), clock_(clock) {}

StoreWriter::~StoreWriter() { Stop(); }

void StoreWriter::Start(const absl::StatusOr<PermitEpoch>& opened) {
  absl::Status status = opened.status();
  if (status.ok()) {
    secret_ = opened->secret;
    status = Load();
  }
  if (!status.ok()) Degrade(status);
  thread_ = std::thread(&StoreWriter::Run, this);
}

void StoreWriter::Stop() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
  std::vector<Done> late;
  {
    MutexLock lock(&mu_);
    closed_ = true;
    late.swap(pending_.waiting);
  }
  Call(std::move(late));
  Answer(TakeCheckpoints());
}

// ---------------------------------------------------------------------------------------------
// Callers' side

void StoreWriter::Persist(const std::vector<Key>& keys, Done done) {
  {
    MutexLock lock(&mu_);
    pending_.breakers.insert(keys.begin(), keys.end());
    if (Queue(done)) return;
  }
  std::move(done)();
}

void StoreWriter::PersistPolicy(const Key& key, std::optional<StoredPolicy> policy, Done done) {
  {
    MutexLock lock(&mu_);
    if (policy.has_value()) {
      policies_.insert_or_assign(key, *policy);
    } else {
      policies_.erase(key);
    }
    pending_.policies.insert_or_assign(key, std::move(policy));
    if (Queue(done)) return;
  }
  std::move(done)();
}

void StoreWriter::MakeCheckpoint(CheckpointDone done) {
  absl::Status closed;
  {
    MutexLock lock(&mu_);
    closed = Closed();
    if (closed.ok()) {
      checkpoints_.push_back(std::move(done));
      changed_.notify_one();
      return;
    }
  }
  std::move(done)(closed);
}

absl::Status StoreWriter::Closed() const {
  if (closed_) return absl::UnavailableError("breakerd is shutting down");
  if (stats_.degraded) {
    return absl::UnavailableError(
        "the store fails, and what has changed since is in memory alone; see the daemon's log");
  }
  return absl::OkStatus();
}

bool StoreWriter::Queue(Done& done) {
  if (!Closed().ok()) return false;
  pending_.waiting.push_back(std::move(done));
  changed_.notify_one();
  return true;
}

StoreWriterStats StoreWriter::stats() const {
  MutexLock lock(&mu_);
  StoreWriterStats stats = stats_;
  stats.unsaved = pending_.breakers.size() + pending_.policies.size();
  return stats;
}

bool StoreWriter::degraded() const {
  MutexLock lock(&mu_);
  return stats_.degraded;
}

bool StoreWriter::IsPending(const Key& breaker) {
  MutexLock lock(&mu_);
  return pending_.breakers.contains(breaker);
}

// ---------------------------------------------------------------------------------------------
// The thread

void StoreWriter::Run() {
  pthread_setname_np(pthread_self(), "store_writer");
  MonotonicTime due = clock_->Now().mono;
  if (!degraded()) due = due + options_.snapshot_interval;
  for (bool stop = false; !stop;) {
    stop = Wait(due);
    // What happens from here on need not be in these.
    std::vector<CheckpointDone> checkpoints = TakeCheckpoints();
    const bool is_due = stop || clock_->Now().mono >= due;
    const bool was_degraded = degraded();
    if (!was_degraded) WritePending();
    if (was_degraded) {
      if (is_due) Recover();
    } else if (is_due || !checkpoints.empty()) {
      WriteSnapshots();
    }
    Answer(std::move(checkpoints));
    if (is_due || degraded() != was_degraded) {
      due =
          clock_->Now().mono + (degraded() ? options_.retry_interval : options_.snapshot_interval);
    }
  }
}

bool StoreWriter::Wait(MonotonicTime due) {
  MutexLock lock(&mu_);
  while (!stopping_ && pending_.waiting.empty() && checkpoints_.empty()) {
    const absl::Duration left = due - clock_->Now().mono;
    if (left <= absl::ZeroDuration()) break;
    changed_.wait_for(mu_, absl::ToChronoNanoseconds(left));
  }
  return stopping_;
}

void StoreWriter::WritePending() {
  Pending changes;
  {
    MutexLock lock(&mu_);
    changes = Take(pending_.breakers.size());
  }
  if (const absl::Status status = Write(changes); !status.ok()) Degrade(status);
  Call(std::move(changes.waiting));
}

void StoreWriter::WriteSnapshots() {
  // The marks first: what their batches have changed is among the dirty ones that are taken next.
  std::vector<SessionMark> marks = registry_->sessions().Unstored(clock_->Now());
  std::vector<Key> dirty = registry_->TakeDirty();
  while (!dirty.empty() && !degraded()) {
    Pending chunk;
    const auto begin = dirty.end() - std::min<ptrdiff_t>(kChunk, std::ssize(dirty));
    chunk.breakers.insert(begin, dirty.end());
    dirty.erase(begin, dirty.end());
    if (const absl::Status status = Write(chunk); status.ok()) {
      WritePending();
    } else {
      Degrade(status);
    }
  }
  Remember(dirty);
  if (!degraded()) WriteSessions(std::move(marks));
}

std::vector<StoreWriter::CheckpointDone> StoreWriter::TakeCheckpoints() {
  MutexLock lock(&mu_);
  return std::exchange(checkpoints_, {});
}

void StoreWriter::Answer(std::vector<CheckpointDone> checkpoints) {
  for (CheckpointDone& done : checkpoints) {
    absl::Status closed;
    {
      MutexLock lock(&mu_);
      closed = Closed();
    }
    if (closed.ok()) {
      std::move(done)(store_->MakeCheckpoint());
    } else {
      std::move(done)(std::move(closed));
    }
  }
}

void StoreWriter::WriteSessions(std::vector<SessionMark> marks) {
  StoreBatch batch;
  batch.sessions = std::move(marks);
  const MonotonicTime now = clock_->Now().mono;
  if (now >= next_forget_) {
    next_forget_ = now + kForgetInterval;
    batch.forgotten_sessions = registry_->sessions().Forget(now);
  }
  if (batch.sessions.empty() && batch.forgotten_sessions.empty()) return;
  if (const absl::Status status = store_->Write(batch); !status.ok()) {
    {
      MutexLock lock(&mu_);
      ++stats_.failures;
    }
    return Degrade(status);
  }
  registry_->sessions().Stored(batch.sessions);
}

StoreWriter::Pending StoreWriter::Take(size_t max_breakers) {
  Pending taken;
  if (max_breakers >= pending_.breakers.size()) {
    taken.breakers.swap(pending_.breakers);
  } else {
    while (taken.breakers.size() < max_breakers) {
      taken.breakers.insert(pending_.breakers.extract(pending_.breakers.begin()));
    }
  }
  taken.policies.swap(pending_.policies);
  taken.waiting.swap(pending_.waiting);
  return taken;
}

absl::Status StoreWriter::Write(const Pending& changes) {
  StoreBatch batch;
  const Instant now = clock_->Now();
  for (const Key& key : changes.breakers) {
    batch.breakers.emplace_back(key, registry_->Save(key, now));
  }
  batch.policies.assign(changes.policies.begin(), changes.policies.end());
  const size_t records = batch.breakers.size() + batch.policies.size();
  if (records == 0) return absl::OkStatus();

  const absl::Status status = store_->Write(batch);
  if (status.ok()) options_.on_write(clock_->Now().mono - now.mono, records);
  MutexLock lock(&mu_);
  if (status.ok()) {
    ++stats_.writes;
    stats_.last_batch = records;
  } else {
    ++stats_.failures;
    pending_.breakers.insert(changes.breakers.begin(), changes.breakers.end());
    // Where a policy has been set again meanwhile, that is the one to write.
    pending_.policies.insert(changes.policies.begin(), changes.policies.end());
  }
  return status;
}

void StoreWriter::Call(std::vector<Done> waiting) {
  for (Done& done : waiting) std::move(done)();
}

// ---------------------------------------------------------------------------------------------
// A store that fails

void StoreWriter::Degrade(const absl::Status& status) {
  degraded_since_ = clock_->Now().mono;
  Log(LogLevel::kError, "store_failing", {{"reason", status.ToString()}});
  std::vector<Done> waiting;
  {
    MutexLock lock(&mu_);
    stats_.degraded = true;
    waiting.swap(pending_.waiting);
  }
  Call(std::move(waiting));
}

void StoreWriter::Recover() {
  Remember(registry_->TakeDirty());
  absl::Status status = Reopen();
  const size_t unsaved = stats().unsaved;
  if (status.ok()) status = CatchUp();
  if (!status.ok()) return;
  Log(LogLevel::kInfo, "store_recovered",
      {{"after", absl::FormatDuration(clock_->Now().mono - degraded_since_)},
       {"records", absl::StrCat(unsaved)}});
}

absl::Status StoreWriter::Reopen() {
  const absl::StatusOr<PermitEpoch> opened = store_->Open();
  if (!opened.ok()) {
    MutexLock lock(&mu_);
    ++stats_.failures;
    return opened.status();
  }
  if (secret_ != opened->secret) RememberAll();
  secret_ = opened->secret;
  return loaded_ ? absl::OkStatus() : Load();
}

absl::Status StoreWriter::CatchUp() {
  while (true) {
    Pending changes;
    {
      MutexLock lock(&mu_);
      if (pending_.breakers.empty() && pending_.policies.empty()) {
        stats_.degraded = false;
        return absl::OkStatus();
      }
      changes = Take(kChunk);
    }
    if (absl::Status status = Write(changes); !status.ok()) return status;
  }
}

void StoreWriter::Remember(const std::vector<Key>& breakers) {
  MutexLock lock(&mu_);
  pending_.breakers.insert(breakers.begin(), breakers.end());
}

void StoreWriter::RememberAll() {
  std::vector<Key> keys = registry_->KeysAfter("", std::nullopt, kChunk);
  while (!keys.empty()) {
    Remember(keys);
    keys = registry_->KeysAfter("", keys.back(), kChunk);
  }
  registry_->sessions().NoneStored();
  MutexLock lock(&mu_);
  pending_.policies.insert(policies_.begin(), policies_.end());
}

absl::Status StoreWriter::Load() {
  const Instant now = clock_->Now();
  size_t breakers = 0;
  size_t refused = 0;
  const absl::Status status = store_->Load(StoreReader{
      .breaker =
          [&](BreakerSnapshot snapshot) {
            // What changed before the store could be read is newer, or was deleted.
            if (IsPending(snapshot.key)) return;
            registry_->Restore(std::move(snapshot), now).ok() ? ++breakers : ++refused;
          },
      .policy =
          [&](const StoredPolicy& policy) {
            {
              MutexLock lock(&mu_);
              if (pending_.policies.contains(policy.key)) return;
              policies_.insert_or_assign(policy.key, policy);
            }
            options_.restore_policy(policy);
          },
      .session = [&](const SessionMark& mark) { registry_->sessions().Restore(mark, now); }});
  loaded_ = status.ok();
  if (loaded_) {
    MutexLock lock(&mu_);
    stats_.load_time = clock_->Now().mono - now.mono;
  }
  if (refused > 0) {
    Log(LogLevel::kError, "breakers_not_loaded",
        {{"count", absl::StrCat(refused)}, {"reason", "there are as many as there may be"}});
  }
  if (status.ok()) Log(LogLevel::kInfo, "store_loaded", {{"breakers", absl::StrCat(breakers)}});
  return status;
}

}  // namespace breaker::server
