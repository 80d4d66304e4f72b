#include "server/http/event_streams.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"

namespace breaker::server {
namespace {

std::string Format(absl::string_view event, absl::string_view data) {
  return absl::StrCat("event: ", event, "\ndata: ", data, "\n\n");
}

}  // namespace

std::optional<std::string> EventStreams::Stream::Next(absl::Duration timeout) {
  const auto until = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(timeout);
  MutexLock lock(&mu_);
  while (!closed_ && waiting_.empty()) {
    if (offered_.wait_until(mu_, until) == std::cv_status::timeout) break;
  }
  if (closed_) return std::nullopt;
  std::string all;
  for (const Event& event : waiting_) all += *event;
  waiting_.clear();
  waiting_bytes_ = 0;
  return all;
}

void EventStreams::Stream::Offer(const Event& event) {
  {
    MutexLock lock(&mu_);
    if (waiting_bytes_ + event->size() > kMaxWaitingBytes) {
      waiting_.clear();
      waiting_.push_back(std::make_shared<const std::string>(Format("resync", "{}")));
      waiting_bytes_ = kMaxWaitingBytes;  // whatever comes before it is read is in the resync
    } else {
      waiting_.push_back(event);
      waiting_bytes_ += event->size();
    }
  }
  offered_.notify_one();
}

void EventStreams::Stream::Close() {
  {
    MutexLock lock(&mu_);
    closed_ = true;
  }
  offered_.notify_one();
}

std::shared_ptr<EventStreams::Stream> EventStreams::Open() {
  MutexLock lock(&mu_);
  std::erase_if(streams_, [](const auto& stream) { return stream.expired(); });
  if (closed_ || streams_.size() >= kMaxStreams) return nullptr;
  auto stream = std::make_shared<Stream>();
  streams_.push_back(stream);
  return stream;
}

void EventStreams::Send(absl::string_view event, absl::string_view data) {
  MutexLock lock(&mu_);
  const std::vector<std::shared_ptr<Stream>> live = Live();
  if (live.empty()) return;
  const auto formatted = std::make_shared<const std::string>(Format(event, data));
  for (const std::shared_ptr<Stream>& stream : live) stream->Offer(formatted);
}

bool EventStreams::empty() const {
  MutexLock lock(&mu_);
  return Live().empty();
}

void EventStreams::Close() {
  MutexLock lock(&mu_);
  closed_ = true;
  for (const std::shared_ptr<Stream>& stream : Live()) stream->Close();
}

std::vector<std::shared_ptr<EventStreams::Stream>> EventStreams::Live() const {
  std::vector<std::shared_ptr<Stream>> live;
  for (const std::weak_ptr<Stream>& stream : streams_) {
    if (std::shared_ptr<Stream> there = stream.lock()) live.push_back(std::move(there));
  }
  return live;
}

}  // namespace breaker::server
