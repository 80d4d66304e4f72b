#ifndef BREAKER_LOG_H_
#define BREAKER_LOG_H_

#include <initializer_list>
#include <string>

#include "absl/strings/string_view.h"
#include "server/engine/clock.h"

namespace breaker::server {

enum class LogLevel { kInfo, kWarning, kError };

// A borrowed key=value of a line; it needs to live no longer than the call that it is passed to.
struct LogField {
  absl::string_view key;
  absl::string_view value;
};

// Writes one line to stderr, in logfmt, with a single write(2). Thread-safe; never fails.
//
//   Log(LogLevel::kInfo, "listening", {{"address", address}, {"breakers", absl::StrCat(n)}});
//
//   2026-11-23T20:00:00.000Z info listening address=127.0.0.1:41234 breakers=17
//
// `event` and the keys are words of lower-case letters and underscores.
void Log(LogLevel level, absl::string_view event, std::initializer_list<LogField> fields = {});

// The line that Log writes, with the newline at its end and none before. A value that is empty or
// holds a space, a quote, a backslash, an equals sign or a control character stands in double
// quotes, with \" \\ \n \r \t and \xNN for what cannot stand there as it is.
std::string FormatLogLine(WallTime time, LogLevel level, absl::string_view event,
                          std::initializer_list<LogField> fields);

}  // namespace breaker::server

#endif  // BREAKER_LOG_H_
