// watch: one line a change.
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cpp/src/convert.h"
#include "client/ctl/commands.h"
#include "client/ctl/remote.h"

namespace breaker::ctl {
namespace {

std::string Line(const v1::CircuitUpdate& update, bool new_policy) {
  const std::string key = absl::StrCat(update.service(), "/", update.operation());
  const bool moved = update.has_transition();
  const std::string time =
      LocalTime(moved ? internal::FromProto(update.transition().time()) : absl::Now());
  if (update.removed()) return absl::StrCat(time, "  ", key, " is gone");
  std::string line = absl::StrCat(time, "  ", key, " ");
  if (moved) {
    absl::StrAppend(&line, v1::CircuitState_Name(update.transition().from()), " -> ");
  }
  absl::StrAppend(&line, v1::CircuitState_Name(update.state()));
  if (moved) absl::StrAppend(&line, ": ", update.transition().reason());
  if (!moved && update.has_override()) {
    absl::StrAppend(&line, ", ", OverrideInWords(update.override()));
  }
  if (new_policy) absl::StrAppend(&line, ", under another policy");
  return line;
}

}  // namespace

int Watch(const Daemon& daemon, const std::vector<Key>& keys, bool json) {
  v1::WatchRequest request;
  request.set_all(keys.empty());
  for (const Key& key : keys) {
    v1::Subscription& subscription = *request.add_subscribe();
    subscription.set_service(key.service);
    subscription.set_operation(key.operation);
  }
  const auto stub = Connect(daemon);
  grpc::ClientContext context;
  const auto stream = stub->Watch(&context);
  stream->Write(request);
  // What each breaker's policy was last; an update does not say whether it is another.
  absl::flat_hash_map<std::pair<std::string, std::string>, std::string> policies;
  v1::WatchResponse response;
  while (stream->Read(&response)) {
    for (const v1::CircuitUpdate& update : response.updates()) {
      std::string& policy = policies[{update.service(), update.operation()}];
      const std::string last = std::exchange(policy, update.policy().SerializeAsString());
      const bool new_policy = !update.removed() && !last.empty() && last != policy;
      std::cout << (json ? ToJsonLine(update) : Line(update, new_policy)) << "\n";
    }
    std::cout << std::flush;
    if (!std::cout) {  // Whoever read is gone.
      context.TryCancel();
      return kOk;
    }
  }
  const grpc::Status status = stream->Finish();
  if (status.ok()) {
    std::cerr << "breakerctl: breakerd at " << daemon.options.target << " is stopping\n";
    return kUnavailable;
  }
  return Fail(daemon, status);
}

}  // namespace breaker::ctl
