#include "server/rpc/limit_refusals.h"

#include "absl/strings/str_cat.h"
#include "server/log.h"

namespace breaker::server {
namespace {

constexpr std::array<const char*, kLimits> kNames = {"connections",
                                                     "watches_per_connection",
                                                     "subscriptions",
                                                     "new_breakers_per_minute",
                                                     "breakers_of_one_source",
                                                     "workers_of_one_identity",
                                                     "streams_per_connection"};

}  // namespace

LimitRefusals::LimitRefusals(prometheus::Registry* registry, const Clock* clock) : clock_(clock) {
  prometheus::Family<prometheus::Counter>& refusals =
      prometheus::BuildCounter()
          .Name("breakerd_limit_refusals_total")
          .Help("Connections, rpcs, subscriptions, new breakers and workers refused at a limit.")
          .Register(*registry);
  for (size_t i = 0; i < kLimits; ++i) limits_[i].refusals = &refusals.Add({{"limit", kNames[i]}});
}

void LimitRefusals::Count(Limit limit, absl::string_view why) {
  OfLimit& of = limits_[static_cast<size_t>(limit)];
  of.refusals->Increment();
  of.since_line.fetch_add(1, std::memory_order_relaxed);
  const MonotonicTime now = clock_->Now().mono;
  int64_t due = of.next_line.load(std::memory_order_relaxed);
  if (now.nanos() < due) return;
  if (!of.next_line.compare_exchange_strong(due, (now + kLogInterval).nanos())) return;
  const int64_t refused = of.since_line.exchange(0, std::memory_order_relaxed);
  Log(LogLevel::kWarning, "limit_reached",
      {{"limit", kNames[static_cast<size_t>(limit)]},
       {"refused", absl::StrCat(refused)},
       {"last", why}});
}

absl::Status LimitRefusals::Refuse(Limit limit, absl::string_view why) {
  Count(limit, why);
  return absl::ResourceExhaustedError(why);
}

}  // namespace breaker::server
