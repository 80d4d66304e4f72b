#include "server/rpc/validate.h"

#include <cstddef>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/engine/errors.h"
#include "server/engine/limits.h"

namespace breaker::server {
namespace {

// protobuf refuses a string that is not UTF-8 before it comes here. What is left to find are the
// control characters: C0, DEL, and C1, which UTF-8 writes as C2 80 to C2 9F.
bool HasControlCharacter(absl::string_view value) {
  for (size_t i = 0; i < value.size(); ++i) {
    const auto byte = static_cast<unsigned char>(value[i]);
    if (byte < 0x20 || byte == 0x7f) return true;
    if (byte == 0xc2 && i + 1 < value.size() && static_cast<unsigned char>(value[i + 1]) < 0xa0) {
      return true;
    }
  }
  return false;
}

absl::Status CheckText(absl::string_view field, absl::string_view value, size_t least,
                       size_t most) {
  if (value.size() < least || value.size() > most) {
    return errors::InvalidField(field, absl::StrCat("a length of ", value.size(), " bytes"),
                                absl::StrCat("in [", least, ", ", most, "]"));
  }
  if (HasControlCharacter(value)) {
    return errors::InvalidField(field, absl::StrCat("\"", absl::CHexEscape(value), "\""),
                                "free of control characters");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckName(absl::string_view field, absl::string_view value) {
  return CheckText(field, value, 1, kMaxNameBytes);
}

absl::Status CheckWorkerId(absl::string_view value) {
  return CheckText("worker_id", value, 0, kMaxWorkerIdBytes);
}

absl::Status CheckNote(absl::string_view field, absl::string_view value) {
  return CheckText(field, value, 0, kMaxNoteBytes);
}

absl::string_view CutUtf8(absl::string_view text, size_t bytes) {
  if (text.size() <= bytes) return text;
  const auto continues = [&](size_t i) {
    return (static_cast<unsigned char>(text[i]) & 0xc0) == 0x80;
  };
  while (bytes > 0 && continues(bytes)) --bytes;
  return text.substr(0, bytes);
}

}  // namespace breaker::server
