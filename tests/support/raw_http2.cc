#include "tests/support/raw_http2.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "absl/time/clock.h"

namespace breaker::testing {
namespace {

constexpr size_t kFrameHeader = 9;

void Append(std::string* to, uint64_t value, int bytes) {
  for (int i = bytes - 1; i >= 0; --i) to->push_back(static_cast<char>(value >> (8 * i)));
}

// A string as HPACK has it (RFC 7541), in plain: its length in 7 bits or more, then itself.
void AppendString(std::string* to, const std::string& text) {
  size_t length = text.size();
  if (length < 127) {
    to->push_back(static_cast<char>(length));
  } else {
    to->push_back(127);
    for (length -= 127; length >= 128; length /= 128) {
      to->push_back(static_cast<char>(length % 128 + 128));
    }
    to->push_back(static_cast<char>(length));
  }
  to->append(text);
}

void AppendHeader(std::string* to, const std::string& name, const std::string& value) {
  to->push_back(0);  // literal, not to be remembered
  AppendString(to, name);
  AppendString(to, value);
}

}  // namespace

RawHttp2::RawHttp2(const std::string& target, const std::string& from)
    : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  inet_pton(AF_INET, from.c_str(), &address.sin_addr);
  // The port is chosen by connect, which knows where to: one that bind chose would be no server's.
  const int on = 1;
  ok_ = fd_ >= 0 && setsockopt(fd_, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) == 0 &&
        bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port =
      htons(static_cast<uint16_t>(std::atoi(target.c_str() + target.rfind(':') + 1)));
  ok_ = ok_ && connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

RawHttp2::~RawHttp2() {
  if (fd_ >= 0) close(fd_);
}

RawHttp2::RawHttp2(RawHttp2&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      ok_(std::exchange(other.ok_, false)),
      ended_(other.ended_),
      received_(std::move(other.received_)) {}

void RawHttp2::SendBytes(const std::string& bytes) {
  const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent != static_cast<ssize_t>(bytes.size())) ok_ = false;
}

void RawHttp2::Greet() {
  SendBytes("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  Send(kSettings, 0, 0, "");
}

bool RawHttp2::Agree() {
  Greet();
  const std::optional<Frame> settings = Read();
  if (!settings.has_value() || settings->type != kSettings) return false;
  Send(kSettings, kAck, 0, "");
  return ok_;
}

void RawHttp2::Send(uint8_t type, uint8_t flags, uint32_t stream, const std::string& payload) {
  std::string frame;
  Append(&frame, payload.size(), 3);
  frame.push_back(static_cast<char>(type));
  frame.push_back(static_cast<char>(flags));
  Append(&frame, stream, 4);
  SendBytes(frame + payload);
}

void RawHttp2::OpenRpc(uint32_t stream, const std::string& path,
                       const std::map<std::string, std::string>& metadata) {
  std::string headers;
  AppendHeader(&headers, ":method", "POST");
  AppendHeader(&headers, ":scheme", "http");
  AppendHeader(&headers, ":path", path);
  AppendHeader(&headers, ":authority", "localhost");
  AppendHeader(&headers, "te", "trailers");
  AppendHeader(&headers, "content-type", "application/grpc");
  for (const auto& [name, value] : metadata) AppendHeader(&headers, name, value);
  Send(kHeaders, kEndHeaders, stream, headers);
}

void RawHttp2::SendMessage(uint32_t stream, const std::string& message, uint8_t flags) {
  std::string framed;
  framed.push_back(0);  // not compressed
  Append(&framed, message.size(), 4);
  Send(kData, flags, stream, framed + message);
}

bool RawHttp2::Receive(absl::Time deadline) {
  if (ended_ || fd_ < 0) return false;
  pollfd polled = {fd_, POLLIN, 0};
  const absl::Duration left = std::max(deadline - absl::Now(), absl::ZeroDuration());
  if (poll(&polled, 1, static_cast<int>(absl::ToInt64Milliseconds(left))) <= 0) return false;
  std::array<char, 16384> buffer;
  const ssize_t n = recv(fd_, buffer.data(), buffer.size(), 0);
  if (n <= 0) {
    ended_ = true;
    return false;
  }
  received_.append(buffer.data(), static_cast<size_t>(n));
  return true;
}

std::optional<RawHttp2::Frame> RawHttp2::Read(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  const auto byte = [this](size_t i) { return static_cast<uint8_t>(received_[i]); };
  while (true) {
    if (received_.size() >= kFrameHeader) {
      const size_t length = size_t{byte(0)} << 16 | size_t{byte(1)} << 8 | byte(2);
      if (received_.size() >= kFrameHeader + length) {
        Frame frame;
        frame.type = byte(3);
        frame.flags = byte(4);
        frame.stream = uint32_t{byte(5)} << 24 | uint32_t{byte(6)} << 16 | uint32_t{byte(7)} << 8 |
                       uint32_t{byte(8)};
        frame.payload = received_.substr(kFrameHeader, length);
        received_.erase(0, kFrameHeader + length);
        return frame;
      }
    }
    if (!Receive(deadline)) return std::nullopt;
  }
}

bool RawHttp2::AwaitEnd(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  while (Receive(deadline)) received_.clear();
  return ended_;
}

}  // namespace breaker::testing
