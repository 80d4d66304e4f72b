#include "server/rpc/watch_slots.h"

#include "absl/strings/str_cat.h"

namespace breaker::server {

absl::StatusOr<WatchSlots::Slot> WatchSlots::Take(const std::string& connection) {
  if (max_watches_ == 0) return Slot();
  {
    MutexLock lock(&mu_);
    size_t& taken = taken_[connection];
    if (taken < max_watches_) {
      ++taken;
      return Slot(this, connection);
    }
  }
  return refusals_->Refuse(Limit::kWatchesPerConnection,
                           absl::StrCat("watches of this connection: ", max_watches_,
                                        " are open, which is --max_watches_per_connection"));
}

void WatchSlots::GiveBack(const std::string& connection) {
  MutexLock lock(&mu_);
  const auto it = taken_.find(connection);
  if (--it->second == 0) taken_.erase(it);
}

}  // namespace breaker::server
