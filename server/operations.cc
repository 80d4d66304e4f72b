#include "server/operations.h"

#include <optional>
#include <utility>

#include "server/log.h"

namespace breaker::server {
namespace {

// Tells those who watch, then calls `done`.
StoreWriter::Done PublishThen(Publisher* publisher, Changes changes, Operations::Done done) {
  return [publisher, changes = std::move(changes), done = std::move(done)]() mutable {
    publisher->Publish(std::move(changes),
                       [done = std::move(done)]() mutable { std::move(done)(absl::OkStatus()); });
  };
}

}  // namespace

void Operations::SetPolicy(const Key& key, const Policy& policy, Instant now, Done done) {
  Log(LogLevel::kInfo, "policy_set", {{"service", key.service}, {"operation", key.operation}});
  Changes changes;
  MutexLock lock(&policies_mu_);
  registry_->SetPolicy(key, policy, now, &changes);
  writer_->PersistPolicy(key, StoredPolicy{key, policy, now.wall},
                         PublishThen(publisher_, std::move(changes), std::move(done)));
}

void Operations::DeletePolicy(const KeyView& key, Instant now, Done done) {
  absl::Status status;
  {
    Changes changes;
    MutexLock lock(&policies_mu_);
    status = registry_->DeletePolicy(key, now, &changes);
    if (status.ok()) {
      Log(LogLevel::kInfo, "policy_deleted",
          {{"service", key.service}, {"operation", key.operation}});
      writer_->PersistPolicy(Key(key), std::nullopt,
                             PublishThen(publisher_, std::move(changes), std::move(done)));
    }
  }
  if (!status.ok()) std::move(done)(status);
}

void Operations::SetOverride(const KeyView& key, const Override& override, Instant now,
                             Answer answer) {
  Changes changes;
  absl::StatusOr<BreakerStats> stats = registry_->SetOverride(key, override, now, &changes);
  Finish(std::move(stats), std::move(changes), std::move(answer));
}

void Operations::ClearOverride(const KeyView& key, Instant now, Answer answer) {
  Changes changes;
  absl::StatusOr<BreakerStats> stats = registry_->ClearOverride(key, now, &changes);
  Finish(std::move(stats), std::move(changes), std::move(answer));
}

void Operations::Reset(const KeyView& key, Instant now, Answer answer) {
  Changes changes;
  absl::StatusOr<BreakerStats> stats = registry_->Reset(key, now, &changes);
  Finish(std::move(stats), std::move(changes), std::move(answer));
}

void Operations::Delete(const KeyView& key, Done done) {
  Changes changes;
  const absl::Status status = registry_->Delete(key, &changes);
  if (!status.ok()) return std::move(done)(status);
  publisher_->Publish(
      std::move(changes), [writer = writer_, key = Key(key), done = std::move(done)]() mutable {
        // No transition, which the publisher would have stored.
        writer->Persist({key},
                        [done = std::move(done)]() mutable { std::move(done)(absl::OkStatus()); });
      });
}

void Operations::Finish(absl::StatusOr<BreakerStats> stats, Changes changes, Answer answer) {
  // What was asked for is a transition, which the publisher stores.
  publisher_->Publish(std::move(changes),
                      [stats = std::move(stats), answer = std::move(answer)]() mutable {
                        std::move(answer)(std::move(stats));
                      });
}

}  // namespace breaker::server
