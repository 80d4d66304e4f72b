#include "server/http/board_api.h"

#include <algorithm>
#include <future>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/engine/errors.h"
#include "server/engine/limits.h"
#include "server/http/board_files.h"
#include "server/http/board_json.h"
#include "server/rpc/convert.h"
#include "server/survey.h"

namespace breaker::server {
namespace {

// Whoever has the token of the board.
const Actor kBoard = {"", "board"};

using nlohmann::json;

constexpr size_t kDefaultBreakers = 2000;
constexpr size_t kMaxBreakers = 5000;
constexpr size_t kDefaultTransitions = 200;
constexpr size_t kMaxTransitions = 1000;
// Longer silences make proxies close a stream.
constexpr absl::Duration kStreamHeartbeat = absl::Seconds(10);

HttpResponse Ok(const json& body) {
  HttpResponse response;
  response.body = Dump(body);
  return response;
}

HttpResponse Refused(const absl::Status& status) {
  int code = 400;
  if (absl::IsNotFound(status) || absl::IsFailedPrecondition(status)) code = 404;
  if (absl::IsResourceExhausted(status)) code = 503;
  return HttpError(code, status.message());
}

// A parameter "limit" in [1, most]; `usual` if there is none.
absl::StatusOr<size_t> LimitFrom(const HttpRequest& request, size_t usual, size_t most) {
  const std::string text = request.Parameter("limit");
  if (text.empty()) return usual;
  size_t limit = 0;
  if (!absl::SimpleAtoi(text, &limit) || limit < 1 || limit > most) {
    return absl::InvalidArgumentError(
        absl::StrCat("limit: ", text, " is not a whole number in [1, ", most, "]"));
  }
  return limit;
}

// Takes the same time wherever they differ.
bool IsToken(const std::string& given, const std::string& token) {
  unsigned char differs = given.size() == token.size() ? 0 : 1;
  for (size_t i = 0; i < given.size(); ++i) {
    differs |= static_cast<unsigned char>(given[i] ^ token[i % token.size()]);
  }
  return differs == 0;
}

// A field of the body; `otherwise` if it is not there. `type` is what it has to be, in words.
template <typename T>
absl::StatusOr<T> FieldFrom(const json& body, const char* field, bool (json::*is)() const noexcept,
                            absl::string_view type, T otherwise) {
  const auto found = body.find(field);
  if (found == body.end()) return otherwise;
  if (((*found).*is)()) return found->template get<T>();
  return errors::InvalidField(field, absl::StrCat("a JSON ", found->type_name()), type);
}

absl::StatusOr<std::string> TextFrom(const json& body, const char* field) {
  return FieldFrom<std::string>(body, field, &json::is_string, "a string", "");
}

absl::StatusOr<v1::SetOverrideRequest> OverrideRequestFrom(const json& body) {
  v1::SetOverrideRequest request;
  absl::Status status;
  for (const auto& [field, to] : {std::pair("service", request.mutable_service()),
                                  std::pair("operation", request.mutable_operation()),
                                  std::pair("reason", request.mutable_reason()),
                                  std::pair("actor", request.mutable_actor())}) {
    absl::StatusOr<std::string> text = TextFrom(body, field);
    status.Update(text.status());
    if (text.ok()) *to = *std::move(text);
  }
  const absl::StatusOr<std::string> mode = TextFrom(body, "mode");
  status.Update(mode.status());
  v1::Override::Mode parsed = v1::Override::MODE_UNSPECIFIED;
  if (mode.ok() &&
      (!v1::Override::Mode_Parse(*mode, &parsed) || parsed == v1::Override::MODE_UNSPECIFIED)) {
    status.Update(errors::InvalidField("mode", absl::StrCat("\"", *mode, "\""),
                                       "FORCED_OPEN or FORCED_CLOSED"));
  }
  request.set_mode(parsed);
  const absl::StatusOr<double> ttl =
      FieldFrom<double>(body, "ttl_seconds", &json::is_number, "a number", 0);
  status.Update(ttl.status());
  if (ttl.ok() && (*ttl < 0 || *ttl > absl::ToDoubleSeconds(kMaxOverrideTtl))) {
    status.Update(
        errors::InvalidField("ttl_seconds", Dump(*ttl),
                             absl::StrCat("in [0, ", absl::ToInt64Seconds(kMaxOverrideTtl),
                                          "], where 0 is until it is cleared")));
  } else if (ttl.ok() && *ttl > 0) {
    SetDuration(absl::Seconds(*ttl), request.mutable_ttl());
  }
  if (!status.ok()) return status;
  return request;
}

}  // namespace

void BoardApi::AddTo(HttpRoutes* routes) {
  for (const BoardFile& file : BoardFiles()) {
    routes->Get(file.path, [&file](const HttpRequest&) {
      HttpResponse response;
      response.content_type = file.content_type;
      response.body = std::string(file.bytes);
      return response;
    });
  }
  routes->Get("/api/breakers", [this](const HttpRequest& request) { return Breakers(request); });
  routes->Get("/api/breaker", [this](const HttpRequest& request) { return Breaker(request); });
  routes->Get("/api/history", [this](const HttpRequest& request) { return History(request); });
  routes->Get("/api/events", [this](const HttpRequest&) { return Events(); });

  routes->Post("/api/authorize", ForAdmins([](const json&) { return Ok({{"ok", true}}); }));
  routes->Post("/api/override", ForAdmins([this](const json& body) {
                 const absl::StatusOr<v1::SetOverrideRequest> request = OverrideRequestFrom(body);
                 if (!request.ok()) return Refused(request.status());
                 const absl::StatusOr<Override> override =
                     OverrideFrom(*request, sources_.clock->Now().wall);
                 if (!override.ok()) return Refused(override.status());
                 return Operate(body, [&](const KeyView& key, Operations::Answer answer) {
                   sources_.operations->SetOverride(kBoard, key, *override, sources_.clock->Now(),
                                                    std::move(answer));
                 });
               }));
  routes->Post("/api/clear_override", ForAdmins([this](const json& body) {
                 return Operate(body, [&](const KeyView& key, Operations::Answer answer) {
                   sources_.operations->ClearOverride(kBoard, key, sources_.clock->Now(),
                                                      std::move(answer));
                 });
               }));
  routes->Post("/api/reset", ForAdmins([this](const json& body) {
                 return Operate(body, [&](const KeyView& key, Operations::Answer answer) {
                   sources_.operations->Reset(kBoard, key, sources_.clock->Now(),
                                              std::move(answer));
                 });
               }));
}

// ---------------------------------------------------------------------------------------------
// Reading

HttpResponse BoardApi::Breakers(const HttpRequest& request) {
  const absl::StatusOr<size_t> limit = LimitFrom(request, kDefaultBreakers, kMaxBreakers);
  if (!limit.ok()) return Refused(limit.status());
  SurveyOptions options;
  options.max_breakers = *limit;
  options.transitions = 1;
  options.search = request.Parameter("search");
  const Instant now = sources_.clock->Now();
  Changes changes;
  const Survey survey = TakeSurvey(sources_.registry, options, now, &changes);
  if (!changes.empty()) sources_.publisher->Publish(std::move(changes), [] {});

  json rows = json::array();
  for (const BreakerStats& stats : survey.breakers) {
    json row = RowToJson(stats);
    row["chart"] = sources_.feed->Chart(stats.key, stats.lifetime);
    rows.push_back(std::move(row));
  }
  return Ok({{"time", ToJson(now.wall)},
             {"version", BREAKER_VERSION},
             {"admin", !admin_token_.empty()},
             {"store_failing", sources_.writer->stats().degraded},
             {"chart_interval_seconds", absl::ToInt64Seconds(BoardFeed::kChartInterval)},
             {"total", survey.total},
             {"matched", survey.matched},
             {"counts", CountsToJson(survey)},
             {"breakers", std::move(rows)}});
}

HttpResponse BoardApi::Breaker(const HttpRequest& request) {
  const std::string service = request.Parameter("service");
  const std::string operation = request.Parameter("operation");
  const absl::StatusOr<KeyView> key = CheckKey(service, operation);
  if (!key.ok()) return Refused(key.status());
  Changes changes;
  const Instant now = sources_.clock->Now();
  const absl::StatusOr<BreakerStats> stats = sources_.registry->GetStats(*key, now, &changes);
  if (!changes.empty()) sources_.publisher->Publish(std::move(changes), [] {});
  if (!stats.ok()) return Refused(stats.status());
  const std::optional<BreakerSnapshot> saved = sources_.registry->Save(*key, now);
  if (!saved.has_value()) return HttpError(404, "it has just been deleted");
  json detail = DetailToJson(*stats, *saved);
  detail["chart"] = sources_.feed->Chart(stats->key, stats->lifetime);
  return Ok(detail);
}

HttpResponse BoardApi::History(const HttpRequest& request) {
  const absl::StatusOr<size_t> limit = LimitFrom(request, kDefaultTransitions, kMaxTransitions);
  if (!limit.ok()) return Refused(limit.status());
  return Ok({{"transitions", sources_.feed->History(request.Parameter("search"), *limit)}});
}

HttpResponse BoardApi::Events() {
  std::shared_ptr<EventStreams::Stream> stream = sources_.streams->Open();
  if (stream == nullptr) {
    return HttpError(503, absl::StrCat("there are ", EventStreams::kMaxStreams,
                                       " browsers already, or the daemon stops"));
  }
  HttpResponse response;
  response.content_type = "text/event-stream";
  response.stream = [stream = std::move(stream)](HttpStream& out) {
    if (!out.Write("retry: 1000\n\n")) return;
    while (const std::optional<std::string> bytes = stream->Next(kStreamHeartbeat)) {
      if (!out.Write(bytes->empty() ? ": still here\n\n" : *bytes)) return;
    }
  };
  return response;
}

// ---------------------------------------------------------------------------------------------
// An operator's hand

template <typename Act>
HttpRoutes::Handler BoardApi::ForAdmins(Act act) {
  return [this, act](const HttpRequest& request) {
    if (admin_token_.empty()) {
      return HttpError(403, "the daemon runs without --http_admin_token_file");
    }
    constexpr absl::string_view kScheme = "Bearer ";
    const bool bearer = absl::StartsWith(request.authorization, kScheme);
    if (!bearer || !IsToken(request.authorization.substr(kScheme.size()), admin_token_)) {
      return HttpError(401, "the token is not the one in the daemon's --http_admin_token_file");
    }
    const json body = json::parse(request.body, nullptr, /*allow_exceptions=*/false);
    if (!body.is_object()) return HttpError(400, "the body is no JSON object");
    return act(body);
  };
}

template <typename Start>
HttpResponse BoardApi::Operate(const json& body, Start start) {
  const absl::StatusOr<std::string> service = TextFrom(body, "service");
  if (!service.ok()) return Refused(service.status());
  const absl::StatusOr<std::string> operation = TextFrom(body, "operation");
  if (!operation.ok()) return Refused(operation.status());
  const absl::StatusOr<KeyView> key = CheckKey(*service, *operation);
  if (!key.ok()) return Refused(key.status());
  std::promise<absl::StatusOr<BreakerStats>> done;
  start(*key, [&done](absl::StatusOr<BreakerStats> stats) { done.set_value(std::move(stats)); });
  const absl::StatusOr<BreakerStats> stats = done.get_future().get();
  if (!stats.ok()) return Refused(stats.status());
  return Ok(RowToJson(*stats));
}

}  // namespace breaker::server
