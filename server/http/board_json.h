#ifndef BREAKER_HTTP_BOARD_JSON_H_
#define BREAKER_HTTP_BOARD_JSON_H_

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "server/engine/clock.h"
#include "server/engine/key.h"
#include "server/engine/registry.h"
#include "server/engine/snapshot.h"
#include "server/engine/transition.h"
#include "server/survey.h"

namespace breaker::server {

// What the board is told, as JSON. Instants are milliseconds of Unix time, or null.

// As text; bytes that are no UTF-8 are replaced.
std::string Dump(const nlohmann::json& json);

nlohmann::json ToJson(const std::optional<WallTime>& time);
// A breaker as a row of the board.
nlohmann::json RowToJson(const BreakerStats& stats);
// The same with all that is known of it. `saved` tells who failed.
nlohmann::json DetailToJson(const BreakerStats& stats, const BreakerSnapshot& saved);
// A transition of that breaker.
nlohmann::json ToJson(const Key& key, const Transition& transition);
// How many breakers there are in each state.
nlohmann::json CountsToJson(const Survey& survey);

}  // namespace breaker::server

#endif  // BREAKER_HTTP_BOARD_JSON_H_
