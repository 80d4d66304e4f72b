#include "server/sha256.h"

#include <openssl/evp.h>
#include <stdlib.h>

namespace breaker::server {
namespace {

// OpenSSL without SHA-256, or out of memory.
void Require(bool ok) {
  if (!ok) abort();
}

}  // namespace

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  Require(context_ != nullptr && EVP_DigestInit_ex(context_, EVP_sha256(), nullptr) == 1);
}

Sha256::~Sha256() { EVP_MD_CTX_free(context_); }

void Sha256::Update(absl::string_view bytes) {
  Require(EVP_DigestUpdate(context_, bytes.data(), bytes.size()) == 1);
}

std::string Sha256::Digest() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  Require(EVP_DigestFinal_ex(context_, digest, &size) == 1);
  return std::string(reinterpret_cast<const char*>(digest), size);
}

}  // namespace breaker::server
