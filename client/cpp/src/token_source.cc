#include "client/cpp/src/token_source.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/cpp/src/text_file.h"

namespace breaker::internal {
namespace {

constexpr auto kReadInterval = std::chrono::seconds(1);
constexpr size_t kMaxTokenBytes = 4096;

std::string Bearer(const std::string& token) { return absl::StrCat("Bearer ", token); }

}  // namespace

bool IsToken(absl::string_view token) {
  return !token.empty() && token.size() <= kMaxTokenBytes &&
         std::all_of(token.begin(), token.end(),
                     [](unsigned char c) { return absl::ascii_isgraph(c); });
}

absl::StatusOr<std::string> ReadToken(const std::string& path) {
  absl::StatusOr<std::string> text = ReadTextFile(path);
  if (!text.ok()) return text.status();
  absl::StripAsciiWhitespace(&*text);
  if (!IsToken(*text)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " holds no token: ", kTokenRule));
  }
  return text;
}

TokenSource::TokenSource(std::string token, std::string file) : file_(std::move(file)) {
  if (file_.empty()) authorization_ = Bearer(token);
}

std::string TokenSource::Authorization() {
  server::MutexLock lock(&mu_);
  if (file_.empty()) return authorization_;
  const auto now = std::chrono::steady_clock::now();
  if (now >= next_read_) {
    next_read_ = now + kReadInterval;
    const absl::StatusOr<std::string> token = ReadToken(file_);
    if (token.ok()) authorization_ = Bearer(*token);
  }
  return authorization_;
}

}  // namespace breaker::internal
