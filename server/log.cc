#include "server/log.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"

namespace breaker::server {
namespace {

absl::string_view Name(LogLevel level) {
  switch (level) {
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "";
}

bool NeedsQuotes(absl::string_view value) {
  return value.empty() || std::any_of(value.begin(), value.end(), [](unsigned char c) {
           return c == ' ' || c == '"' || c == '\\' || c == '=' || absl::ascii_iscntrl(c);
         });
}

void AppendEscaped(unsigned char c, std::string* line) {
  switch (c) {
    case '"':
      line->append("\\\"");
      return;
    case '\\':
      line->append("\\\\");
      return;
    case '\n':
      line->append("\\n");
      return;
    case '\r':
      line->append("\\r");
      return;
    case '\t':
      line->append("\\t");
      return;
  }
  if (absl::ascii_iscntrl(c)) {
    absl::StrAppendFormat(line, "\\x%02x", c);
  } else {
    line->push_back(static_cast<char>(c));
  }
}

void AppendValue(absl::string_view value, std::string* line) {
  if (!NeedsQuotes(value)) {
    absl::StrAppend(line, value);
    return;
  }
  line->push_back('"');
  for (const char c : value) AppendEscaped(static_cast<unsigned char>(c), line);
  line->push_back('"');
}

}  // namespace

void Log(LogLevel level, absl::string_view event, std::initializer_list<LogField> fields) {
  const std::string line = FormatLogLine(SystemClock().Now().wall, level, event, fields);
  // What cannot be logged cannot be told to anyone either.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

std::string FormatLogLine(WallTime time, LogLevel level, absl::string_view event,
                          std::initializer_list<LogField> fields) {
  std::string line =
      absl::StrCat(absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time.time(), absl::UTCTimeZone()), " ",
                   Name(level), " ", event);
  for (const LogField& field : fields) {
    absl::StrAppend(&line, " ", field.key, "=");
    AppendValue(field.value, &line);
  }
  line.push_back('\n');
  return line;
}

}  // namespace breaker::server
