#include "server/engine/sessions.h"

#include <algorithm>
#include <utility>

namespace breaker::server {

uint64_t SessionName(absl::string_view worker_id, uint64_t session_id) {
  constexpr uint64_t kPrime = 0x100000001b3;
  uint64_t hash = 0xcbf29ce484222325;
  const auto add = [&hash](uint8_t byte) { hash = (hash ^ byte) * kPrime; };
  for (const char c : worker_id) add(static_cast<uint8_t>(c));
  for (int shift = 0; shift < 64; shift += 8) add(static_cast<uint8_t>(session_id >> shift));
  return hash;
}

std::shared_ptr<Sessions::Session> Sessions::Use(uint64_t session, MonotonicTime now) {
  MutexLock lock(&mu_);
  std::shared_ptr<Session>& found = sessions_[session];
  if (found == nullptr) found = std::make_shared<Session>();
  found->last_used_.store(now.nanos(), std::memory_order_relaxed);
  return found;
}

uint64_t Sessions::StoredUpTo(uint64_t session) {
  MutexLock lock(&mu_);
  const auto it = sessions_.find(session);
  return it == sessions_.end() ? 0 : it->second->stored();
}

std::vector<SessionMark> Sessions::Unstored(Instant now) {
  std::vector<SessionMark> marks;
  MutexLock lock(&mu_);
  for (const auto& [name, session] : sessions_) {
    const uint64_t applied = session->applied();
    if (applied == session->stored()) continue;
    const auto last_used = MonotonicTime::FromNanos(session->last_used_.load());
    marks.push_back({name, applied, now.WallAt(last_used)});
  }
  return marks;
}

void Sessions::Stored(const std::vector<SessionMark>& marks) {
  MutexLock lock(&mu_);
  for (const SessionMark& mark : marks) {
    const auto it = sessions_.find(mark.session);
    if (it != sessions_.end()) it->second->stored_.store(mark.sequence, std::memory_order_relaxed);
  }
}

void Sessions::NoneStored() {
  MutexLock lock(&mu_);
  for (const auto& [name, session] : sessions_) session->stored_.store(0);
}

std::vector<uint64_t> Sessions::Forget(MonotonicTime now) {
  std::vector<std::pair<int64_t, uint64_t>> by_age;  // last used, name
  std::vector<uint64_t> forgotten;
  MutexLock lock(&mu_);
  const int64_t idle_since = (now - kSessionTtl).nanos();
  for (const auto& [name, session] : sessions_) {
    const int64_t last_used = session->last_used_.load(std::memory_order_relaxed);
    if (last_used <= idle_since) {
      forgotten.push_back(name);
    } else {
      by_age.emplace_back(last_used, name);
    }
  }
  if (by_age.size() > kMaxSessions) {
    const size_t surplus = by_age.size() - kMaxSessions;
    std::nth_element(by_age.begin(), by_age.begin() + static_cast<ptrdiff_t>(surplus),
                     by_age.end());
    for (size_t i = 0; i < surplus; ++i) forgotten.push_back(by_age[i].second);
  }
  for (const uint64_t name : forgotten) sessions_.erase(name);
  return forgotten;
}

void Sessions::Restore(const SessionMark& mark, Instant now) {
  MutexLock lock(&mu_);
  const auto [it, inserted] = sessions_.try_emplace(mark.session);
  if (!inserted) return;  // it has gone on already
  it->second = std::make_shared<Session>();
  it->second->applied_.store(mark.sequence);
  it->second->stored_.store(mark.sequence);
  it->second->last_used_.store(now.MonoAt(std::min(mark.last_used, now.wall)).nanos());
}

size_t Sessions::size() {
  MutexLock lock(&mu_);
  return sessions_.size();
}

}  // namespace breaker::server
