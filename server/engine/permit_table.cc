#include "server/engine/permit_table.h"

namespace breaker::server {

void PermitTable::Add(uint64_t id, const Permit& permit) {
  if (newest_ != 0) {
    permits_.find(newest_)->second.newer = id;
  } else {
    oldest_ = id;
    oldest_granted_at_ = permit.granted_at;
  }
  permits_.emplace(id, Node{permit, newest_, 0});
  newest_ = id;
}

std::optional<Permit> PermitTable::Take(uint64_t id) {
  const auto it = permits_.find(id);
  if (it == permits_.end()) return std::nullopt;
  const Node node = it->second;
  permits_.erase(it);
  if (node.older != 0) {
    permits_.find(node.older)->second.newer = node.newer;
  } else {
    oldest_ = node.newer;
  }
  if (node.newer != 0) {
    Node& newer = permits_.find(node.newer)->second;
    newer.older = node.older;
    if (node.older == 0) oldest_granted_at_ = newer.permit.granted_at;
  } else {
    newest_ = node.older;
  }
  return node.permit;
}

std::optional<Permit> PermitTable::TakeGrantedBy(MonotonicTime limit) {
  if (permits_.empty() || oldest_granted_at_ > limit) return std::nullopt;
  return Take(oldest_);
}

}  // namespace breaker::server
