#include "server/http/http_server.h"

#include <civetweb.h>
#include <pthread.h>

#include <atomic>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace breaker::server {
namespace {

constexpr size_t kMaxBodyBytes = 64 << 10;

const char* Reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 413:
      return "Content Too Large";
    case 503:
      return "Service Unavailable";
    default:
      return "Error";
  }
}

std::string Header(const mg_connection* connection, const char* name) {
  const char* const value = mg_get_header(connection, name);
  return value == nullptr ? "" : value;
}

// nullopt if it is longer than it may be.
std::optional<std::string> ReadBody(mg_connection* connection) {
  std::string body;
  char buffer[4096];
  int read;
  while ((read = mg_read(connection, buffer, sizeof buffer)) > 0) {
    body.append(buffer, static_cast<size_t>(read));
    if (body.size() > kMaxBodyBytes) return std::nullopt;
  }
  return body;
}

class ConnectionStream : public HttpStream {
 public:
  explicit ConnectionStream(mg_connection* connection) : connection_(connection) {}
  bool Write(absl::string_view bytes) override {
    return bytes.empty() || mg_write(connection_, bytes.data(), bytes.size()) > 0;
  }

 private:
  mg_connection* const connection_;
};

// The page takes nothing from elsewhere and is shown nowhere else.
constexpr char kSafety[] =
    "Content-Security-Policy: default-src 'self'; frame-ancestors 'none'; base-uri 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Referrer-Policy: no-referrer\r\n";

std::string Head(const HttpResponse& response, bool lasts) {
  std::string head = absl::StrCat("HTTP/1.1 ", response.status, " ", Reason(response.status),
                                  "\r\nContent-Type: ", response.content_type,
                                  "\r\nCache-Control: no-store\r\n", kSafety);
  if (!response.allow.empty()) absl::StrAppend(&head, "Allow: ", response.allow, "\r\n");
  if (response.status == 401) absl::StrAppend(&head, "WWW-Authenticate: Bearer\r\n");
  if (lasts) {
    absl::StrAppend(&head, "Connection: close\r\n");
  } else {
    absl::StrAppend(&head, "Content-Length: ", response.body.size(), "\r\n");
  }
  return absl::StrCat(head, "\r\n");
}

}  // namespace

std::string HttpRequest::Parameter(absl::string_view name) const {
  std::string value(query.size() + 1, '\0');
  const int length =
      mg_get_var(query.data(), query.size(), std::string(name).c_str(), value.data(), value.size());
  value.resize(length < 0 ? 0 : static_cast<size_t>(length));
  return value;
}

HttpResponse HttpError(int status, absl::string_view what) {
  HttpResponse response;
  response.status = status;
  response.body = nlohmann::json{{"error", std::string(what)}}.dump(
      -1, ' ', false, nlohmann::json::error_handler_t::replace);
  return response;
}

HttpResponse HttpRoutes::Answer(absl::string_view method, const std::string& path,
                                const HttpRequest& request) const {
  const auto by_method = routes_.find(path);
  if (by_method == routes_.end()) return HttpError(404, absl::StrCat("there is no ", path));
  const auto handler = by_method->second.find(std::string(method == "HEAD" ? "GET" : method));
  if (handler == by_method->second.end()) {
    const std::string& allowed = by_method->second.begin()->first;
    HttpResponse response = HttpError(405, absl::StrCat(path, " is for ", allowed));
    response.allow = allowed;
    return response;
  }
  return handler->second(request);
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const std::string& listen,
                                                              HttpRoutes routes) {
  const std::string host = listen.substr(0, listen.rfind(':'));
  auto server = std::unique_ptr<HttpServer>(new HttpServer(host, std::move(routes)));
  const std::string threads = absl::StrCat(kThreads);
  const char* const options[] = {"listening_ports",
                                 listen.c_str(),
                                 "num_threads",
                                 threads.c_str(),
                                 "request_timeout_ms",
                                 "10000",
                                 "tcp_nodelay",
                                 "1",
                                 "enable_keep_alive",
                                 "yes",
                                 "keep_alive_timeout_ms",
                                 "2000",
                                 "access_control_allow_origin",
                                 "",  // pages from elsewhere are allowed nothing
                                 nullptr};
  mg_callbacks callbacks = {};
  callbacks.log_message = [](const mg_connection*, const char*) { return 1; };  // not to stderr
  server->context_ = mg_start(&callbacks, server.get(), const_cast<const char**>(options));
  mg_server_port port = {};
  if (server->context_ == nullptr || mg_get_server_ports(server->context_, 1, &port) != 1) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", listen,
                     ": the address is in use or not one of this machine (--http_listen)"));
  }
  server->port_ = port.port;
  mg_set_request_handler(server->context_, "**", &HttpServer::Handle, server.get());
  return server;
}

HttpServer::~HttpServer() {
  if (context_ == nullptr) return;
  // CivetWeb looks whether it is to stop every two seconds, and after each connection.
  std::atomic<bool> stopped{false};
  std::thread stopper([&] {
    mg_stop(context_);
    stopped = true;
  });
  pthread_setname_np(stopper.native_handle(), "http_stop");
  while (!stopped) Connect();
  stopper.join();
}

void HttpServer::Connect() const {
  char error[256];
  const std::string host(absl::StripSuffix(absl::StripPrefix(host_, "["), "]"));
  mg_connection* const connection =
      mg_connect_client(host.c_str(), port_, /*use_ssl=*/0, error, sizeof error);
  if (connection != nullptr) mg_close_connection(connection);
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
}

int HttpServer::Handle(mg_connection* connection, void* server) {
  static_cast<const HttpServer*>(server)->Respond(connection);
  return 1;  // answered
}

void HttpServer::Respond(mg_connection* connection) const {
  const mg_request_info* const info = mg_get_request_info(connection);
  HttpRequest request;
  if (info->query_string != nullptr) request.query = info->query_string;
  request.authorization = Header(connection, "Authorization");
  std::optional<std::string> body = ReadBody(connection);
  HttpResponse response;
  if (body.has_value()) {
    request.body = *std::move(body);
    response = routes_.Answer(info->request_method, info->local_uri, request);
  } else {
    response = HttpError(413, absl::StrCat("the body is longer than ", kMaxBodyBytes, " bytes"));
  }

  ConnectionStream stream(connection);
  const bool lasts = response.stream != nullptr;
  if (lasts) mg_disable_connection_keep_alive(connection);  // its end is the end of the body
  if (!stream.Write(Head(response, lasts))) return;
  if (absl::string_view(info->request_method) == "HEAD") return;
  lasts ? response.stream(stream) : (void)stream.Write(response.body);
}

}  // namespace breaker::server
