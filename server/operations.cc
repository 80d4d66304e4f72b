#include "server/operations.h"

#include <optional>
#include <utility>

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

// ---------------------------------------------------------------------------------------------
// Policies

void Operations::SetPolicy(const Actor& actor, const Key& key, const Policy& policy, Instant now,
                           Done done) {
  Changes changes;
  MutexLock lock(&mu_);
  const std::string before = DescribePolicy(key);
  registry_->SetPolicy(key, policy, now, &changes);
  Audit(actor, "SetPolicy", key, before, Describe(policy), absl::OkStatus());
  writer_->PersistPolicy(key, StoredPolicy{key, policy, now.wall},
                         PublishThen(publisher_, std::move(changes), std::move(done)));
}

void Operations::DeletePolicy(const Actor& actor, const KeyView& key, Instant now, Done done) {
  absl::Status status;
  {
    Changes changes;
    MutexLock lock(&mu_);
    const std::string before = DescribePolicy(key);
    status = registry_->DeletePolicy(key, now, &changes);
    Audit(actor, "DeletePolicy", key, before, DescribePolicy(key), status);
    if (status.ok()) {
      writer_->PersistPolicy(Key(key), std::nullopt,
                             PublishThen(publisher_, std::move(changes), std::move(done)));
    }
  }
  if (!status.ok()) std::move(done)(status);
}

std::string Operations::DescribePolicy(const KeyView& key) {
  for (const OperatorPolicy& policy : registry_->Policies()) {
    if (KeyView(policy.key) == key) return Describe(*policy.policy);
  }
  return "none";
}

// ---------------------------------------------------------------------------------------------
// Breakers

template <typename Act>
void Operations::Run(const Actor& actor, absl::string_view action, const KeyView& key, Instant now,
                     Answer answer, Act act) {
  Changes changes;
  absl::StatusOr<BreakerStats> stats;
  {
    MutexLock lock(&mu_);
    const std::string before = DescribeBreaker(key, now, &changes);
    stats = act(&changes);
    Audit(actor, action, key, before, stats.ok() ? Describe(*stats) : before, stats.status());
  }
  // What was asked for is a transition, which the publisher stores.
  publisher_->Publish(std::move(changes),
                      [stats = std::move(stats), answer = std::move(answer)]() mutable {
                        std::move(answer)(std::move(stats));
                      });
}

void Operations::SetOverride(const Actor& actor, const KeyView& key, const Override& override,
                             Instant now, Answer answer) {
  Run(actor, "SetOverride", key, now, std::move(answer),
      [&](Changes* changes) { return registry_->SetOverride(key, override, now, changes); });
}

void Operations::ClearOverride(const Actor& actor, const KeyView& key, Instant now, Answer answer) {
  Run(actor, "ClearOverride", key, now, std::move(answer),
      [&](Changes* changes) { return registry_->ClearOverride(key, now, changes); });
}

void Operations::Reset(const Actor& actor, const KeyView& key, Instant now, Answer answer) {
  Run(actor, "Reset", key, now, std::move(answer),
      [&](Changes* changes) { return registry_->Reset(key, now, changes); });
}

void Operations::Delete(const Actor& actor, const KeyView& key, Instant now, Done done) {
  Changes changes;
  absl::Status status;
  {
    MutexLock lock(&mu_);
    const std::string before = DescribeBreaker(key, now, &changes);
    status = registry_->Delete(key, &changes);
    Audit(actor, "Delete", key, before, "none", status);
  }
  if (!status.ok()) return std::move(done)(status);
  publisher_->Publish(
      std::move(changes), [writer = writer_, key = Key(key), done = std::move(done)]() mutable {
        // No transition, which the publisher would have stored.
        writer->Persist({key},
                        [done = std::move(done)]() mutable { std::move(done)(absl::OkStatus()); });
      });
}

std::string Operations::DescribeBreaker(const KeyView& key, Instant now, Changes* changes) {
  const absl::StatusOr<BreakerStats> stats = registry_->GetStats(key, now, changes);
  return stats.ok() ? Describe(*stats) : "none";
}

}  // namespace breaker::server
