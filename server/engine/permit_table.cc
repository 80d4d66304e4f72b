#include "server/engine/permit_table.h"

namespace breaker::server {

void PermitTable::Add(uint64_t id, const Permit& permit) {
  if (newest_ != 0) {
    Find(newest_)->newer = id;
  } else {
    oldest_ = id;
    oldest_granted_at_ = permit.granted_at;
  }
  const Node node{permit, newest_, 0};
  if (near_id_ == 0) {
    near_id_ = id;
    near_ = node;
  } else {
    if (others_ == nullptr) others_ = std::make_unique<absl::flat_hash_map<uint64_t, Node>>();
    others_->emplace(id, node);
  }
  newest_ = id;
}

std::optional<Permit> PermitTable::Take(uint64_t id) {
  const Node* const found = Find(id);
  if (found == nullptr) return std::nullopt;
  const Node node = *found;
  if (id == near_id_) {
    near_id_ = 0;
  } else {
    others_->erase(id);
  }
  if (node.older != 0) {
    Find(node.older)->newer = node.newer;
  } else {
    oldest_ = node.newer;
  }
  if (node.newer != 0) {
    Node& newer = *Find(node.newer);
    newer.older = node.older;
    if (node.older == 0) oldest_granted_at_ = newer.permit.granted_at;
  } else {
    newest_ = node.older;
  }
  return node.permit;
}

PermitTable::Node* PermitTable::Find(uint64_t id) {
  if (id == 0) return nullptr;
  if (id == near_id_) return &near_;
  if (others_ == nullptr) return nullptr;
  const auto it = others_->find(id);
  return it == others_->end() ? nullptr : &it->second;
}

}  // namespace breaker::server
