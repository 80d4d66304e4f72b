#ifndef BREAKER_TESTS_SUPPORT_IDENTITIES_FILE_H_
#define BREAKER_TESTS_SUPPORT_IDENTITIES_FILE_H_

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/identities.h"

namespace breaker::testing {

// What an identities file has of a token.
inline std::string HashOf(absl::string_view token) {
  const server::TokenHash hash = server::HashToken(token);
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(hash.data()), hash.size()));
}

// An identity of such a file, whose token is its name and "-token", and lines of it that follow.
inline std::string IdentityEntry(const std::string& name, const std::string& role,
                                 const std::string& more = "") {
  return absl::StrCat("  - name: ", name, "\n    role: ", role,
                      "\n    token_sha256: ", HashOf(name + "-token"), "\n", more);
}

}  // namespace breaker::testing

#endif  // BREAKER_TESTS_SUPPORT_IDENTITIES_FILE_H_
