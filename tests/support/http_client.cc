#include "tests/support/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"

namespace breaker {

std::string HttpAnswer::header(const std::string& name) const {
  const auto found = headers.find(absl::AsciiStrToLower(name));
  return found == headers.end() ? "" : found->second;
}

// ---------------------------------------------------------------------------------------------
// HttpConnection

HttpConnection::HttpConnection(int port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) Close();
  const int yes = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

void HttpConnection::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

bool HttpConnection::Send(absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

std::string HttpConnection::RequestText(const std::string& method, const std::string& target,
                                        const Headers& headers, const std::string& body) {
  std::string text = absl::StrCat(method, " ", target, " HTTP/1.1\r\nHost: localhost\r\n");
  for (const auto& [name, value] : headers) absl::StrAppend(&text, name, ": ", value, "\r\n");
  if (!body.empty()) absl::StrAppend(&text, "Content-Length: ", body.size(), "\r\n");
  return absl::StrCat(text, "\r\n", body);
}

HttpAnswer HttpConnection::Ask(const std::string& method, const std::string& target,
                               const Headers& headers, const std::string& body) {
  // A server that refuses a request may do so, and end, before it has read all of it.
  Send(RequestText(method, target, headers, body));
  HttpAnswer answer = ReadHead();
  if (answer.status == 0 || method == "HEAD") return answer;
  size_t length = 0;
  const bool has_length = absl::SimpleAtoi(answer.header("content-length"), &length);
  const absl::Time deadline = absl::Now() + kPatience;
  while ((!has_length || received_.size() < length) && Receive(deadline)) {
  }
  answer.body = received_.substr(0, has_length ? length : std::string::npos);
  received_.erase(0, answer.body.size());
  return answer;
}

HttpAnswer HttpConnection::ReadHead() {
  HttpAnswer answer;
  const std::optional<std::string> head = ReadUntil("\r\n\r\n");
  if (!head.has_value()) return answer;
  const std::vector<std::string> lines = absl::StrSplit(*head, "\r\n");
  const std::vector<std::string> words = absl::StrSplit(lines[0], absl::MaxSplits(' ', 2));
  if (words.size() < 2 || words[0] != "HTTP/1.1") return answer;
  if (!absl::SimpleAtoi(words[1], &answer.status)) return answer;
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::vector<std::string> parts = absl::StrSplit(lines[i], absl::MaxSplits(": ", 1));
    if (parts.size() == 2) answer.headers[absl::AsciiStrToLower(parts[0])] = parts[1];
  }
  return answer;
}

std::optional<std::string> HttpConnection::ReadUntil(absl::string_view end,
                                                     absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  size_t found;
  while ((found = received_.find(std::string(end))) == std::string::npos) {
    if (!Receive(deadline)) return std::nullopt;
  }
  std::string text = received_.substr(0, found);
  received_.erase(0, found + end.size());
  return text;
}

bool HttpConnection::AwaitEnd() {
  const absl::Time deadline = absl::Now() + kPatience;
  while (Receive(deadline)) {
  }
  return ended_;
}

bool HttpConnection::Receive(absl::Time deadline) {
  if (fd_ < 0 || ended_) return false;
  const int64_t left = absl::ToInt64Milliseconds(deadline - absl::Now());
  pollfd ready = {fd_, POLLIN, 0};
  if (poll(&ready, 1, static_cast<int>(std::max<int64_t>(0, left))) <= 0) return false;
  char buffer[16 << 10];
  const ssize_t got = recv(fd_, buffer, sizeof buffer, 0);
  if (got <= 0) {
    ended_ = true;
    return false;
  }
  received_.append(buffer, static_cast<size_t>(got));
  return true;
}

HttpAnswer HttpGet(int port, const std::string& target) {
  return HttpConnection(port).Ask("GET", target);
}

HttpAnswer HttpPost(int port, const std::string& target, const std::string& body,
                    const HttpConnection::Headers& headers) {
  HttpConnection::Headers all = {{"Content-Type", "application/json"}};
  all.insert(headers.begin(), headers.end());
  return HttpConnection(port).Ask("POST", target, all, body);
}

// ---------------------------------------------------------------------------------------------
// HttpEvents

HttpEvents::HttpEvents(int port, const std::string& target) : connection_(port) {
  if (connection_.Send(HttpConnection::RequestText("GET", target))) head_ = connection_.ReadHead();
}

std::optional<HttpEvent> HttpEvents::Next(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  // A block without data is no event: a comment, or how soon to connect again.
  while (const auto block = connection_.ReadUntil("\n\n", deadline - absl::Now())) {
    HttpEvent event;
    bool has_data = false;
    for (absl::string_view line : absl::StrSplit(*block, '\n')) {
      if (absl::ConsumePrefix(&line, "event: ")) event.name = std::string(line);
      if (absl::ConsumePrefix(&line, "data: ")) {
        event.data = std::string(line);
        has_data = true;
      }
    }
    if (has_data) return event;
  }
  return std::nullopt;
}

std::optional<HttpEvent> HttpEvents::NextNamed(const std::string& name) {
  while (std::optional<HttpEvent> event = Next()) {
    if (event->name == name) return event;
  }
  return std::nullopt;
}

}  // namespace breaker
