#ifndef BREAKER_SHA256_H_
#define BREAKER_SHA256_H_

#include <string>

#include "absl/strings/string_view.h"

struct evp_md_ctx_st;

namespace breaker::server {

// SHA-256 of bytes that come piece by piece.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Update(absl::string_view bytes);
  // Its 32 bytes. To be called once, as the last.
  std::string Digest();

 private:
  evp_md_ctx_st* const context_;
};

}  // namespace breaker::server

#endif  // BREAKER_SHA256_H_
