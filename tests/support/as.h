#ifndef BREAKER_TESTS_SUPPORT_AS_H_
#define BREAKER_TESTS_SUPPORT_AS_H_

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <string>

namespace breaker::testing {

// The context of one call with the token of somebody; "" = with none.
class As {
 public:
  explicit As(const std::string& token) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    if (!token.empty()) context_.AddMetadata("authorization", "Bearer " + token);
  }
  grpc::ClientContext* operator&() { return &context_; }

 private:
  grpc::ClientContext context_;
};

}  // namespace breaker::testing

#endif  // BREAKER_TESTS_SUPPORT_AS_H_
