#ifndef BREAKER_TESTS_SUPPORT_HTTP_CLIENT_H_
#define BREAKER_TESTS_SUPPORT_HTTP_CLIENT_H_

#include <map>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace breaker {

struct HttpAnswer {
  int status = 0;                              // 0 = there was none
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;

  // Empty if there is no such header.
  std::string header(const std::string& name) const;
};

// One connection to an HTTP/1.1 server on this machine, by plain sockets: what it sends is what
// stands here, and what comes back is read to the byte. Every wait ends after half a minute.
class HttpConnection {
 public:
  using Headers = std::map<std::string, std::string>;

  explicit HttpConnection(int port);
  ~HttpConnection() { Close(); }
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  // Sends a request and reads the answer to its end. The connection can be used again if the server
  // keeps it.
  HttpAnswer Ask(const std::string& method, const std::string& target, const Headers& headers = {},
                 const std::string& body = "");

  // The same in parts.
  bool Send(absl::string_view bytes);
  static std::string RequestText(const std::string& method, const std::string& target,
                                 const Headers& headers = {}, const std::string& body = "");
  HttpAnswer ReadHead();  // an answer without a body, or with one that is still to be read

  // What comes up to `end`, which is taken away as well; nullopt if the connection ends first, or
  // the time is over.
  std::optional<std::string> ReadUntil(absl::string_view end, absl::Duration timeout = kPatience);
  // Whether the server ends the connection, with whatever comes before that.
  bool AwaitEnd();

  void Close();

 private:
  static constexpr absl::Duration kPatience = absl::Seconds(30);

  // Waits for more; false at the end of the connection or of the time.
  bool Receive(absl::Time deadline);

  int fd_ = -1;
  bool ended_ = false;    // by the server
  std::string received_;  // and not read yet
};

// One request on a connection of its own.
HttpAnswer HttpGet(int port, const std::string& target);
HttpAnswer HttpPost(int port, const std::string& target, const std::string& body,
                    const HttpConnection::Headers& headers = {});

// A server-sent event.
struct HttpEvent {
  std::string name;
  std::string data;
};

// Follows a stream of server-sent events.
class HttpEvents {
 public:
  HttpEvents(int port, const std::string& target);

  const HttpAnswer& head() const { return head_; }

  // The next event; nullopt when there is none within the time, or the stream ends.
  std::optional<HttpEvent> Next(absl::Duration timeout = absl::Seconds(30));
  // The next one of that name; others are passed over.
  std::optional<HttpEvent> NextNamed(const std::string& name);
  // Whether the server ends the stream.
  bool AwaitEnd() { return connection_.AwaitEnd(); }

 private:
  HttpConnection connection_;
  HttpAnswer head_;
};

}  // namespace breaker

#endif  // BREAKER_TESTS_SUPPORT_HTTP_CLIENT_H_
