#ifndef BREAKER_TESTS_SUPPORT_RAW_HTTP2_H_
#define BREAKER_TESTS_SUPPORT_RAW_HTTP2_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/time/time.h"

namespace breaker::testing {

// A TCP connection that speaks as much HTTP/2 (RFC 9113) as it is told to, and keeps to none of its
// rules by itself: a client that gRPC's own would not be. Sends without waiting: what does not fit
// into the socket's buffer is dropped, and the connection of no more use.
class RawHttp2 {
 public:
  enum FrameType : uint8_t {
    kData = 0,
    kHeaders = 1,
    kResetStream = 3,
    kSettings = 4,
    kPing = 6,
    kGoAway = 7,
    kWindowUpdate = 8,
  };
  enum Flag : uint8_t { kEndStream = 0x1, kAck = 0x1, kEndHeaders = 0x4 };
  struct Frame {
    uint8_t type = 0;
    uint8_t flags = 0;
    uint32_t stream = 0;
    std::string payload;
  };

  // To "127.0.0.1:PORT", from the host of this address. Says nothing yet.
  explicit RawHttp2(const std::string& target, const std::string& from = "127.0.0.1");
  ~RawHttp2();
  RawHttp2(RawHttp2&& other) noexcept;
  RawHttp2(const RawHttp2&) = delete;
  RawHttp2& operator=(const RawHttp2&) = delete;

  // Whether it was made, and all that was sent has gone out.
  bool ok() const { return ok_; }

  // What a client has to say first: the preface and its settings.
  void Greet();
  // The same, and agrees to the settings of the other side, which hold from then on. False if none
  // come.
  bool Agree();
  void Send(uint8_t type, uint8_t flags, uint32_t stream, const std::string& payload);
  // Begins an rpc, such as "/breaker.v1.CircuitBreaker/Watch", on a stream of an odd number, and
  // leaves it open.
  void OpenRpc(uint32_t stream, const std::string& path,
               const std::map<std::string, std::string>& metadata = {});
  // A message of gRPC's on it.
  void SendMessage(uint32_t stream, const std::string& message, uint8_t flags = 0);

  // The next frame; nullopt if none comes in time, or the connection has ended.
  std::optional<Frame> Read(absl::Duration timeout = absl::Seconds(30));
  // Whether the other side ends the connection within the time; reads what comes before that.
  bool AwaitEnd(absl::Duration timeout = absl::Seconds(30));
  // Whether it has ended the connection by now; reads what has come.
  bool ended() { return AwaitEnd(absl::ZeroDuration()); }

 private:
  void SendBytes(const std::string& bytes);
  // Waits for more bytes. False at the end of the connection or of the time.
  bool Receive(absl::Time deadline);

  int fd_;
  bool ok_;
  bool ended_ = false;
  std::string received_;
};

}  // namespace breaker::testing

#endif  // BREAKER_TESTS_SUPPORT_RAW_HTTP2_H_
