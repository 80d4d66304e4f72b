#ifndef BREAKER_RPC_REFUSED_STREAM_H_
#define BREAKER_RPC_REFUSED_STREAM_H_

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/byte_buffer.h>

namespace breaker::server {

// A stream that is answered with a status and nothing else.
class RefusedStream : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  explicit RefusedStream(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

}  // namespace breaker::server

#endif  // BREAKER_RPC_REFUSED_STREAM_H_
