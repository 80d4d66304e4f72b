#include "server/http/http_service.h"

#include <utility>

#include "absl/status/statusor.h"

namespace breaker::server {

HttpService::HttpService(Options options, const Sources& sources)
    : options_(std::move(options)),
      sources_(sources),
      feed_(sources.registry, sources.writer, &streams_, sources.clock) {}

absl::Status HttpService::Start(Publisher* publisher, Operations* operations) {
  feed_.Start(publisher);
  metrics_ = std::make_unique<Metrics>(
      Metrics::Sources{sources_.measured, sources_.registry, &transitions_, publisher,
                       sources_.writer, sources_.hub, sources_.clock},
      options_.metrics_max_breakers);
  board_ = std::make_unique<BoardApi>(
      BoardApi::Sources{sources_.registry, operations, publisher, sources_.writer, &feed_,
                        &streams_, sources_.clock},
      options_.admin_token);

  HttpRoutes routes;
  routes.Get("/healthz", [this](const HttpRequest&) { return Health(); });
  routes.Get("/metrics", [this](const HttpRequest&) {
    HttpResponse response;
    response.content_type = "text/plain; version=0.0.4; charset=utf-8";
    response.body = metrics_->Text();
    return response;
  });
  board_->AddTo(&routes);
  absl::StatusOr<std::unique_ptr<HttpServer>> server =
      HttpServer::Start(options_.listen, std::move(routes));
  if (!server.ok()) return server.status();
  server_ = *std::move(server);
  return absl::OkStatus();
}

HttpResponse HttpService::Health() const {
  HttpResponse response;
  response.status = draining_ ? 503 : 200;
  response.content_type = "text/plain; charset=utf-8";
  response.body = draining_ ? "stopping\n" : "ok\n";
  return response;
}

void HttpService::Drain() {
  draining_ = true;
  streams_.Close();
}

void HttpService::Stop() {
  Drain();
  server_.reset();
  feed_.Stop();
}

}  // namespace breaker::server
