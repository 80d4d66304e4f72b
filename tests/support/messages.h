#ifndef BREAKER_TESTS_SUPPORT_MESSAGES_H_
#define BREAKER_TESTS_SUPPORT_MESSAGES_H_

#include <string>

#include "breaker/v1/breaker.pb.h"
#include "google/protobuf/text_format.h"

namespace breaker::testing {

// A message from protobuf's text format; an error ends the test program.
//
//   Text<v1::AcquireRequest>("service: 's' operation: 'o' policy { failure_threshold: 1 }")
template <typename Message>
Message Text(const std::string& text) {
  Message message;
  if (!google::protobuf::TextFormat::ParseFromString(text, &message)) abort();
  return message;
}

}  // namespace breaker::testing

#endif  // BREAKER_TESTS_SUPPORT_MESSAGES_H_
