#ifndef BREAKER_HTTP_HTTP_SERVER_H_
#define BREAKER_HTTP_HTTP_SERVER_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct mg_connection;
struct mg_context;

namespace breaker::server {

struct HttpRequest {
  std::string query;  // as in the URL, encoded
  std::string authorization;
  std::string body;

  // A parameter of the query, decoded; empty if there is none.
  std::string Parameter(absl::string_view name) const;
};

// Takes the body of an answer bit by bit.
class HttpStream {
 public:
  virtual ~HttpStream() = default;
  // False when the client is gone, or the server ends.
  virtual bool Write(absl::string_view bytes) = 0;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::string allow = {};  // of a 405: the method that the path is for
  // Where it is set, what writes the body, for as long as it takes, instead of `body`.
  std::function<void(HttpStream&)> stream;
};

// An error, with the sentence that says what is wrong.
HttpResponse HttpError(int status, absl::string_view what);

// Answers what comes for some paths. GET answers HEAD as well; everything else is refused by
// itself.
class HttpRoutes {
 public:
  // Called by several threads at once.
  using Handler = std::function<HttpResponse(const HttpRequest&)>;

  void Get(const std::string& path, Handler handler) { routes_[path]["GET"] = std::move(handler); }
  void Post(const std::string& path, Handler handler) {
    routes_[path]["POST"] = std::move(handler);
  }

  HttpResponse Answer(absl::string_view method, const std::string& path,
                      const HttpRequest& request) const;

 private:
  absl::btree_map<std::string, absl::btree_map<std::string, Handler>> routes_;  // by path, method
};

// Serves routes over HTTP/1.1, with CivetWeb, which owns and names the threads.
class HttpServer {
 public:
  // Answers that last (`stream`) and all others together may be this many at once.
  static constexpr int kThreads = 80;

  // `listen` is HOST:PORT, an address of this machine; port 0 takes a free one. UNAVAILABLE if that
  // cannot be had. Handlers are called until the end of the destructor.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const std::string& listen,
                                                           HttpRoutes routes);

  // Waits for answers that are under way: whoever streams must have been told to end.
  ~HttpServer();

  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const { return port_; }

 private:
  HttpServer(std::string host, HttpRoutes routes)
      : host_(std::move(host)), routes_(std::move(routes)) {}

  static int Handle(mg_connection* connection, void* server);
  void Respond(mg_connection* connection) const;
  void Connect() const;

  const std::string host_;
  const HttpRoutes routes_;
  mg_context* context_ = nullptr;
  int port_ = 0;
};

}  // namespace breaker::server

#endif  // BREAKER_HTTP_HTTP_SERVER_H_
