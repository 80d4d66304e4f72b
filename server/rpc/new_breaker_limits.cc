#include "server/rpc/new_breaker_limits.h"

#include <algorithm>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"

namespace breaker::server {
namespace {

constexpr absl::Duration kPurgeInterval = absl::Seconds(1);

std::string CannotCreate(const KeyView& key) {
  return absl::StrCat("cannot create breaker ", key.service, "/", key.operation, ": ");
}

}  // namespace

NewBreakerLimits::NewBreakerLimits(const Options& options, LimitRefusals* refusals)
    : options_(options),
      refusals_(refusals),
      others_{static_cast<double>(options.per_minute), MonotonicTime()},
      accounts_(1) {}

absl::StatusOr<Account> NewBreakerLimits::Admit(const Creator& creator, const KeyView& key,
                                                size_t free, Instant now) {
  const std::string source = creator.source();
  size_t has;
  {
    MutexLock lock(&mu_);
    const auto known = account_of_.find(source);
    has = known == account_of_.end() ? 0 : accounts_[known->second].breakers;
    if (has < free) {
      if (Spend(source, creator.worker_id(), now.mono)) {
        const Account account = AccountOf(source);
        ++accounts_[account].breakers;
        return account;
      }
      has = 0;
    }
  }
  if (has > 0) {
    return refusals_->Refuse(
        Limit::kBreakersOfOneSource,
        absl::StrCat(CannotCreate(key), has, " are of ", source,
                     ", which is as many as are left to all others of --max_breakers (",
                     options_.max_breakers, ")"));
  }
  return refusals_->Refuse(
      Limit::kNewBreakersPerMinute,
      absl::StrCat(CannotCreate(key), "worker \"", creator.worker_id(), "\" has created ",
                   options_.per_minute,
                   " within a minute, which is --max_new_breakers_per_minute"));
}

void NewBreakerLimits::Gone(Account account) {
  MutexLock lock(&mu_);
  OfSource& of = accounts_[account];
  if (--of.breakers > 0) return;
  account_of_.erase(of.source);
  of.source.clear();
  unused_accounts_.push_back(account);
}

Account NewBreakerLimits::AccountOf(const std::string& source) {
  const auto [it, is_new] = account_of_.try_emplace(source, kNobody);
  if (!is_new) return it->second;
  if (unused_accounts_.empty()) {
    it->second = static_cast<Account>(accounts_.size());
    accounts_.emplace_back();
  } else {
    it->second = unused_accounts_.back();
    unused_accounts_.pop_back();
  }
  accounts_[it->second].source = source;
  return it->second;
}

bool NewBreakerLimits::Spend(const std::string& source, absl::string_view worker_id,
                             MonotonicTime now) {
  if (options_.per_minute == 0) return true;
  Allowance& allowance = AllowanceOf(absl::HashOf(source, worker_id), now);
  const double left = Left(allowance, now);
  if (left < 1) return false;
  allowance = {left - 1, std::max(now, allowance.at)};
  return true;
}

NewBreakerLimits::Allowance& NewBreakerLimits::AllowanceOf(uint64_t worker, MonotonicTime now) {
  const auto known = workers_.find(worker);
  if (known != workers_.end()) return known->second;
  const auto whole = static_cast<double>(options_.per_minute);
  if (workers_.size() >= kMaxWorkers && now >= next_purge_) {
    absl::erase_if(workers_, [&](const auto& of) { return Left(of.second, now) >= whole; });
    next_purge_ = now + kPurgeInterval;
  }
  if (workers_.size() >= kMaxWorkers) return others_;
  return workers_.emplace(worker, Allowance{whole, now}).first->second;
}

double NewBreakerLimits::Left(const Allowance& allowance, MonotonicTime now) const {
  const auto whole = static_cast<double>(options_.per_minute);
  // A call may have read the clock before one that came here earlier.
  const absl::Duration passed = std::max(now - allowance.at, absl::ZeroDuration());
  return std::min(whole, allowance.breakers + whole * absl::FDivDuration(passed, absl::Minutes(1)));
}

size_t NewBreakerLimits::workers() const {
  MutexLock lock(&mu_);
  return workers_.size();
}

size_t NewBreakerLimits::sources() const {
  MutexLock lock(&mu_);
  return account_of_.size();
}

}  // namespace breaker::server
